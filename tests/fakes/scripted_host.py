"""A host with a simulated kernel: whole passes, each of which reads what those before it left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from reconciler.decide import Decider, compared
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.facts import Facts
from reconciler.guard.guarded import guarded
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.recovery import recovered_pass
from reconciler.kinds.kv_record import decode_records
from reconciler.kv.protocol import KvEntry, KvStore
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Key, KvRecord, Namespace, NameTables, Object, Seen, Unit
from reconciler.model.observed import HostPorts, SandboxFact
from reconciler.model.plan import Action, Operation
from reconciler.model.report import Report
from reconciler.model.wanted import WantedState
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs, load_specs
from reconciler.status.verdict import exit_code, unsettled
from tests.fakes.desired import host_facts
from tests.fakes.simulated_kernel import SimulatedKernel


class ScriptedHost:
    """The host `alpha`. seen: what exists there; tests change it as anybody may. unusable: sandboxes, with the reason."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(host="alpha", specs_dir=folder / "specs", state_dir=folder / "state")
        self.settings.specs_dir.mkdir()
        self.facts = host_facts()
        self.ports = HostPorts()
        self.seen: dict[Key, Seen] = {}
        self.unusable: dict[NsRef, ReconcilerError] = {}
        self._decide = Decider()
        self._loaded: LoadedSpecs | None = None

    def write(self, **files: str) -> None:
        """Have these files in the folder of specs, and no others."""
        for path in self.settings.specs_dir.iterdir():
            path.unlink()
        for name, text in files.items():
            (self.settings.specs_dir / f"{name}.yaml").write_text(text)

    def go(self, orders: Orders = NO_ORDERS) -> Report:
        """Make a pass."""
        self._loaded = load_specs(self.settings.specs_dir, host="alpha", previous=self._loaded)
        return recovered_pass(self._loaded, self.settings, orders, self._run)

    def ok(self, orders: Orders = NO_ORDERS) -> Report:
        report = self.go(orders)
        assert result(report) is ExitCode.OK, problems(report)
        return report

    def read(self) -> tuple[WantedState, Facts]:
        """Return what a pass would decide from."""
        self._loaded = load_specs(self.settings.specs_dir, host="alpha", previous=self._loaded)
        return self._loaded.wanted, self._gather()

    def remove_sandbox(self, name: str) -> None:
        """Delete a namespace of ours, as anybody may."""
        found = self.seen[Namespace.kind, NsRef(f"netns:{name}")].object
        kernel = SimulatedKernel(self.seen.values())
        kernel.apply_one(Operation(action=Action.DELETE, before=found, after=None, unit=found.unit))
        self.seen = kernel.seen

    def has(self, unit: Unit) -> bool:
        """Say whether anything of a network, attachment or endpoint is there."""
        return any(seen.object.unit == unit for seen in self.seen.values())

    def objects(self) -> Mapping[Key, Object]:
        return {key: seen.object for key, seen in self.seen.items()}

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        """Return the records of the host's own store."""
        found = (o for o in self.objects().values() if isinstance(o, KvRecord) and o.path.startswith(prefix))
        return tuple(KvEntry(key=record.path, value=record.value.encode(), version=1) for record in found)

    def _run(self, loaded: LoadedSpecs, orders: Orders) -> Report:
        allowed = guarded(loaded, self.settings, cast(KvStore, self), orders)
        report = self._look(allowed)
        kernel = SimulatedKernel(self.seen.values())
        outcomes = tuple(kernel.apply(report.plan.operations))
        assert not any(outcome.error for outcome in outcomes), outcomes
        self.seen = kernel.seen
        after = self._look(allowed)
        return replace(after, plan=report.plan, outcomes=outcomes, drift=after.plan)

    def _look(self, loaded: LoadedSpecs) -> Report:
        facts = self._gather()
        decision = self._decide(loaded.wanted, facts)
        return Report(
            desired=decision.desired,
            plan=compared(decision, loaded.wanted, facts),
            spec_faults=loaded.faults,
            spec_warnings=loaded.warnings,
            digest=loaded.digest,
            sandboxes={ns: fact.inode for ns, fact in facts.sandboxes.items()},
        )

    def _gather(self) -> Facts:
        found = self.objects().values()
        ours = [each.ns for each in found if isinstance(each, Namespace)]
        sandboxes = {ns: SandboxFact(inode=number, is_ours=True) for number, ns in enumerate(sorted(ours), start=1)}
        return Facts(
            host=self.facts,
            seen=dict(self.seen),
            sandboxes=sandboxes | {ns: SandboxFact(inode=0, error=error) for ns, error in self.unusable.items()},
            ports=self.ports,
            zones=next((each.text for each in found if isinstance(each, NameTables)), ""),
            firewall=self.seen,
            records=decode_records({entry.key: entry.value.decode() for entry in self.list("")}),
        )


def result(report: Report) -> ExitCode:
    """Return what the command line would end with."""
    return exit_code(report, unsettled(report))


def problems(report: Report) -> list[tuple[str, str]]:
    """Return whom something is in the way of, and what."""
    return [(str(unit), str(error)) for unit, error in report.drift.problems]
