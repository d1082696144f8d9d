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

MISSED_MAX: Final = 0.1
"""Of the faults: what a watcher does beside its passes is not the same each time."""


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
        text = json.dumps([self.serial, *astuple(order)]).ljust(_ORDER_BYTES)
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

    def is_at(self, digest: str) -> bool:
        """Say whether the host is as the specs with this digest declare it, and nothing is in the way."""
        found = self.summary()
        is_good = bool(found["conditions"][0]["status"] == "True")
        return is_good and found["verifiedDigest"] == found["specDigest"] == digest


@contextmanager
def watching(host: Host, folder: Path, *arguments: str) -> Iterator[Watcher]:
    """Run a watcher of this host meanwhile, which has made its first pass."""
    for name in ("orders", "calls", "said"):
        (folder / name).touch()
    with open(folder / "calls", "ab") as calls, open(folder / "said", "ab") as said:
        hook = Hook("tests.faults.inject:inject_as_told", (str(folder / "orders"),), calls.fileno())
        process = host.reconcile.start(*host.options, *arguments, "watch", hooks=[hook], stdout=said, stderr=said)
    made = Watcher(host=host, process=process, folder=folder)
    made.order(Order())
    try:
        yield made
        assert process.poll() is None, made.said()
    finally:
        process.kill()
        process.wait()


@dataclass(slots=True, kw_only=True)
class Stop:
    """One of the states that the watcher is led to. digest: of its specs. wanted: what the host looks like there."""

    specs: str
    digest: str
    wanted: dict[str, Any]
    plan: list[Point] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Round:
    """A watcher that is led from one state to the next and back again, by name. missed: faults that did not come about."""

    watcher: Watcher
    stops: Mapping[str, Stop]
    missed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, watcher: Watcher, specs: Mapping[str, str], borders: Collection[str] = tuple(FAULTS)) -> Round:
        """Go around twice; the second time note what the host looks like, and the calls on the way."""
        stops = {}
        for name, text in [*specs.items(), *specs.items()]:
            size, before = watcher.order(Order()), watcher.summary()["specDigest"]
            watcher.declare(text)
            assert eventually(lambda: _has_moved(watcher, before), DEADLINE_S), watcher.said()  # noqa: B023  # at once
            wanted = settled(watcher.host.look)
            calls = list(Call.parsed(watcher.calls_since(size)))
            plan = [
                each for each in points(calls, borders) if each.fault != "killed" and each.call.border not in _ENDS_IT
            ]
            stops[name] = Stop(specs=text, digest=watcher.summary()["specDigest"], wanted=wanted, plan=plan)
        return cls(watcher=watcher, stops=stops)

    def try_point(self, stop: Stop, point: Point | None, tally: Tally) -> None:
        """Lead it there, and have a fault hit on the way."""
        watcher = self.watcher
        said = len(watcher.said())
        size = watcher.order(Order() if point is None else point.order)
        watcher.declare(stop.specs)
        arrived = eventually(lambda: watcher.is_at(stop.digest), DEADLINE_S)
        where = f"{point}\n{watcher.said()[said:]}"
        hit = was_hit(watcher.calls_since(size))
        watcher.order(Order())
        assert watcher.process.poll() is None, where
        assert arrived, f"never as declared: {where}"
        assert "Traceback" not in where, where
        assert "bug:" not in where, where
        same(seen_soon(watcher.host.look, stop.wanted), stop.wanted, where)
        same(leftovers(watcher.host.reconcile.machine), [], where)
        if point is not None and not hit:
            self.missed.append(str(point))
        elif point is not None:
            tally.injected[point.call.border, point.fault] += 1

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
                    failures.append(str(error))
                    self._recover()
        if len(self.missed) > max(2, MISSED_MAX * sum(map(len, plans.values()))):
            failures.append("\n".join(["not met:", *self.missed]))
        return failures

    def _recover(self) -> None:
        """Have it look at everything again."""
        self.watcher.process.send_signal(signal.SIGHUP)


def _has_moved(watcher: Watcher, before: str) -> bool:
    found = watcher.summary()["specDigest"]
    return found != before and watcher.is_at(found)
