"""Whether the specs can be read, and come to something on this host: pools, addresses, host ports, sandboxes and parents that
cannot be had, each with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.holders import Holder, holders
from reconciler.doctor.place import Place
from reconciler.doctor.typed import base, typed
from reconciler.errors import AddressesAwaited, KvError, PortTaken, ReconcilerError
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Unit

_SHOWN_MAX = 20


class Specs(Struct, frozen=True, kw_only=True):
    """faults: of the specs. failures: what cannot be had, and whether it may come by itself. unknown: why nobody can tell."""

    faults: tuple[str, ...] = ()
    failures: tuple[tuple[str, bool], ...] = ()
    unknown: str = ""


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place), base(typed()))


def judge(found: Specs, program: list[str]) -> Iterator[Finding]:
    if found.faults:
        more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        yield error(
            f"the specs have faults: {found.faults[0]}{more}",
            "what can be read is applied, and nothing is removed until they are mended; this lists them:",
            command(*program, "validate"),
        )
    for text, may_come in found.failures[:_SHOWN_MAX]:
        yield (warning if may_come else error)(text, "it is left as it is, and all else is applied")
    if len(found.failures) > _SHOWN_MAX:
        yield error(f"{len(found.failures) - _SHOWN_MAX} more such failures", "`reconcile status` lists them all")
    if found.unknown:
        yield error(
            f"what the specs come to on this host cannot be told: {found.unknown}",
            "no pass can be made, and checks that depend on it say nothing",
        )


def read(place: Place) -> Specs:
    desired = None if place.decision is None else place.decision.desired
    failures = (*(() if desired is None else desired.failures), *(() if place.facts is None else place.facts.failures))
    return Specs(
        faults=tuple(map(str, place.specs.faults)),
        failures=tuple((_told(unit, each, place), each.is_retryable) for unit, each in failures if _counts(each)),
        unknown="" if place.failure is None else str(place.failure),
    )


def _counts(failure: ReconcilerError) -> bool:
    """Return whether it is told here: a plugin is still to answer to the first, and `store` tells of the second."""
    return not isinstance(failure, AddressesAwaited | KvError)


def _told(unit: Unit, failure: ReconcilerError, place: Place) -> str:
    text = str(failure) if str(failure).startswith(str(unit)) else f"{unit}: {failure}"
    if isinstance(failure, PortTaken) and not failure.holder:
        text += "".join(f"; process {pid} ({program}) has it" for pid, program in _holders(unit, place))
    return text


def _holders(unit: Unit, place: Place) -> Iterator[Holder]:
    """Yield the processes of the host that have a port which an attachment publishes."""
    wanted = [each for each in place.specs.wanted.attachments if each.name == unit.attachment]
    ranges = [port.published for each in wanted for port in each.ports if port.published[0]]
    ports = {port for first, last in ranges for port in range(first, last + 1)}
    return holders(place.backends.namespaces.inode(HOST), ports)
