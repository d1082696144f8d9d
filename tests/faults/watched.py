"""As scenes, of a watcher: a fault hits in the middle of a process that stays, whose next pass heals it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.inject import FAULTS, Call, Order, was_hit
from tests.faults.scenes import Host, Point, Tally, points, same
from tests.fork_server import Hook
from tests.pipeline.host_view import leftovers, seen_soon, settled
from tests.waiting import eventually

DEADLINE_S: Final = 60.0
_ORDER_BYTES: Final = 1024
"""An order is written at once, and always as long."""

_ENDS_IT: Final = frozenset({"namespace or mount"})
"""Who cannot return from a sandbox's namespace ends, as whatever he did would be done in the wrong one."""

MISSED_AFTER_S: Final = 3.0
"""How long a call may come after the pass; who listens to an engine asks again after a while."""

MISSED_MAX: Final = 1 / 3
"""Of the faults: a watcher makes one pass or two for the same news, and what it does beside is not the same each time."""


@dataclass(frozen=True, slots=True)
class State:
    """digest: of the specs. is_ready: the host is as they declare it, and nothing is in the way."""

    digest: str
    is_ready: bool


@dataclass(slots=True, kw_only=True)
class Watcher:
    """A watcher that runs, and what it is told to have go wrong."""

    host: Host
    process: subprocess.Popen[Any]
    folder: Path
    serial: int = 0

    def order(self, order: Order) -> int:
        """Have this happen from now on; give how long the log of calls is by now."""
        self.serial += 1
        text = json.dumps([self.serial, *astuple(order), self.serial]).ljust(_ORDER_BYTES)
        with open(self.folder / "orders", "r+b", buffering=0) as file:
            file.write(text.encode())
        return (self.folder / "calls").stat().st_size

    def calls_since(self, size: int) -> str:
        with open(self.folder / "calls", "rb") as file:
            file.seek(size)
            return file.read().decode()

    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")

    def declare(self, specs: str) -> None:
        """Replace the specs, as by a rename."""
        draft = self.host.reconcile.specs / ".draft"
        draft.write_text(specs)
        draft.rename(self.host.reconcile.specs / "specs.yaml")

    def summary(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads((self.host.reconcile.machine.status_dir / "summary.json").read_text())
        return found

    @property
    def state(self) -> State:
        """Give where it is by its last pass."""
        found = self.summary()
        is_good = bool(found["conditions"][0]["status"] == "True")
        return State(found["specDigest"], is_ready=is_good and found["verifiedDigest"] == found["specDigest"])


@contextmanager
def watching(host: Host, folder: Path, *arguments: str, more: Sequence[str] = ()) -> Iterator[Watcher]:
    """Run a watcher of this host meanwhile. folder: in it is one for what is told and heard. more: options of `watch`."""
    folder = folder / "watched"
    folder.mkdir()
    for name in ("orders", "calls", "said"):
        (folder / name).touch()
    with open(folder / "calls", "ab") as calls, open(folder / "said", "ab") as said:
        hook = Hook("tests.faults.inject:inject_as_told", (str(folder / "orders"),), calls.fileno())
        process = host.reconcile.start(
            *host.options, *arguments, "watch", *more, hooks=[hook], stdout=said, stderr=said
        )
    made = Watcher(host=host, process=process, folder=folder)
    made.order(Order())
    try:
        yield made
        assert process.poll() is None, made.said()
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What leads a host to another state. begin: have it happen. is_ready: nothing is in the way then."""

    begin: Callable[[Watcher], object]
    is_ready: bool = True


def to_specs(specs: str) -> Move:
    return Move(begin=lambda watcher: watcher.declare(specs))


@dataclass(slots=True, kw_only=True)
class Stop:
    """One of the states that the watcher is led to. wanted: what the host looks like there. plan: faults on the way."""

    move: Move
    state: State
    wanted: dict[str, Any]
    plan: list[Point] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Round:
    """A watcher that is led from one state to the next and back again, by name. missed: faults that did not come about."""

    watcher: Watcher
    stops: Mapping[str, Stop]
    missed: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        watcher: Watcher,
        moves: Mapping[str, Move],
        borders: Collection[str] = tuple(FAULTS),
        is_tried: Callable[[Point], bool] = lambda _: True,
    ) -> Round:
        """Go around twice; the second time note what the host looks like, and the calls on the way. It is at the last one's end."""
        stops = {}
        for name, move in [*moves.items(), *moves.items()]:
            size, before = watcher.order(Order()), watcher.state
            move.begin(watcher)

            def has_moved(before: State = before, move: Move = move) -> bool:
                found = watcher.state
                return found != before and found.is_ready == move.is_ready

            assert eventually(has_moved, DEADLINE_S), f"{name}: {watcher.said()}"
            wanted = settled(watcher.host.look)
            calls = list(Call.parsed(watcher.calls_since(size)))
            plan = [each for each in points(calls, borders) if _is_survived(each) and is_tried(each)]
            stops[name] = Stop(move=move, state=watcher.state, wanted=wanted, plan=plan)
        return cls(watcher=watcher, stops=stops)

    def try_point(self, stop: Stop, point: Point | None, tally: Tally) -> None:
        """Lead it there, and have a fault hit on the way."""
        watcher = self.watcher
        said = len(watcher.said())
        size = watcher.order(Order() if point is None else point.order)
        stop.move.begin(watcher)
        arrived = eventually(lambda: watcher.state == stop.state, DEADLINE_S)
        is_hit = point is not None and eventually(lambda: was_hit(watcher.calls_since(size)), MISSED_AFTER_S)
        watcher.order(Order())
        arrived = arrived and eventually(lambda: watcher.state == stop.state, DEADLINE_S)
        where = f"{point}\n{watcher.said()[said:]}"
        assert watcher.process.poll() is None, f"ended with {watcher.process.poll()}: {watcher.said()[-1000:]}\n{where}"
        assert arrived, f"never as declared: {where}"
        assert "Traceback" not in where, where
        assert "bug:" not in where, where
        try:
            seen = seen_soon(watcher.host.look, stop.wanted)
        except AssertionError as error:
            raise AssertionError(f"{where}\n{error}") from error
        same(seen, stop.wanted, where)
        same(seen_soon(lambda: leftovers(watcher.host.reconcile.machine), list[str]()), [], where)
        if is_hit and point is not None:
            tally.injected[point.call.border, point.fault] += 1
        elif point is not None:
            self.missed.append(str(point))

    def try_all(self, share: Callable[[Sequence[Point]], Sequence[Point]], tally: Tally) -> list[str]:
        """Try these points of each way; give what failed."""
        plans = {name: list(share(stop.plan)) for name, stop in self.stops.items()}
        failures = []
        for number in range(max(map(len, plans.values()))):
            for name, stop in self.stops.items():
                point = plans[name][number] if number < len(plans[name]) else None
                try:
                    self.try_point(stop, point, tally)
                except AssertionError as error:
                    print(error)  # it is not lost with a test that takes too long
                    failures.append(str(error))
                    if self.watcher.process.poll() is not None:
                        return failures
                    self._recover()
        tally.missed += len(self.missed)
        if len(self.missed) > max(4, MISSED_MAX * sum(map(len, plans.values()))):
            failures.append("\n".join(["not met:", *self.missed]))
        return failures

    def _recover(self) -> None:
        """Have it look at everything again."""
        self.watcher.process.send_signal(signal.SIGHUP)


def _is_survived(point: Point) -> bool:
    return point.fault != "killed" and point.call.border not in _ENDS_IT
