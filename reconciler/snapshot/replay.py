"""What a look at the host would have found for other specs than those of the snapshot. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from msgspec.structs import replace

from reconciler.errors import SandboxMissing
from reconciler.facts import Facts
from reconciler.ipam.leases import ipam_plugins
from reconciler.model.identifiers import HOST, UNKNOWN_NS, NsRef
from reconciler.model.objects import IPAddress, Key, Namespace, Seen, VethPair
from reconciler.model.observed import HostPorts, SandboxFact, keyed
from reconciler.model.wanted import NetworkMode, SandboxKind, WantedState, adopting_bridges, named_parents
from reconciler.ports.remarks import bindable_addresses
from reconciler.snapshot.values import Snapshot


def facts_for(snapshot: Snapshot, wanted: WantedState) -> Facts:
    """Return the facts that specs make matter.

    Of containers, paths and processes that the specs of the snapshot did not name nothing is known.
    """
    facts = snapshot.facts
    asked = {a.sandbox.ns: a.sandbox.kind for a in wanted.attachments if a.mode is not NetworkMode.HOST}
    sandboxes = {ns: _fact(snapshot, ns, kind) for ns, kind in asked.items()}
    promises = facts.records.promises
    kept = {*promises.sandboxes, *(ns for ns, _ in promises.sysctls if ns != HOST)}
    sandboxes |= {ns: fact for ns, fact in facts.sandboxes.items() if ns in kept}
    come = keyed(seen for ns in asked if ns in snapshot.others for seen in snapshot.others[ns].seen)
    gone = facts.sandboxes.keys() - sandboxes.keys()
    parents, adopting = named_parents(wanted), adopting_bridges(wanted)
    connecting = {
        driver for (_, driver), scope in facts.records.plugins.scopes.items() if scope.connectivity == "global"
    }
    return replace(
        facts,
        host=replace(
            facts.host,
            parents=tuple(one for one in facts.host.parents or () if one.ifname in parents),
            bridges=tuple(one for one in facts.host.bridges if one.ifname in adopting),
        ),
        seen={**_without(facts, gone), **come} if gone or come else facts.seen,
        sandboxes=sandboxes,
        ports=snapshot.ports if any(attachment.ports for attachment in wanted.attachments) else HostPorts(),
        absent=_absent(snapshot, bindable_addresses(wanted)),
        incarnations={name: facts.incarnations.get(name, "") for name in ipam_plugins(wanted) | connecting},
    )


def _fact(snapshot: Snapshot, ns: NsRef, kind: SandboxKind) -> SandboxFact:
    known = snapshot.facts.sandboxes.get(ns)
    if known is not None:
        return known
    if ns in snapshot.others:
        return snapshot.others[ns].fact
    if kind is SandboxKind.NETNS:
        return SandboxFact(inode=0)
    return SandboxFact(
        inode=0, error=SandboxMissing(f"sandbox {ns} is not in the snapshot, whose specs did not name it")
    )


def _without(facts: Facts, gone: Iterable[NsRef]) -> Mapping[Key, Seen]:
    """Leave out what is in namespaces that nobody asks for.

    Of ours one knows still that they are there, and who is at the far end of pairs.
    """
    inside = frozenset((ns,) for ns in gone)
    unread = frozenset(ns for ns in gone if not facts.sandboxes[ns].is_ours)
    return {
        key: _half_seen(found, unread)
        for key, found in facts.seen.items()
        if key[1:2] not in inside or (isinstance(found.object, Namespace) and found.is_ours)
    }


def _half_seen(found: Seen, unread: Container[NsRef]) -> Seen:
    if isinstance(found.object, VethPair) and found.object.peer_ns in unread:
        return replace(found, object=replace(found.object, peer_ns=UNKNOWN_NS, peer_ifname="", peer_mac=""))
    return found


def _absent(snapshot: Snapshot, addresses: Iterable[IPAddress]) -> frozenset[IPAddress]:
    return frozenset(address for address in addresses if address not in snapshot.own)
