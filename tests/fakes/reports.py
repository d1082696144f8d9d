"""Reports of passes, for those who are told of them."""

from __future__ import annotations

from msgspec.structs import replace

from reconciler.errors import ReconcilerError, SpecError
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Bridge, Object, Unit
from reconciler.model.plan import Action, Operation, Outcome, Plan
from reconciler.model.report import Report
from tests.fakes.desired import attachment, endpoint, host_facts, network

FRONT = Unit(network="front")
WEB = Unit(attachment="web")
FRONT_BRIDGE = Bridge(unit=FRONT, ns=HOST, ifname="br-front", mac="02:42:00:00:00:01", mtu=1500)


def made(found: Object = FRONT_BRIDGE, error: ReconcilerError | None = None, *, skipped: bool = False) -> Outcome:
    """What became of making `found`."""
    operation = Operation(action=Action.CREATE, before=None, after=found, unit=found.unit)
    return Outcome(operation=operation, error=error, skipped=skipped)


def report(
    *outcomes: Outcome,
    problems: tuple[tuple[Unit, ReconcilerError], ...] = (),
    faults: tuple[SpecError, ...] = (),
    digest: str = "d1",
    networks: tuple[str, ...] = ("front",),
    remarks: tuple[tuple[Unit, str], ...] = (),
) -> Report:
    """A pass over networks, of which `front` has the attachment `web`."""
    web = attachment("web", [endpoint("web", "front", "10.7.0.2/24")] if "front" in networks else [])
    desired = DesiredState(
        host=replace(host_facts(), now="2026-01-01T00:00:00.000000000Z"),
        networks=tuple(network(name, "10.7.0.0/24") for name in networks),
        attachments=(web,),
        has_faults=bool(faults),
        remarks=remarks,
    )
    found = Plan(problems=problems)
    return Report(desired=desired, plan=found, outcomes=outcomes, drift=found, spec_faults=faults, digest=digest)
