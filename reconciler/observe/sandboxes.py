"""Looking into namespaces: those that attachments need, and those of ours that nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from reconciler.errors import PlanError, ReconcilerError, SandboxMissing
from reconciler.kernel.addresses import AddressEntry, decode_address, dump_addresses
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link, decode_link, decode_nsid, dump_links, get_nsid
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.routes import RouteEntry, decode_route, dump_routes
from reconciler.model.identifiers import HOST, LINK_GROUP, NsRef
from reconciler.model.objects import Namespace, Seen
from reconciler.model.observed import SandboxFact
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind, WantedState
from reconciler.observe.addresses import link_addresses
from reconciler.observe.links import Peer, sandbox_links
from reconciler.observe.routes import unicast_routes
from reconciler.observe.sysctls import attachment_sysctls

_NAMED = f"{SandboxKind.NETNS}:"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the kernel says of one namespace."""

    links: tuple[Link, ...]
    addresses: tuple[AddressEntry, ...]
    routes: tuple[RouteEntry, ...]

    def names(self) -> dict[int, str]:
        return {link.ifindex: link.ifname for link in self.links}

    def own_names(self) -> dict[int, str]:
        return {link.ifindex: link.ifname for link in self.links if link.is_ours}


@dataclass(slots=True, kw_only=True)
class Sandboxes:
    """What was found in all of them. far_ends: number of the namespace and index of the peers of our links on the host."""

    far_ends: frozenset[tuple[int, int]]
    facts: dict[NsRef, SandboxFact] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    peers: dict[tuple[int, int], Peer] = field(default_factory=dict)


def view(namespaces: Namespaces, ns: NsRef) -> View:
    """Dump links, addresses and routes. Raises SandboxMissing, KernelError."""
    socket = namespaces.socket(ns)
    return View(
        links=tuple(socket.dump(dump_links(), decode_link)),
        addresses=tuple(socket.dump(dump_addresses(), decode_address)),
        routes=tuple(socket.dump(dump_routes(), decode_route)),
    )


def look_into_sandboxes(wanted: WantedState, namespaces: Namespaces, host: View) -> Sandboxes:
    """Look into every namespace that an attachment names, then for ours that none does. Never raises for one of them."""
    found = Sandboxes(far_ends=frozenset(_far_ends(host.links)))
    for ns, attachments in _attachments_by_ns(wanted).items():
        found.facts[ns] = _look_into(found, namespaces, ns, attachments)
    found.facts.update(_contested(found.facts))
    inodes = {fact.inode for fact in found.facts.values()}
    for name in namespaces.names():
        ns = NsRef(f"{_NAMED}{name}")
        if ns not in found.facts:
            _look_for_mark(found, namespaces, ns, inodes)
    return found


def _far_ends(links: Iterable[Link]) -> Iterator[tuple[int, int]]:
    for link in links:
        if link.is_ours and link.kind == "veth" and link.peer_nsid != NSID_NOT_ASSIGNED:
            yield link.peer_nsid, link.peer


def _attachments_by_ns(wanted: WantedState) -> Mapping[NsRef, list[AttachmentWanted]]:
    found: defaultdict[NsRef, list[AttachmentWanted]] = defaultdict(list)
    for attachment in wanted.attachments:
        if attachment.mode is not NetworkMode.HOST:
            found[attachment.sandbox.ns].append(attachment)
    return found


def _look_into(
    found: Sandboxes, namespaces: Namespaces, ns: NsRef, attachments: Iterable[AttachmentWanted]
) -> SandboxFact:
    try:
        inode = namespaces.inode(ns)
        if inode == namespaces.inode(HOST):
            return SandboxFact(inode=inode, error=_is_the_hosts(ns))
        seen = _claimed(found, namespaces, ns, view(namespaces, ns))
        is_ours = ns.startswith(_NAMED) and any(namespaces.is_marked(link) for link in seen.links)
        found.seen += _objects(ns, seen, is_ours=is_ours)
        found.seen += attachment_sysctls(namespaces, ns, attachments, seen.own_names().values())
    except SandboxMissing as error:
        is_made_on_demand = ns.startswith(_NAMED)
        return SandboxFact(inode=0, error=None if is_made_on_demand else error)
    except ReconcilerError as error:
        return SandboxFact(inode=0, error=error)
    return SandboxFact(inode=inode, is_ours=is_ours)


def _objects(ns: NsRef, seen: View, *, is_ours: bool) -> Iterator[Seen]:
    names = seen.names()
    if is_ours:
        yield Seen(Namespace(ns=ns, name=ns.removeprefix(_NAMED)), is_ours=True)
    yield from sandbox_links(ns, seen.links)
    yield from link_addresses(ns, seen.addresses, seen.own_names())
    yield from unicast_routes(ns, seen.routes, names)


def _look_for_mark(found: Sandboxes, namespaces: Namespaces, ns: NsRef, inodes: set[int]) -> None:
    """Report a namespace of ours that no attachment names, unless one reaches it by another way."""
    try:
        if namespaces.inode(ns) not in inodes and namespaces.is_made_by_us(ns):
            links = namespaces.socket(ns).dump(dump_links(), decode_link)
            found.seen.append(Seen(Namespace(ns=ns, name=ns.removeprefix(_NAMED)), is_ours=True))
            _remember_peers(found, ns, _nsid(namespaces, ns), links)
    except ReconcilerError:
        return  # gone while we looked, or not to be read: nothing that we could own up to
    finally:
        namespaces.forget(ns)


def _claimed(found: Sandboxes, namespaces: Namespaces, ns: NsRef, seen: View) -> View:
    """Give the view with the far ends of our pairs as ours: whoever is inside may have taken our mark off them."""
    nsid = _nsid(namespaces, ns)
    _remember_peers(found, ns, nsid, seen.links)
    links = (link._replace(group=LINK_GROUP) if (nsid, link.ifindex) in found.far_ends else link for link in seen.links)
    return replace(seen, links=tuple(links))


def _nsid(namespaces: Namespaces, ns: NsRef) -> int:
    """Give how the host numbers a namespace; -1 when no link there has to do with the host."""
    reply = namespaces.socket(HOST).request(get_nsid(namespaces.fd(ns)))
    return next((decode_nsid(a.buffer, a.start, a.end) for a in reply.answers), NSID_NOT_ASSIGNED)


def _remember_peers(found: Sandboxes, ns: NsRef, nsid: int, links: Iterable[Link]) -> None:
    if nsid != NSID_NOT_ASSIGNED:
        found.peers.update({(nsid, link.ifindex): Peer(ns=ns, link=link) for link in links if link.kind == "veth"})


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
