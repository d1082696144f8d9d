"""A pass that is killed before any of its writes: the next one goes on from there, and nothing is left over.

An eighth of the deaths here, another part in tests/faults, where `make faults` tries all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest

import pytest

from tests.machine import Machine
from tests.pipeline.forked import Forked, ForkedReconcile
from tests.pipeline.host_view import everything, leftovers, records, seen_soon, settled, shape_and_records
from tests.pipeline.two_states import FIRST, SANDBOXES, SECOND

pytestmark = pytest.mark.kernel

ALL = bool(os.environ.get("FAULTS"))
"""As `make faults` has it: each death is tried, not a share of them."""

CLOSELY = ("netlink", "Nft", "SqliteStore")
"""Kinds of writes before each of which a pass dies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """Before which write of a way to die. is_first: no death before it on that way is by the same call."""

    number: int
    write: str
    is_first: bool

    def __str__(self) -> str:
        return f"killed before write {self.number}: {self.write}"


_NAMES = re.compile(r"br-[0-9a-f]{12}|(?<=conf/)\w+|(?<=sandboxes/)\w+|(?<=netns/)\w+|[0-9]+")
_OWN_FILES = re.compile(r"\w+(?=\.json\b)|^\w+$(?<!hosts)")


def kind_of(write: str) -> str:
    """Give it without the names of links, sandboxes and networks, and without numbers."""
    call, _, what = write.partition(" ")
    return f"{call} {_NAMES.sub('*', what) if '/' in what else _OWN_FILES.sub('*', what)}"


def telling(writes: Sequence[str], closely: tuple[str, ...]) -> Iterator[int]:
    """Give the writes before which to die. Of the many files and folders of another kind the first must do."""
    seen: set[str] = set()
    for number, write in enumerate(writes):
        if kind_of(write) not in seen or write.startswith(closely):
            seen.add(kind_of(write))
            yield number


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way between two states of a host.

    run: go it, killed before the write of that number. judge: heal what that left, and judge it; told where it was killed.
    again: go it once more; nothing is left to do. As the judge looks at the host after each death, and a whole pass costs more
    than that, this is asked once for each call. share: (first, step) of the deaths that are tried, but for `ALL`.
    """

    run: Callable[[int | None], Forked]
    judge: Callable[[str], None]
    again: Callable[[], Forked] | None = None
    share: tuple[int, int] = (0, 1)

    def deaths(self, closely: tuple[str, ...]) -> Iterator[Death]:
        """Go it whole, and give the deaths to try."""
        done = self.run(None)
        assert done.exit_code == 0, done.text
        calls: set[str] = set()
        first, step = (0, 1) if ALL else self.share
        for number in islice(telling(done.writes, closely), first, None, step):
            call = done.writes[number].partition(" ")[0]
            yield Death(number=number, write=done.writes[number], is_first=call not in calls)
            calls.add(call)

    def die(self, death: Death | None) -> bool:
        """Go it killed there, or whole, and so arrive; say whether it was killed."""
        done = self.run(death.number if death else None)
        if death and done.was_killed:
            self.judge(str(death))
            if self.again and death.is_first:
                assert self.again().writes == (), str(death)
        else:
            assert done.exit_code == 0, done.text
        return done.was_killed


def each_death(way: Way, prepare: Callable[[], object], closely: tuple[str, ...] = CLOSELY) -> int:
    """Go one way again and again from the state that `prepare` makes, killed before another write each time; give how often."""
    prepare()
    killed = 0
    for death in way.deaths(closely):
        prepare()
        killed += way.die(death)
    return killed


def every_death(there: Way, back: Way, closely: tuple[str, ...] = CLOSELY) -> int:
    """Go there and back again and again from the state that the host is in, killed before another write each time, on both ways.

    Give how often it was killed. closely: see `CLOSELY`; for what has to do with some kinds of writes only, as the others die in
    the tests here.
    """
    there.die(None)  # the first time makes what is there for good: folders, the state database
    back.die(None)
    deaths = [list(way.deaths(closely)) for way in (there, back)]
    return sum(
        there.die(on_the_way_there) + back.die(on_the_way_back)
        for on_the_way_there, on_the_way_back in zip_longest(*deaths)
    )


@pytest.mark.long
def test_first_pass_and_down_killed_anywhere_are_completed_by_the_next(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    before = everything(machine, "H")
    forked.write(specs=FIRST)
    forked.ok()
    whole = settled(lambda: shape_and_records(machine, SANDBOXES))
    forked.ok("down")

    def built(where: str) -> None:
        forked.ok()
        assert seen_soon(lambda: shape_and_records(machine, SANDBOXES), whole) == whole, where
        assert leftovers(machine) == [], where

    def gone(where: str) -> None:
        forked.ok("down")
        assert everything(machine, "H") == before, where
        assert (records(machine), leftovers(machine)) == ({}, []), where

    count = every_death(
        Way(run=lambda number: forked(die_before=number), judge=built, again=forked.ok, share=(0, 8)),
        Way(
            run=lambda number: forked("down", die_before=number),
            judge=gone,
            again=lambda: forked.ok("down"),
            share=(0, 8),
        ),
    )

    assert count > 7
    assert everything(machine, "H") == before


@pytest.mark.long
def test_change_killed_anywhere_is_completed_by_the_next(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    whole = {}
    for specs in (SECOND, FIRST):
        forked.write(specs=specs)
        forked.ok("--allow-prune")
        whole[specs] = settled(lambda: shape_and_records(machine, SANDBOXES))

    def change(specs: str, *arguments: str) -> Way:
        def run(number: int | None) -> Forked:
            forked.write(specs=specs)
            return forked(*arguments, die_before=number)

        def changed(where: str) -> None:
            forked.ok(*arguments)
            assert seen_soon(lambda: shape_and_records(machine, SANDBOXES), whole[specs]) == whole[specs], where
            assert leftovers(machine) == [], where

        return Way(run=run, judge=changed, again=forked.ok, share=(1, 8))  # another part than the first pass'

    assert every_death(change(SECOND), change(FIRST, "--allow-prune")) > 12


def test_down_killed_anywhere_is_undone_by_a_pass(forked: ForkedReconcile, machine: Machine, uplink: str) -> None:
    forked.write(specs=FIRST)
    forked.ok()
    whole = settled(lambda: shape_and_records(machine, SANDBOXES))

    def judge(where: str) -> None:
        forked.ok()
        assert seen_soon(lambda: shape_and_records(machine, SANDBOXES), whole) == whole, where

    down = Way(run=lambda number: forked("down", die_before=number), judge=judge, share=(0, 5))
    assert each_death(down, forked.ok) > 5
