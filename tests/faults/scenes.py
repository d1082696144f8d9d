"""Ways between two states of a host on which every call to the world outside fails once, and what must hold afterwards."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from itertools import islice, zip_longest
from typing import Any, Final

from tests.command_line import Ran, Reconcile, run_command
from tests.differences import differences
from tests.faults.inject import FAULTS, MESSAGE_REFUSED, SLOW, Call, Order, was_hit
from tests.fork_server import Hook
from tests.pipeline.host_view import everything, leftovers, records, seen_soon, settled, shape_and_records

CODES: Final = frozenset({0, 1, 2, 3, 4, 65, 69, 75, 77, 78, -9})
"""Exit codes of docs/reference/exit-codes.md, and SIGKILL's."""

EACH: Final = frozenset(border for border in FAULTS if border.startswith(("HTTP", "ZooKeeper")))
"""Borders whose calls differ in what they say, which does not show: each is tried."""


_OTHERS: Final = " /proc/*/"
"""In these folders is what other processes of the machine are; how many of them there are is nobody's business."""


@dataclass(frozen=True, slots=True)
class Point:
    """A fault of one call on the way: of its kind the one with that number."""

    call: Call
    number: int
    fault: str
    part: int = 0

    @property
    def order(self) -> Order:
        return Order(self.call.kind, self.number, self.fault, self.part)

    def __str__(self) -> str:
        return f"{self.call.kind}, call {self.number} ({self.call.what}): {self.fault} {self.part or ''}"


@dataclass(slots=True)
class Tally:
    """How often what was injected, by border and fault; how it ended, by exit code. missed: how many did not come about."""

    injected: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    missed: int = 0

    @property
    def total(self) -> int:
        return self.injected.total()

    def text(self, ways: Sequence[str], lost: int) -> str:
        """Return it as JSON. ways: where. lost: after how many the host was not as it shall be."""
        injected = [[*what, count] for what, count in sorted(self.injected.items())]
        codes = dict(sorted(self.codes.items()))
        told = {"ways": list(ways), "injected": injected, "codes": codes, "lost": lost, "missed": self.missed}
        return json.dumps(told, indent=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way. begin: declare where it leads. run: go it with these hooks. heal: the pass that comes next.

    judge: raise AssertionError unless all is as if nothing had happened; told where it was hit.
    """

    begin: Callable[[], object]
    run: Callable[[Sequence[Hook]], Ran]
    heal: Callable[[], Ran]
    judge: Callable[[str], object]

    def arrive(self) -> None:
        """Go it whole."""
        self.begin()
        done = self.heal()
        assert done.exit_code == 0, done.text

    def calls(self) -> list[Call]:
        """Go it whole; give the calls on it."""
        self.begin()
        done, log = run_with_order(self, Order())
        assert done.exit_code == 0, done.text
        return list(Call.parsed(log))

    def try_point(self, point: Point, tally: Tally) -> None:
        """Bring one fault about; look whether it is told in our words, and whether the next pass heals it."""
        self.begin()
        done, log = run_with_order(self, point.order)
        where = f"{point}\n{done.text}"
        assert was_hit(log), f"not met: {where}"
        assert done.exit_code in CODES, where
        assert "Traceback" not in done.stderr, where
        assert (point.fault == "killed") == (done.exit_code == -9), where
        assert done.exit_code == 0 or point.fault not in SLOW, where
        tally.injected[point.call.border, point.fault] += 1
        tally.codes[done.exit_code] += 1
        healed = self.heal()
        assert healed.exit_code == 0, f"{where}\nthe next pass: {healed.text}"
        self.judge(where)


def run_with_order(way: Way, order: Order) -> tuple[Ran, str]:
    """Go the way; give also the log of the calls."""
    with tempfile.TemporaryFile() as log:
        done = way.run([Hook("tests.faults.inject:inject", (astuple(order),), log.fileno())])
        log.seek(0)
        return done, log.read().decode()


def points(calls: Sequence[Call], borders: Collection[str] = FAULTS, *, is_every: bool = False) -> Iterator[Point]:
    """Give each fault of each call at these borders; of calls that differ in names and numbers alone, of the first, a middle and
    the last one, unless all are asked for.
    """
    alike: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if call.border in borders:
            alike[call.kind].append(call)
    for kind, same_kind in alike.items():
        whole = range(1 if _OTHERS in kind else len(same_kind))
        for number in whole if is_every or same_kind[0].border in EACH else telling(whole):
            yield from _points_of(same_kind[number], number, is_every=is_every)


def telling(numbers: Sequence[int]) -> list[int]:
    return sorted({numbers[0], numbers[len(numbers) // 2], numbers[-1]})


def _points_of(call: Call, number: int, *, is_every: bool) -> Iterator[Point]:
    for fault in FAULTS[call.border]:
        if fault != MESSAGE_REFUSED:
            yield Point(call, number, fault)
            continue
        alike: dict[str, list[int]] = defaultdict(list)
        for part, kind in enumerate(call.parts):
            alike[kind].append(part)
        for parts in alike.values():
            yield from (Point(call, number, fault, part) for part in (parts if is_every else telling(parts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """Ways that lead from one to the next and back again, so that none has to be prepared. borders: whose calls are to fail.

    is_tried: of these points; others have an outcome of their own.
    """

    ways: Mapping[str, Way]
    borders: Collection[str] = tuple(FAULTS)
    is_tried: Callable[[Point], bool] = lambda _: True

    def plan(self, *, is_every: bool = False) -> list[list[Point]]:
        """Go around twice, so that what is made for good is there, and give the points of each way."""
        for way in self.ways.values():
            way.arrive()
        found = [points(way.calls(), self.borders, is_every=is_every) for way in self.ways.values()]
        return [list(filter(self.is_tried, each)) for each in found]

    def try_all(self, plan: Sequence[Sequence[Point]], tally: Tally) -> list[str]:
        """Try these points of each way; give what failed, and go on then: the others may tell what it is."""
        failures = []
        for turn in zip_longest(*plan):
            for way, point in zip(self.ways.values(), turn, strict=True):
                if point is None:
                    way.arrive()
                    continue
                try:
                    way.try_point(point, tally)
                except AssertionError as error:
                    failures.append(str(error))
                    self._recover(way)
        return failures

    def _recover(self, way: Way) -> None:
        """Go around until this way is at its end, from whatever state."""
        ways = list(self.ways.values())
        at = ways.index(way) + 1
        for each in [*ways[at:], *ways[:at]]:
            each.begin()
            each.heal()


def same(seen: object, wanted: object, where: str) -> None:
    found = [f"{place or 'all'}: {a!r:.300} != {b!r:.300}" for place, a, b in islice(differences(seen, wanted), 20)]
    assert not found, "\n".join([where, "seen != wanted:", *found])


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host, and what it looks like without us.

    options: more global ones. beside: what others have of us: plugins, a store. without_chance: takes a look and leaves out what is
    another one each time.
    """

    reconcile: Reconcile
    sandboxes: Sequence[str]
    options: Sequence[str] = ()
    beside: Callable[[], object] = dict
    without_chance: Callable[[dict[str, Any]], dict[str, Any]] = dict
    before: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before.update(settled(self.everything))

    def everything(self) -> dict[str, Any]:
        return {**everything(self.reconcile.machine, self.reconcile.host_ns), "beside": self.beside()}

    def look(self) -> dict[str, Any]:
        found = shape_and_records(self.reconcile.machine, self.sandboxes, self.reconcile.host_ns)
        return self.without_chance({**found, "beside": self.beside()})

    def run(self, *arguments: str, hooks: Sequence[Hook] = ()) -> Ran:
        return run_command([*self.reconcile.options(), *self.options, *arguments], hooks=hooks, timeout_s=60)

    def way_to(self, specs: str, *arguments: str) -> Way:
        """Give the way to these specs, from wherever. Goes it, to see what the host looks like then."""
        self.reconcile.write(specs=specs)
        done = self.run(*arguments)
        assert done.exit_code == 0, done.text
        wanted = settled(self.look)

        def judge(where: str) -> None:
            same(seen_soon(self.look, wanted), wanted, where)
            same(leftovers(self.reconcile.machine), [], where)

        return Way(
            begin=lambda: self.reconcile.write(specs=specs),
            run=lambda hooks: self.run(*arguments, hooks=hooks),
            heal=lambda: self.run(*arguments),
            judge=judge,
        )

    def way_down(self) -> Way:
        """Give the way to a host without us."""
        machine = self.reconcile.machine

        def judge(where: str) -> None:
            same(seen_soon(self.everything, self.before), self.before, where)
            same((records(machine), leftovers(machine)), ({}, []), where)

        return Way(
            begin=lambda: None,
            run=lambda hooks: self.run("down", hooks=hooks),
            heal=lambda: self.run("down"),
            judge=judge,
        )

    def there_and_back(self, specs: str, names: tuple[str, str], borders: Collection[str] = tuple(FAULTS)) -> Circle:
        """Give the ways to specs and down again, under these names."""
        there, back = names
        return Circle(ways={there: self.way_to(specs), back: self.way_down()}, borders=borders)
