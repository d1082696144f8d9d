"""Ways between two states of a host on which every call to the world outside fails once, and what must hold afterwards."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from tests.command_line import Ran, Reconcile, run_command
from tests.differences import differences
from tests.faults.inject import FAULTS, Call
from tests.fork_server import Hook
from tests.machine import Machine
from tests.pipeline.host_view import everything, records, seen_soon, settled, shape

CODES: Final = frozenset({0, 1, 2, 3, 4, 65, 69, 75, 77, 78, -9})
"""Exit codes of docs/reference/exit-codes.md, and SIGKILL's."""

_NAMES: Final = re.compile(
    r"br-[0-9a-f]{12}|rc[vp]\w+|(?<=conf/)\w+|(?<=sandboxes/)\w+|(?<=netns/)\w+|[0-9]+|/tmp/\S*/(?=[^/]+$)"
)
_OWN_FILES: Final = re.compile(r"\w+(?=\.json\b)")


@dataclass(frozen=True, slots=True)
class Point:
    """A fault of the call of that number on the way."""

    number: int
    call: Call
    fault: str

    def __str__(self) -> str:
        return f"{self.call.border}, call {self.number} ({self.call.what}): {self.fault}"


@dataclass(slots=True)
class Tally:
    """How often what was injected, by border and fault; how it ended, by exit code."""

    injected: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.injected.values())

    def text(self, lost: int) -> str:
        """Return it as JSON. lost: after how many the host was not as it shall be."""
        injected = [[*what, count] for what, count in sorted(self.injected.items())]
        return json.dumps({"injected": injected, "codes": dict(sorted(self.codes.items())), "lost": lost}, indent=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way. prepare: bring the host to its start. run: go it with these hooks. heal: the pass that comes next.

    judge: raise AssertionError unless all is as if nothing had happened.
    """

    prepare: Callable[[], object]
    run: Callable[[Sequence[Hook]], Ran]
    heal: Callable[[], Ran]
    judge: Callable[[str], object]


def run_with(reconcile: Reconcile, hooks: Sequence[Hook], *arguments: str) -> Ran:
    return run_command([*reconcile.options(), *arguments], hooks=hooks, timeout_s=60)


def calls_of(way: Way) -> list[Call]:
    """Go the way whole, twice, so that what is made for good is there, and give the calls of the second time."""
    for _ in range(2):
        way.prepare()
        with tempfile.TemporaryFile() as log:
            done = way.run([Hook("tests.faults.inject:inject", (-1, ""), log.fileno())])
            assert done.exit_code == 0, done.text
            log.seek(0)
            calls = list(Call.parsed(log.read().decode()))
    return calls


def points(calls: Sequence[Call]) -> Iterator[Point]:
    """Give each fault of each call; of those that differ in names and numbers alone, of the first, a middle and the last one."""
    alike: dict[str, list[int]] = {}
    for number, call in enumerate(calls):
        alike.setdefault(kind_of(call), []).append(number)
    for numbers in alike.values():
        for number in sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]}):
            yield from (Point(number, calls[number], fault) for fault in FAULTS[calls[number].border])


def kind_of(call: Call) -> str:
    return f"{call.border} {_OWN_FILES.sub('*', _NAMES.sub('*', call.what))}"


def try_point(way: Way, point: Point, tally: Tally) -> None:
    """Bring one fault about; look whether it is told in our words, and whether the next pass heals it."""
    way.prepare()
    with tempfile.TemporaryFile() as log:
        done = way.run([Hook("tests.faults.inject:inject", (point.number, point.fault), log.fileno())])
    assert done.exit_code in CODES, f"{point}\n{done.text}"
    assert "Traceback" not in done.stderr, f"{point}\n{done.text}"
    assert (point.fault == "killed") == (done.exit_code == -9), f"{point}\n{done.text}"
    tally.injected[point.call.border, point.fault] += 1
    tally.codes[done.exit_code] += 1
    healed = way.heal()
    assert healed.exit_code == 0, f"{point}\n{done.text}\nthe next pass: {healed.text}"
    way.judge(f"{point}\n{done.text}")


def same(seen: object, wanted: object, where: str) -> None:
    found = [f"{place or 'all'}: {a!r:.300} != {b!r:.300}" for place, a, b in islice(differences(seen, wanted), 20)]
    assert not found, "\n".join([where, "seen != wanted:", *found])


def look(machine: Machine, sandboxes: Sequence[str]) -> dict[str, Any]:
    present = [name for name in sandboxes if name in machine.namespaces()]
    return {"shape": shape(machine, "H", *present), "records": records(machine)}


def leftovers(machine: Machine) -> list[str]:
    """Name temporary files of any kind."""
    folders = (machine.state_dir, machine.run_dir, machine.etc_netns_dir)
    return [str(path) for folder in folders for path in folder.rglob("*") if path.name.endswith((".tmp", "-journal"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host, and what it looks like without us and with each of the specs."""

    reconcile: Reconcile
    machine: Machine
    sandboxes: Sequence[str]
    before: dict[str, Any]

    @classmethod
    def of(cls, reconcile: Reconcile, machine: Machine, sandboxes: Sequence[str]) -> Host:
        return cls(
            reconcile=reconcile, machine=machine, sandboxes=sandboxes, before=settled(lambda: everything(machine, "H"))
        )

    def pass_over(self, specs: str, *arguments: str) -> Ran:
        self.reconcile.write(specs=specs)
        return self.reconcile(*arguments)

    def whole(self, specs: str) -> dict[str, Any]:
        """Bring the host there; give what it looks like."""
        done = self.pass_over(specs, "--allow-prune")
        assert done.exit_code == 0, done.text
        return settled(lambda: look(self.machine, self.sandboxes))

    def way_to(self, specs: str, start: str, *, arguments: Sequence[str] = ()) -> Way:
        """Give the way from one specs to others; "" stands for a host without us."""
        wanted = self.whole(specs)

        def prepare() -> None:
            done = self.pass_over(start, "--allow-prune") if start else self.reconcile("down")
            assert done.exit_code == 0, done.text
            self.reconcile.write(specs=specs)

        def judge(where: str) -> None:
            same(seen_soon(lambda: look(self.machine, self.sandboxes), wanted), wanted, where)
            same(leftovers(self.machine), [], where)

        return Way(
            prepare=prepare,
            run=lambda hooks: run_with(self.reconcile, hooks, *arguments),
            heal=lambda: self.reconcile(*arguments),
            judge=judge,
        )

    def way_down(self, start: str) -> Way:
        """Give the way from specs to a host without us, of whom nothing is left there."""

        def prepare() -> None:
            done = self.pass_over(start, "--allow-prune")
            assert done.exit_code == 0, done.text

        def judge(where: str) -> None:
            same(seen_soon(lambda: everything(self.machine, "H"), self.before), self.before, where)
            same((records(self.machine), leftovers(self.machine)), ({}, []), where)

        return Way(
            prepare=prepare,
            run=lambda hooks: run_with(self.reconcile, hooks, "down"),
            heal=lambda: self.reconcile("down"),
            judge=judge,
        )
