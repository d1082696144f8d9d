"""The attachments of all files, each checked by itself, against its networks and against the others.

What is said as before, of networks that are as before, is not checked again. Who has faults, warnings or links is: lines move.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from itertools import chain, islice
from operator import attrgetter
from typing import Final

from msgspec import Struct, field

from reconciler.errors import SpecError
from reconciler.incremental import Table
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SpecWarning
from reconciler.spec.attachment import AttachmentSpec, NetworkTable, attachment_faults, attachment_wanted, network_mode
from reconciler.spec.conflicts import (
    Conflicts,
    are_ports_few,
    attachment_conflicts,
    claimed,
    is_for_host,
    is_in_conflict,
    twice_declared,
)
from reconciler.spec.declarations import Declared
from reconciler.spec.document import FAULTS_MAX, shown
from reconciler.spec.links import HINTS_AMONG_MAX, Linkable, link_faults
from reconciler.spec.names import long_name_faults
from reconciler.spec.network import Fault
from reconciler.spec.warnings import attachment_warnings

Entry = Declared[AttachmentSpec]


class _Checked(Struct, frozen=True):
    """One attachment. wanted: None for one that this host has not. claims: what no other may want on the same host."""

    spec: AttachmentSpec
    wanted: AttachmentWanted | None
    claims: tuple[Hashable, ...]


def _claims(_: str, checked: _Checked) -> tuple[Hashable, ...]:
    return checked.claims


class CheckedAttachments(Struct, frozen=True, kw_only=True):
    """wanted: this host's attachments without fault, sorted by name.

    Those on a network with faults, or one that may stand in what could not be read, are left out without another word. The rest
    is what the next check goes on from. specs: by name. told: who has faults, warnings or links. is_whole: all has to be looked at.
    """

    wanted: tuple[AttachmentWanted, ...] = ()
    faults: tuple[SpecError, ...] = ()
    warnings: tuple[SpecWarning, ...] = ()
    checked: Table[str, _Checked] = field(default_factory=Table)
    specs: Mapping[str, AttachmentSpec | None] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    networks: NetworkTable = field(default_factory=lambda: NetworkTable({}, {}))
    setting: tuple[object, ...] = ()
    is_whole: bool = True


NOTHING_CHECKED: Final = CheckedAttachments()


def checked_attachments(
    entries: Sequence[Entry], among: Linkable, before: CheckedAttachments, *, is_complete: bool, faults_before: int
) -> CheckedAttachments:
    """Check them. before: as they were, to save work. is_complete: nothing more may be declared. faults_before: of all else."""
    setting, specs = (among.host, is_complete), {entry.key: entry.spec for entry in entries}
    has_few_ports = are_ports_few(specs.values())
    is_whole = before.is_whole or before.setting != setting or len(specs) != len(entries) or not has_few_ports
    again = entries if is_whole else _to_be_checked(entries, among.networks, before)
    good = _good_for_any_host(again, among.networks, before) if before.setting[1:] == setting[1:] else frozenset()
    faults: list[SpecError] = []
    warnings: list[SpecWarning] = []
    found: dict[str, _Checked] = {}
    told = set()
    for entry in again:
        if entry.spec is not None:
            has_hints = is_complete and faults_before + len(faults) < FAULTS_MAX
            is_good = id(entry) in good
            wrong = [] if is_good else list(_faults(entry.key, entry.spec, among, has_hints=has_hints))
            odd = [] if is_good else list(attachment_warnings(entry, among.networks))
            faults += [entry.fault(path, message) for path, message in wrong]
            warnings += odd
            if wrong or odd or entry.spec.links:
                told.add(entry.key)
            found[entry.key] = _checked(
                entry.key, entry.spec, among, before, is_good=not wrong, has_few_ports=has_few_ports
            )
    gone = [key for key in before.specs if specs.get(key) is None]
    table = Table(found) if is_whole else before.checked.updated(found, gone)
    conflicts = _conflicts(entries, again, among, table, is_whole=is_whole)
    faults += conflicts.faults
    return CheckedAttachments(
        wanted=before.wanted if table is before.checked and not conflicts.keys else _wanted(table, conflicts, before),
        faults=tuple(faults),
        warnings=tuple(warnings),
        checked=table,
        specs=specs,
        told=frozenset(told),
        networks=among.networks,
        setting=setting,
        is_whole=bool(conflicts.keys) or faults_before + len(faults) >= FAULTS_MAX or not has_few_ports,
    )


def _to_be_checked(entries: Sequence[Entry], networks: NetworkTable, before: CheckedAttachments) -> list[Entry]:
    """Return the entries that say something else, of which something is told, or whose networks are not the same."""
    was, told = before.specs, before.told
    again = [entry for entry in entries if was.get(entry.key) is not entry.spec or entry.key in told]
    changed = _changed_networks(networks, before)
    if changed:
        there = {entry.key for entry in again}
        again += [entry for entry in entries if entry.key not in there and _is_on(entry.spec, changed)]
    return again


def _good_for_any_host(entries: Iterable[Entry], networks: NetworkTable, before: CheckedAttachments) -> Set[int]:
    """Return the ids of those that were found good and say the same: only who links to others depends on the host."""
    if before.is_whole:
        return frozenset()
    was, told, changed = before.specs, before.told, _changed_networks(networks, before)
    same = (entry for entry in entries if entry.spec is not None and was.get(entry.key) is entry.spec)
    return {id(entry) for entry in same if entry.key not in told and not _is_on(entry.spec, changed)}


def _changed_networks(networks: NetworkTable, before: CheckedAttachments) -> Set[str]:
    return {
        key for key in networks.keys() | before.networks if networks.get(key, key) is not before.networks.get(key, key)
    }


def _is_on(spec: AttachmentSpec | None, changed: Set[str]) -> bool:
    return spec is not None and not changed.isdisjoint(spec.networks or ("bridge",))


def _faults(key: str, spec: AttachmentSpec, among: Linkable, *, has_hints: bool) -> Iterator[Fault]:
    yield from attachment_faults(spec, among.networks)
    yield from long_name_faults(key, spec, among.networks)
    if has_hints:
        yield from islice(chain(_undeclared(spec, among.networks), link_faults(spec, among)), FAULTS_MAX)


def _checked(
    key: str,
    spec: AttachmentSpec,
    among: Linkable,
    before: CheckedAttachments,
    *,
    is_good: bool,
    has_few_ports: bool,
) -> _Checked:
    networks = among.networks
    wanted = None
    if is_good and is_for_host(spec.hosts, among.host) and _has_networks(spec, networks):
        wanted = attachment_wanted(key, spec, networks)
        known = before.checked.get(key)
        if known is not None and known.wanted == wanted:
            wanted = known.wanted
    return _Checked(spec, wanted, tuple(claimed(key, spec, networks, with_ports=has_few_ports)))


def _conflicts(
    entries: Sequence[Entry], again: Sequence[Entry], among: Linkable, table: Table[str, _Checked], *, is_whole: bool
) -> Conflicts:
    """Return what is twice there. Where nothing was, only who is checked again may be in a conflict."""

    def others(thing: Hashable) -> Iterator[tuple[str, AttachmentSpec]]:
        return ((key, table[key].spec) for key in table.index(_claims).get(thing, ()))

    networks, host = among.networks, among.host
    new = [(entry.key, entry.spec) for entry in again if entry.spec is not None]
    if not is_whole and not any(is_in_conflict(key, spec, networks, host, others) for key, spec in new):
        return Conflicts((), frozenset())
    twice, found = twice_declared(entries, "attachment"), attachment_conflicts(entries, networks, host=host)
    return Conflicts((*twice.faults, *found.faults), twice.keys | found.keys)


def _wanted(
    table: Table[str, _Checked], conflicts: Conflicts, before: CheckedAttachments
) -> tuple[AttachmentWanted, ...]:
    found = (each.wanted for key, each in table.items() if key not in conflicts.keys and each.wanted is not None)
    now = tuple(sorted(found, key=attrgetter("name")))
    return before.wanted if now == before.wanted else now


def _undeclared(spec: AttachmentSpec, table: NetworkTable) -> Iterator[Fault]:
    for key in spec.networks:
        if key not in table:
            near = get_close_matches(key[:64], table, n=1) if len(table) <= HINTS_AMONG_MAX else []
            hint = f"did you mean '{near[0]}'?" if near else "declare it below 'networks'"
            yield ("networks", key), f"network {shown(key)} not found: {hint}"


def _has_networks(spec: AttachmentSpec, table: NetworkTable) -> bool:
    mode = network_mode(spec, table)
    default = ("bridge",) if mode is NetworkMode.NETWORKS else (mode,)
    return all(table.get(key) is not None for key in spec.networks or default)
