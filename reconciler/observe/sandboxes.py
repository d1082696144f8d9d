"""Looking into namespaces: those that attachments need, and those of ours that nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.errors import PlanError, ReconcilerError, SandboxMissing
from reconciler.kernel.addresses import decode_address, dump_addresses
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link, decode_link, decode_nsid, dump_links, get_nsid
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.routes import decode_route, dump_routes
from reconciler.model.identifiers import HOST, LINK_GROUP, NsRef
from reconciler.model.objects import Key, Namespace, Seen
from reconciler.model.observed import SandboxFact
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind, WantedState
from reconciler.observe.addresses import link_addresses
from reconciler.observe.links import Peer, sandbox_links
from reconciler.observe.memory import Glimpse, Memory, View, keyed
from reconciler.observe.routes import unicast_routes
from reconciler.observe.sysctls import asked_settings, sandbox_sysctls

_NAMED = f"{SandboxKind.NETNS}:"


@dataclass(slots=True, kw_only=True)
class Sandboxes:
    """What was found in all of them. far_ends: number of the namespace and index of the peers of our links on the host."""

    far_ends: frozenset[tuple[int, int]]
    facts: dict[NsRef, SandboxFact] = field(default_factory=dict)
    seen: dict[Key, Seen] = field(default_factory=dict)
    peers: dict[tuple[int, int], Peer] = field(default_factory=dict)

    def add(self, found: Glimpse) -> None:
        self.seen.update(found.seen)
        self.peers.update(found.peers)


def view(namespaces: Namespaces, ns: NsRef) -> View:
    """Dump links, addresses and routes. Raises SandboxMissing, KernelError."""
    socket = namespaces.socket(ns)
    return View(
        links=tuple(socket.dump(dump_links(), decode_link)),
        addresses=tuple(socket.dump(dump_addresses(), decode_address)),
        routes=tuple(socket.dump(dump_routes(), decode_route)),
    )


def look_into_sandboxes(
    wanted: WantedState,
    namespaces: Namespaces,
    host: View,
    memory: Memory,
    promised_sysctls: Iterable[tuple[NsRef, str]] = (),
) -> Sandboxes:
    """Look into every namespace that an attachment names, then for ours that none does. Never raises for one of them."""
    found = Sandboxes(far_ends=frozenset(_far_ends(host.links)))
    asked = _asked_by_ns(wanted, promised_sysctls)
    for ns, names in asked.items():
        memory.sandboxes[ns] = glimpse = _remembered(memory, namespaces, ns, names) or _look_into(
            namespaces, ns, names, found.far_ends
        )
        found.facts[ns] = glimpse.fact
        found.add(glimpse)
    for ns in memory.sandboxes.keys() - asked.keys():
        del memory.sandboxes[ns]
    found.facts.update(_contested(found.facts))
    _look_for_ours(found, namespaces, memory)
    return found


def _far_ends(links: Iterable[Link]) -> Iterator[tuple[int, int]]:
    for link in links:
        if link.is_ours and link.kind == "veth" and link.peer_nsid != NSID_NOT_ASSIGNED:
            yield link.peer_nsid, link.peer


def _asked_by_ns(wanted: WantedState, promised_sysctls: Iterable[tuple[NsRef, str]]) -> Mapping[NsRef, frozenset[str]]:
    """Give the namespaces to look into, and which settings to ask each of them for."""
    attachments: defaultdict[NsRef, list[AttachmentWanted]] = defaultdict(list)
    for attachment in wanted.attachments:
        if attachment.mode is not NetworkMode.HOST:
            attachments[attachment.sandbox.ns].append(attachment)
    asked = {ns: asked_settings(members) for ns, members in attachments.items()}
    for ns, name in promised_sysctls:
        if ns != HOST:
            asked[ns] = asked.get(ns, frozenset()) | {name}
    return asked


def _remembered(memory: Memory, namespaces: Namespaces, ns: NsRef, asked: frozenset[str]) -> Glimpse | None:
    """Give what is remembered, if it is still of the same namespace and answers the same questions."""
    known = memory.sandboxes.get(ns)
    if known is None or known.asked != asked or known.fact.error is not None:
        return None
    return known if namespaces.present_inode(ns) == known.fact.inode else None


def _look_into(
    namespaces: Namespaces, ns: NsRef, asked: frozenset[str], far_ends: frozenset[tuple[int, int]]
) -> Glimpse:
    try:
        inode = namespaces.inode(ns)
        if inode == namespaces.inode(HOST):
            return Glimpse(fact=SandboxFact(inode=inode, error=_is_the_hosts(ns)))
        nsid = _nsid(namespaces, ns)
        seen = _claimed(view(namespaces, ns), nsid, far_ends)
        is_ours = ns.startswith(_NAMED) and any(namespaces.is_marked(link) for link in seen.links)
        objects = (
            *_objects(ns, seen, is_ours=is_ours),
            *sandbox_sysctls(namespaces, ns, asked, seen.own_names().values()),
        )
    except SandboxMissing as error:
        is_made_on_demand = ns.startswith(_NAMED)
        return Glimpse(fact=SandboxFact(inode=0, error=None if is_made_on_demand else error), asked=asked)
    except ReconcilerError as error:
        return Glimpse(fact=SandboxFact(inode=0, error=error))
    fact = SandboxFact(inode=inode, is_ours=is_ours)
    return Glimpse(fact=fact, asked=asked, seen=keyed(objects), peers=tuple(_peers(ns, nsid, seen.links)))


def _objects(ns: NsRef, seen: View, *, is_ours: bool) -> Iterator[Seen]:
    names = seen.names()
    if is_ours:
        yield Seen(Namespace(ns=ns, name=ns.removeprefix(_NAMED)), is_ours=True)
    yield from sandbox_links(ns, seen.links)
    yield from link_addresses(ns, seen.addresses, seen.own_names())
    yield from unicast_routes(ns, seen.routes, names)


def _look_for_ours(found: Sandboxes, namespaces: Namespaces, memory: Memory) -> None:
    """Report namespaces of ours that no attachment names, unless one reaches them by another way."""
    inodes = {fact.inode for fact in found.facts.values()}
    others: dict[tuple[str, int], Glimpse] = {}
    for name in namespaces.names():
        ns = NsRef(f"{_NAMED}{name}")
        inode = 0 if ns in found.facts else namespaces.present_inode(ns)
        if inode and inode not in inodes:
            known = memory.others.get((name, inode))
            others[name, inode] = _look_for_mark(namespaces, ns, inode) if known is None else known
            found.add(others[name, inode])
    memory.others = others


def _look_for_mark(namespaces: Namespaces, ns: NsRef, inode: int) -> Glimpse:
    nothing = Glimpse(fact=SandboxFact(inode=inode))
    try:
        if not namespaces.is_made_by_us(ns):
            return nothing
        links = namespaces.socket(ns).dump(dump_links(), decode_link)
        peers = tuple(_peers(ns, _nsid(namespaces, ns), links))
    except ReconcilerError:
        return nothing  # gone while we looked, or not to be read: nothing that we could own up to
    finally:
        namespaces.forget(ns)
    seen = Seen(Namespace(ns=ns, name=ns.removeprefix(_NAMED)), is_ours=True)
    return Glimpse(fact=SandboxFact(inode=inode, is_ours=True), seen=keyed([seen]), peers=peers)


def _claimed(seen: View, nsid: int, far_ends: frozenset[tuple[int, int]]) -> View:
    """Give the view with the far ends of our pairs as ours: whoever is inside may have taken our mark off them."""
    links = (link._replace(group=LINK_GROUP) if (nsid, link.ifindex) in far_ends else link for link in seen.links)
    return replace(seen, links=tuple(links))


def _nsid(namespaces: Namespaces, ns: NsRef) -> int:
    """Give how the host numbers a namespace; -1 when no link there has to do with the host."""
    reply = namespaces.socket(HOST).request(get_nsid(namespaces.fd(ns)))
    return next((decode_nsid(a.buffer, a.start, a.end) for a in reply.answers), NSID_NOT_ASSIGNED)


def _peers(ns: NsRef, nsid: int, links: Iterable[Link]) -> Iterator[tuple[tuple[int, int], Peer]]:
    """Give the far ends of pairs, by how the host would speak of them."""
    if nsid != NSID_NOT_ASSIGNED:
        for link in links:
            if link.kind == "veth":
                yield (nsid, link.ifindex), Peer(ns=ns, link=link)


def _contested(facts: Mapping[NsRef, SandboxFact]) -> Iterator[tuple[NsRef, SandboxFact]]:
    """Name the namespaces that several sandboxes lead to: whose they are is not ours to guess."""
    by_inode: defaultdict[int, list[NsRef]] = defaultdict(list)
    for ns, fact in facts.items():
        if fact.inode and fact.error is None:
            by_inode[fact.inode].append(ns)
    for inode, several in by_inode.items():
        if len(several) > 1:
            error = PlanError(f"sandboxes {' and '.join(several)} are the same namespace; give each attachment its own")
            yield from ((ns, SandboxFact(inode=inode, is_ours=facts[ns].is_ours, error=error)) for ns in several)


def _is_the_hosts(ns: NsRef) -> PlanError:
    return PlanError(f"sandbox {ns} is the host's own namespace; use `network_mode: host`, or another sandbox")
