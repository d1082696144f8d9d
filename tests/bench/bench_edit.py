"""`python -m tests.bench.bench_edit [SIZE …]`: what a change costs of CPU, stage by stage, with 100, 1,000 and 4,000 attachments.

Once without a kernel (what is pure), and once with one, in a process that stays as a watcher's does: nothing changed, one
attachment added, one removed, a link deleted. Median milliseconds; the ratio of the largest size to the smallest tells whether
a change costs what it changes. The exit status is 1 when that of an edit passes the limit.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from msgspec.structs import replace

from reconciler import pipeline
from reconciler.backends import open_backends
from reconciler.decide import Decider, compared
from reconciler.facts import Facts
from reconciler.incremental import Table
from reconciler.kinds.kv_record import RecordReader
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    FirewallElement,
    FirewallRules,
    Key,
    KvRecord,
    Namespace,
    NameTables,
    Object,
    Seen,
    Sysctl,
    VethPair,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.plan import Action, Operation
from reconciler.settings import Settings
from reconciler.spec.load import load_specs
from reconciler.status.tell import Status
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.passes import Passes
from reconciler.watch.source import Watched
from tests.bench.workload import Workload
from tests.fakes.desired import host_facts
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine

SIZES: Final = (100, 1000, 4000)
ROUNDS: Final = 5
RATIO_AT_MOST: Final = 1.5

Stages = Mapping[str, float]
"""Median CPU milliseconds by stage; "all" of them together."""


class Clock:
    """Tells how much CPU the stages of each round took."""

    def __init__(self) -> None:
        self._rounds: defaultdict[str, list[float]] = defaultdict(list)
        self._now: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = _cpu_s()
        yield
        self._now[stage] += (_cpu_s() - began) * 1000

    def watch(self, owner: Any, name: str, stage: str = "") -> None:
        """Count each call of a function as time of the stage of its name, or of `stage`."""
        function = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(stage or name.strip("_")):
                return function(*args, **kwargs)

        setattr(owner, name, timed)

    def end_round(self) -> None:
        for stage, spent in self._now.items():
            self._rounds[stage].append(spent)
        self._now.clear()

    def forget(self) -> None:
        self._now.clear()

    def medians(self) -> Stages:
        """Return the figures of the rounds so far, and begin anew."""
        found = {stage: median(spent) for stage, spent in self._rounds.items()}
        self._rounds.clear()
        return found


def _cpu_s() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class PureHost:
    """A host without a kernel: what it is to have it has at once."""

    def __init__(self, specs: Path) -> None:
        self.clock = Clock()
        self._specs, self._decide, self._read = specs, Decider(), RecordReader()
        self._facts = Facts(host=host_facts(), seen=Table())
        self._loaded = load_specs(specs, host="alpha")
        self._objects: dict[Key, Object] = {}
        self._converge()

    def change(self) -> None:
        """Read the specs, and decide until nothing is left to do, which the last look shows."""
        with self.clock("all"), self.clock("load"):
            self._loaded = load_specs(self._specs, host="alpha", previous=self._loaded)
        self._converge()
        self.clock.end_round()

    def delete_link(self, attachment: str) -> None:
        """Delete the pair that leads to an attachment's sandbox."""
        found = next(o for o in self._objects.values() if isinstance(o, VethPair) and o.unit.attachment == attachment)
        self._have({}, [found.key])
        self._converge()
        self.clock.end_round()

    def _converge(self) -> None:
        while operations := self._look():
            put = {o.after.key: o.after for o in operations if o.after is not None}
            self._have(put, [o.object.key for o in operations if o.action is Action.DELETE])

    def _look(self) -> tuple[Operation, ...]:
        with self.clock("all"):
            with self.clock("decide"):
                decision = self._decide(self._loaded.wanted, self._facts)
            with self.clock("compared"):
                return compared(decision, self._loaded.wanted, self._facts).operations

    def _have(self, put: Mapping[Key, Object], drop: list[Key]) -> None:
        seen = self._facts.seen
        assert isinstance(seen, Table)
        seen = seen.updated({key: Seen(o, is_ours=not isinstance(o, Sysctl)) for key, o in put.items()}, drop)
        self._objects = objects = {key: found.object for key, found in seen.items()}
        made = [each.ns for each in objects.values() if isinstance(each, Namespace)]
        facts = {ns: SandboxFact(inode=number, is_ours=True) for number, ns in enumerate(made, start=1)}
        texts = {each.path: each.value for each in objects.values() if isinstance(each, KvRecord)}
        self._facts = replace(
            self._facts,
            seen=seen,
            sandboxes={ns: self._facts.sandboxes.get(ns, fact) for ns, fact in facts.items()},
            firewall={k: s for k, s in seen.items() if isinstance(s.object, FirewallElement | FirewallRules)},
            zones=next((each.text for each in objects.values() if isinstance(each, NameTables)), ""),
            records=self._read(texts),
        )


class KernelHost:
    """A host with a kernel, in the network namespace that this process is in. The pass is that of a watcher."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self._settings = Settings(
            specs_dir=folder / "specs",
            host="alpha",
            state_dir=folder / "state",
            status_dir=folder / "state/status",
            run_dir=Path("/run/reconciler"),
        )
        self._opened = open_backends(self._settings)
        self._backends = self._opened.__enter__()
        self._kernel = KernelEvents(self._backends.namespaces)
        nothing: Any = None
        Passes(
            self._settings, self._backends, nothing, self._kernel, None, nothing, None
        )  # so that it is heard in each look
        self._loaded = pipeline.load(self._settings)
        self._status = Status(self._settings)
        self._pass()
        gc.collect()
        gc.freeze()
        for name in ("guarded", "gather", "compared", "_apply", "stale_flows", "announcements"):
            self.clock.watch(pipeline, name)
        self.clock.watch(Decider, "__call__", "decide")
        self._pass()
        self.clock.forget()

    def change(self) -> None:
        with self.clock("all"):
            with self.clock("load"):
                self._loaded = pipeline.load(self._settings, self._loaded)
            self._pass()
        self.clock.end_round()

    def delete_link(self, attachment: str) -> None:
        seen = pipeline.look(self._loaded.wanted, self._settings, self._backends).decision.seen
        pairs = (found.object for found in seen.values() if isinstance(found.object, VethPair))
        pair = next(each for each in pairs if each.peer_ns == NsRef(f"netns:{attachment}"))
        subprocess.run(["ip", "link", "del", pair.ifname], check=True)
        self.clock.forget()
        with self.clock("all"):
            self._pass()
        self.clock.end_round()

    def _pass(self) -> None:
        def tell(report: Any) -> Any:
            with self.clock("status"):
                return self._status.told(report)

        report = pipeline.run_pass(self._loaded, self._settings, self._backends, tell=tell)
        assert not report.drift.operations, report.drift
        sandboxes = {ns: found.fact.inode for ns, found in self._backends.memory.sandboxes.items()}
        with self.clock("arm"):
            self._kernel.arm(Watched(namespaces={HOST: 0, **sandboxes}))

    def close(self) -> None:
        self._kernel.close()
        self._backends.memory.news = None
        pipeline.tear_down(self._settings, self._backends)
        self._opened.__exit__(None, None, None)


class Specs:
    """The specs of a workload, and edits of one of their files."""

    def __init__(self, folder: Path, attachments: int) -> None:
        self.folder = folder / "specs"
        Workload(networks=max(2, attachments // 50), attachments=attachments).write_specs(self.folder)
        self._file = self.folder / "n0.yaml"
        self._added: list[str] = []

    def add(self) -> None:
        self._added.append(f"  added{len(self._added)}: {{networks: {{n0: }}}}\n")
        self._file.write_text(self._file.read_text() + self._added[-1])

    def remove(self) -> None:
        self._file.write_text(self._file.read_text().removesuffix(self._added.pop()))

    def remark(self) -> None:
        self._file.write_text("# a remark\n" + self._file.read_text())


def steps(host: PureHost | KernelHost, specs: Specs, rounds: int = ROUNDS) -> dict[str, Stages]:
    """Return what each kind of change costs."""
    changes: dict[str, Callable[[int], None]] = {
        "nothing changed": lambda _: None,
        "one attachment added": lambda _: specs.add(),
        "one attachment removed": lambda _: specs.remove(),
        "a remark at the top of a file": lambda _: specs.remark(),
    }
    found = {}
    for title, make in changes.items():
        for number in range(rounds):
            make(number)
            host.change()
        found[title] = host.clock.medians()
    for number in range(rounds):
        host.delete_link(f"c{number}")
    return {**found, "a link deleted": host.clock.medians()}


def pure(attachments: int, rounds: int = ROUNDS) -> dict[str, Stages]:
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as folder:
        specs = Specs(Path(folder), attachments)
        return steps(PureHost(specs.folder), specs, rounds)


def on_kernel(attachments: int, rounds: int = ROUNDS) -> dict[str, Stages]:
    """Measure in a child that is in a namespace of its own; for a private machine."""
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-", dir="/run") as folder:
        machine = Machine(state_dir=Path(folder) / "state")
        machine.add_namespace("H")
        specs = Specs(Path(folder), attachments)
        with machine.inside("H"):
            host = KernelHost(Path(folder))
            found = steps(host, specs, rounds)
            host.close()
        machine.clean()
        return found


def report(title: str, found: Mapping[int, Mapping[str, Stages]]) -> bool:
    """Print the figures; tell whether an edit costs with the most attachments what it costs with the fewest."""
    fewest, most = min(found), max(found)
    is_even = True
    for step, stages in found[most].items():
        ratio = stages["all"] / found[fewest][step]["all"]
        limit = RATIO_AT_MOST if step == "one attachment added" else None
        is_even = is_even and (limit is None or ratio <= limit)
        print(f"{title}: {step}, CPU ms; {most}:{fewest} {ratio:.1f}x" + (f" (at most {limit}x)" if limit else ""))
        for size, by_step in found.items():
            parts = sorted(by_step[step].items(), key=lambda each: -each[1])
            print(f"  {size:6}", ", ".join(f"{stage} {spent:.1f}" for stage, spent in parts if spent >= 0.05))
    return is_even


def main(sizes: tuple[int, ...]) -> int:
    is_pure_even = report("pure", {size: pure(size) for size in sizes})
    enter_private_machine()
    is_even = report("kernel", {size: on_kernel(size) for size in sizes})
    return 0 if is_pure_even and is_even else 1


if __name__ == "__main__":
    sys.exit(main(tuple(map(int, sys.argv[1:])) or SIZES))
