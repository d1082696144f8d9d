"""A pass that is killed before any of its writes: the next one goes on from there, and nothing is left over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import pytest

from tests.machine import Machine
from tests.pipeline.forked import Forked, ForkedReconcile
from tests.pipeline.host_view import everything, records, settled, shape

pytestmark = pytest.mark.kernel

FIRST = """
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24}]}}
  back: {internal: true, enable_ipv6: true, ipam: {config: [{subnet: 10.2.0.0/24}, {subnet: "fd00:2::/64"}]}}
attachments:
  one: {}
  two: {networks: {front: {}, back: {}}}
  three: {networks: {back: {}}}
"""

SECOND = """
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.254}]}, labels: {new: "yes"},
          driver_opts: {com.docker.network.driver.mtu: "1400"}}
  side: {ipam: {config: [{subnet: 10.3.0.0/24}]}}
  back: {internal: false, ipam: {config: [{subnet: 10.2.0.0/24}]}}
attachments:
  one: {networks: {side: {interface_name: lan0}}}
  two: {networks: {front: {mac_address: "02:42:00:00:00:77"}}}
  four: {networks: {front: {ipv4_address: 10.1.0.99}, side: {}}}
"""

SANDBOXES = ("one", "two", "three", "four")
Prepare = Callable[[], object]


def look(machine: Machine) -> dict[str, Any]:
    present = [name for name in SANDBOXES if name in machine.namespaces()]
    return {"shape": shape(machine, "H", *present), "records": records(machine)}


def leftovers(machine: Machine) -> list[str]:
    """Name temporary files of any kind."""
    folders = (machine.state_dir, machine.run_dir, machine.etc_netns_dir)
    return [str(path) for folder in folders for path in folder.rglob("*") if path.name.endswith((".tmp", "-journal"))]


CLOSELY = ("netlink", "Nft", "SqliteStore")
"""Kinds of writes before each of which a pass dies."""


def telling(writes: Sequence[str], closely: tuple[str, ...]) -> Iterator[int]:
    """Give the writes before which to die. Of the many files and folders of another kind the first must do."""
    told: Counter[str] = Counter()
    for number, write in enumerate(writes):
        kind = re.sub(r"(?<=[/.])(one|two|three|four)\b|[0-9]+", "*", write)
        told[kind] += 1
        if told[kind] == 1 or write.startswith(closely):
            yield number


def every_death(
    run: Callable[[int | None], Forked],
    prepare: Prepare,
    judge: Callable[[str], None],
    *,
    part: int = 0,
    parts: int = 1,
    closely: tuple[str, ...] = CLOSELY,
) -> int:
    """Run again and again from the state that `prepare` makes, killed before each write in turn; give how many there were.

    part: only every `parts`th death, see `EVEN`. closely: see `CLOSELY`; for what has to do with some kinds of writes only, as
    the others die in the tests here.
    """
    prepare()
    writes = run(None).writes
    for number in islice(telling(writes, closely), part, None, parts):
        prepare()
        done = run(number)
        if done.was_killed:
            judge(f"killed before write {number}: {writes[number]}")
        else:
            assert done.exit_code == 0, done.text
    return len(writes)


PARTS = 4
EVEN, ODD = (pytest.mark.parametrize("part", range(first, PARTS, 2)) for first in (0, 1))
"""For tests of deaths, in parts so that several processes share the work. Two tests of much the same writes share the deaths."""


def tidy(forked: ForkedReconcile) -> None:
    forked.ok("down")


@pytest.mark.long
@EVEN
def test_first_pass_killed_anywhere_is_completed_by_the_next(
    part: int, forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    before = everything(machine, "H")
    forked.write(specs=FIRST)
    forked.ok()
    whole = settled(lambda: look(machine))

    def judge(where: str) -> None:
        forked.ok()
        assert look_soon(machine, whole) == whole, where
        assert leftovers(machine) == [], where
        assert forked.ok().writes == (), where

    count = every_death(lambda number: forked(die_before=number), lambda: tidy(forked), judge, part=part, parts=PARTS)

    assert count > 40
    tidy(forked)
    assert everything(machine, "H") == before


@pytest.mark.long
@ODD
def test_change_killed_anywhere_is_completed_by_the_next(
    part: int, forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    def prepare() -> None:
        forked.write(specs=FIRST)
        forked.ok("--allow-prune")
        forked.write(specs=SECOND)

    prepare()
    forked.ok()
    whole = settled(lambda: look(machine))

    def judge(where: str) -> None:
        forked.ok()
        assert look_soon(machine, whole) == whole, where
        assert leftovers(machine) == [], where
        assert forked.ok().writes == (), where

    assert every_death(lambda number: forked(die_before=number), prepare, judge, part=part, parts=PARTS) > 40


@pytest.mark.long
@EVEN
def test_down_killed_anywhere_is_completed_by_the_next(
    part: int, forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    before = everything(machine, "H")
    forked.write(specs=FIRST)

    def judge(where: str) -> None:
        forked.ok("down")
        assert everything(machine, "H") == before, where
        assert (records(machine), leftovers(machine)) == ({}, []), where
        assert forked.ok("down").writes == (), where

    count = every_death(
        lambda number: forked("down", die_before=number), lambda: forked.ok(), judge, part=part, parts=PARTS
    )
    assert count > 20


def test_down_killed_anywhere_is_undone_by_a_pass(forked: ForkedReconcile, machine: Machine, uplink: str) -> None:
    forked.write(specs=FIRST)
    forked.ok()
    whole = settled(lambda: look(machine))

    def judge(where: str) -> None:
        forked.ok()
        assert look_soon(machine, whole) == whole, where

    every_death(lambda number: forked("down", die_before=number), lambda: forked.ok(), judge, parts=5)


def look_soon(machine: Machine, wanted: dict[str, Any]) -> dict[str, Any]:
    """Look, and again when it is not as wanted: links take a moment to report that they run."""
    found = look(machine)
    return found if found == wanted else settled(lambda: look(machine))
