"""Looking into namespaces: those that attachments need, and those of ours that nobody needs any more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set

from msgspec.structs import replace

from reconciler.errors import PlanError, ReconcilerError, SandboxMissing
from reconciler.incremental import changed_keys
from reconciler.ipam.promises import NOTHING_PROMISED, Promises
from reconciler.kernel.links import (
    NSID_NOT_ASSIGNED,
    Link,
    decode_link,
    decode_nsid,
    dump_links,
    get_link,
    get_link_at,
    get_nsid,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.address import decode_address, dump_addresses
from reconciler.kinds.namespace import NAMED, seen_namespace
from reconciler.kinds.registry import objects_in_view
from reconciler.kinds.route import decode_route, dump_routes
from reconciler.kinds.row import Where
from reconciler.kinds.sublinks import own_sublinks
from reconciler.kinds.sysctl import sandbox_sysctls
from reconciler.kinds.view import NamespaceView, Peer, Peers, name_of
from reconciler.model.identifiers import HOST, LINK_GROUP, OVERLAY_PREFIX, NsRef
from reconciler.model.objects import Seen
from reconciler.model.observed import Keyed, SandboxFact, keyed
from reconciler.model.wanted import WantedState
from reconciler.observe.glimpse import Glimpse
from reconciler.observe.memory import Memory, Part

_OVERLAY = f"{NAMED}{OVERLAY_PREFIX}"


class NearEnds:
    """Our ends of pairs, in the host's namespace and in those of overlay networks: by them the far ends are told."""

    def __init__(self, views: Mapping[NsRef, NamespaceView]) -> None:
        self._views = views
        self._ways: defaultdict[tuple[int, int], list[NsRef]] = defaultdict(list)
        for ns, seen in views.items():
            if ns != HOST:
                for (_, far), near in seen.far_ends.items():
                    self._ways[near, far].append(ns)

    def numbers(self, namespaces: Namespaces, ns: NsRef, links: Sequence[Link]) -> tuple[tuple[NsRef, int], ...]:
        """Return how those namespaces number `ns` that may have the near end of one of `links`, the host always."""
        nears = [
            near for link in links if link.kind == "veth" for near in self._ways.get((link.peer, link.ifindex), ())
        ]
        return tuple((near, _nsid(namespaces, near, ns)) for near in dict.fromkeys((HOST, *nears)))

    def is_far_end(self, link: Link, numbers: Iterable[tuple[NsRef, int]]) -> bool:
        return any((nsid, link.ifindex) in self._views[near].far_ends for near, nsid in numbers)


def view(namespaces: Namespaces, ns: NsRef) -> NamespaceView:
    """Dump links, addresses and routes. Raises SandboxMissing, KernelError."""
    socket = namespaces.socket(ns)
    return NamespaceView(
        links=tuple(socket.dump(dump_links(), decode_link)),
        addresses=tuple(socket.dump(dump_addresses(), decode_address)),
        routes=tuple(socket.dump(dump_routes(), decode_route)),
    )


def refreshed_view(
    namespaces: Namespaces, ns: NsRef, known: NamespaceView, stale_links: Collection[int], stale_names: Collection[str]
) -> NamespaceView:
    """Return `known` with these links, by index and by name, and all addresses and routes as they are now."""
    socket = namespaces.socket(ns)
    links = {link.ifindex: link for link in known.links}
    stale = {*stale_links, *(link.ifindex for link in known.links if link.ifname in stale_names)}
    asked = [*map(get_link_at, stale), *(get_link(name) for name in stale_names if name)]
    for ifindex in stale:
        links.pop(ifindex, None)
    for reply in socket.batch(asked):
        found = (decode_link(answer.buffer, answer.start, answer.end) for answer in reply.answers)
        links.update((link.ifindex, link) for link in found)
    return NamespaceView(
        links=tuple(links.values()),
        addresses=tuple(socket.dump(dump_addresses(), decode_address)),
        routes=tuple(socket.dump(dump_routes(), decode_route)),
    )


def look_into_sandboxes(
    wanted: WantedState,
    namespaces: Namespaces,
    nears: NearEnds,
    memory: Memory,
    promises: Promises = NOTHING_PROMISED,
) -> Mapping[Part, Keyed]:
    """Look into every namespace that an attachment names or named, then for ours that none does. Never raises for one of them.

    Those of overlay networks are not looked for. What was found stands in `memory.kept`; gives the parts of it that are objects.
    """
    sandboxes, before = memory.sandboxes, memory.asked_before
    asked = memory.asked(wanted.attachments, promises.sysctls)
    left = dict.fromkeys(_left_behind(promises.sandboxes, asked, namespaces), frozenset[str]())
    memory.asked_before = asked = memory.all_asked({(0,): left, (1,): asked})
    again: Set[NsRef] = asked.keys()
    if memory.is_told:  # what is told as soon as it changes, and asked for as before, need not be looked at
        new = changed_keys(before, asked) | memory.unsettled | (asked.keys() - sandboxes.keys())
        again = {ns for ns in new if ns in asked}
    for ns in again:
        glimpse = sandboxes.get(ns)
        if glimpse is None or not _is_current(glimpse, namespaces, ns, asked[ns], is_told=memory.is_told):
            sandboxes[ns] = glimpse = _look_into(namespaces, ns, asked[ns], nears)
        (memory.unsettled.discard if _is_told_of(ns, glimpse) else memory.unsettled.add)(ns)
    for ns in sandboxes.keys() - asked.keys():
        del sandboxes[ns]
        memory.unsettled.discard(ns)
    left_over = _look_for_ours(namespaces, nears, memory)
    others = {NsRef(f"{NAMED}{name}"): found for (name, _), found in memory.others.items()}
    memory.kept.take(sandboxes, others, again)
    return {(0, "sandboxes"): memory.kept.seen, (0, "left over"): left_over, (1, "sublinks"): _all_sublinks(memory)}


def _all_sublinks(memory: Memory) -> Keyed:
    found = dict(memory.kept.with_sublinks())
    host = memory.host.by_index if found and memory.host is not None else {}
    inputs = {
        ns: (ns, each.sublinks, each.host_nsid, tuple(name_of(host, link.peer) for link in each.sublinks))
        for ns, each in found.items()
    }
    return memory.all_sublinks({(ns,): made for ns, made in memory.sublinks(inputs).items()})


def _left_behind(promised: Iterable[NsRef], asked: Collection[NsRef], namespaces: Namespaces) -> Iterator[NsRef]:
    """Yield those of former attachments that are still there, but for what is looked into under another name anyway."""
    left = [ns for ns in promised if ns not in asked]
    inodes = {namespaces.present_inode(ns) for ns in asked} if left else set()
    return (ns for ns in left if namespaces.present_inode(ns) not in (0, *inodes))


def _is_current(known: Glimpse, namespaces: Namespaces, ns: NsRef, asked: frozenset[str], *, is_told: bool) -> bool:
    """Return whether what is remembered is still of the same namespace and answers the same questions.

    is_told: a name that leads elsewhere would have been forgotten.
    """
    if known.asked != asked or known.fact.error is not None:
        return False
    return (is_told and _is_told_of(ns, known)) or namespaces.present_inode(ns) == known.fact.inode


def _is_told_of(ns: NsRef, known: Glimpse) -> bool:
    """Return whether events tell of all that happens to it: to where it is, and to its name."""
    return known.fact.inode != 0 and known.fact.error is None and ns.startswith(NAMED)


def _look_into(namespaces: Namespaces, ns: NsRef, asked: frozenset[str], nears: NearEnds) -> Glimpse:
    try:
        inode = namespaces.inode(ns)
        if inode == namespaces.inode(HOST):
            return Glimpse(fact=SandboxFact(inode=inode, error=_is_the_hosts(ns)))
        seen = view(namespaces, ns)
        numbers = nears.numbers(namespaces, ns, seen.links)
        seen = _claimed(seen, nears, numbers)
        below = own_sublinks(seen.links)
        host_nsid = _nsid(namespaces, ns, HOST) if below else NSID_NOT_ASSIGNED
        own = [link.ifname for link in seen.links if link.is_ours]
        is_ours = ns.startswith(NAMED) and any(namespaces.is_marked(link) for link in seen.links)
        objects = (
            *_objects(ns, seen, is_ours=is_ours),
            *sandbox_sysctls(namespaces, ns, asked, own),
        )
    except SandboxMissing as error:
        is_made_on_demand = ns.startswith(NAMED)
        return Glimpse(fact=SandboxFact(inode=0, error=None if is_made_on_demand else error), asked=asked)
    except ReconcilerError as error:
        return Glimpse(fact=SandboxFact(inode=0, error=error))
    fact = SandboxFact(inode=inode, is_ours=is_ours)
    return Glimpse(
        fact=fact,
        asked=asked,
        seen=keyed(objects),
        peers=_peers(ns, numbers, seen.links),
        sublinks=below,
        host_nsid=host_nsid,
    )


def _objects(ns: NsRef, seen: NamespaceView, *, is_ours: bool) -> Iterator[Seen]:
    if is_ours:
        yield seen_namespace(ns)
    yield from objects_in_view(Where.SANDBOX, ns, seen)


def _look_for_ours(namespaces: Namespaces, nears: NearEnds, memory: Memory) -> Keyed:
    """Look for namespaces of ours that no attachment names, unless one reaches them by another way. Gives names without one."""
    names, known = named_namespaces(namespaces, memory), memory.sandboxes
    must_look = namespaces.has_left_over or not memory.is_told
    left_over = namespaces.left_over([ns.removeprefix(NAMED) for ns in names]) if must_look else ()
    unnamed = sorted(ns for ns in names - known.keys() if not ns.startswith(_OVERLAY))
    inodes = {glimpse.fact.inode for glimpse in known.values()} if unnamed else set()
    before, memory.others = memory.others, {}
    for ns in unnamed:
        named = ns.removeprefix(NAMED), namespaces.present_inode(ns)
        if named[1] and named[1] not in inodes:
            found = before.get(named)
            memory.others[named] = _look_for_mark(namespaces, ns, named[1], nears) if found is None else found
    refs = [NsRef(f"{NAMED}{name}") for name in left_over]
    return keyed(seen_namespace(ns) for ns in refs if ns not in known and not ns.startswith(_OVERLAY))


def named_namespaces(namespaces: Namespaces, memory: Memory) -> set[NsRef]:
    """Return all named namespaces; as long as events tell, only those are looked for that came or went."""
    stale, memory.stale_namespaces = memory.stale_namespaces, set()
    if memory.names is None or not memory.is_told:
        memory.names = {NsRef(f"{NAMED}{name}") for name in namespaces.names()}
    for ns in stale:
        (memory.names.add if namespaces.is_present(ns) else memory.names.discard)(ns)
    return memory.names


def _look_for_mark(namespaces: Namespaces, ns: NsRef, inode: int, nears: NearEnds) -> Glimpse:
    nothing = Glimpse(fact=SandboxFact(inode=inode))
    try:
        if not namespaces.is_made_by_us(ns):
            return nothing
        links = tuple(namespaces.socket(ns).dump(dump_links(), decode_link))
        peers = _peers(ns, nears.numbers(namespaces, ns, links), links)
    except ReconcilerError:
        return nothing  # gone while we looked, or not to be read: nothing that we could own up to
    finally:
        namespaces.forget(ns)
    seen = seen_namespace(ns)
    objects = objects_in_view(Where.UNNAMED, ns, NamespaceView(links=links, addresses=(), routes=()))
    return Glimpse(fact=SandboxFact(inode=inode, is_ours=True), seen=keyed([seen, *objects]), peers=peers)


def _claimed(seen: NamespaceView, nears: NearEnds, numbers: Sequence[tuple[NsRef, int]]) -> NamespaceView:
    """Return the view with the far ends of our pairs as ours: whoever is inside may have taken our mark off them."""
    links = (link._replace(group=LINK_GROUP) if nears.is_far_end(link, numbers) else link for link in seen.links)
    return replace(seen, links=tuple(links))


def _nsid(namespaces: Namespaces, near: NsRef, ns: NsRef) -> int:
    """Return how `near` numbers a namespace; -1 when no link there has to do with it."""
    reply = namespaces.socket(near).request(get_nsid(namespaces.fd(ns)))
    return next((decode_nsid(a.buffer, a.start, a.end) for a in reply.answers), NSID_NOT_ASSIGNED)


def _peers(ns: NsRef, numbers: Iterable[tuple[NsRef, int]], links: Sequence[Link]) -> Mapping[NsRef, Peers]:
    """Return the far ends of pairs, by how the near ends' namespaces would speak of them."""
    pairs = [link for link in links if link.kind == "veth"]
    return {
        near: {(nsid, link.ifindex): Peer(ns=ns, link=link) for link in pairs}
        for near, nsid in numbers
        if nsid != NSID_NOT_ASSIGNED
    }


def _is_the_hosts(ns: NsRef) -> PlanError:
    return PlanError(f"sandbox {ns} is the host's own namespace; use `network_mode: host`, or another sandbox")
