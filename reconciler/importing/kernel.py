"""What a kernel has of networks, as specs say it: bridges to adopt, and parents of macvlan and ipvlan links. Pure.

Links in sandboxes stay with who made them: nothing takes over an end of a pair. Their addresses are kept from ours, and how to
declare each is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from reconciler.importing.names import renamed, spec_names
from reconciler.importing.text import in_braces
from reconciler.importing.values import Imported, ImportedNetwork, NotCarried
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kinds.sublinks import UNKNOWN, ipvlan_mode, macvlan_mode
from reconciler.kinds.view import NamespaceView
from reconciler.model.objects import IPAddress, IPInterface

_OPTION = "com.docker.network.bridge"


class SeenSandbox(Struct, frozen=True, kw_only=True):
    """A named namespace. nsid: the host's number for it, host_nsid: its number for the host's; -1 for none."""

    name: str
    view: NamespaceView
    nsid: int
    host_nsid: int


class SeenKernel(Struct, frozen=True, kw_only=True):
    """managers: the programs that run bridges, by bridge. translations: (chain, rule) of others that translate destinations."""

    host: NamespaceView
    sandboxes: tuple[SeenSandbox, ...] = ()
    managers: Mapping[str, str] = {}
    translations: tuple[tuple[str, str], ...] = ()


class _Member(Struct, frozen=True, kw_only=True):
    """A link of others in a sandbox, and where it leads out."""

    sandbox: str
    link: Link
    addresses: tuple[IPInterface, ...]
    gateways: tuple[IPAddress, ...]

    @property
    def place(self) -> str:
        return f"link {self.link.ifname} of namespace {self.sandbox}"


def read_kernel(seen: SeenKernel) -> Imported:
    """Return a network for each bridge of others, and for each link that macvlan or ipvlan links in sandboxes sit on."""
    bridges = [link for link in seen.host.bridges_of_others if not link.is_adopted and link.ifname not in seen.managers]
    groups = _by_parent(seen)
    names = spec_names([*(bridge.ifname for bridge in bridges), *(_title(*group) for group in groups)])
    found = [_bridge(seen, bridge, names[bridge.ifname]) for bridge in bridges]
    networks = [each for each in found if isinstance(each, ImportedNetwork)]
    networks += [_on_parent(group, members, names[_title(*group)]) for group, members in groups.items()]
    left = [each for each in found if isinstance(each, NotCarried)]
    return Imported(networks=tuple(networks), not_carried=(*left, *_not_carried(seen)))


def _bridge(seen: SeenKernel, bridge: Link, name: str) -> ImportedNetwork | NotCarried:
    where, ports = f"bridge {bridge.ifname}", [link for link in seen.host.foreign if link.master == bridge.ifindex]
    own = _addresses(seen.host, bridge)
    members = [member for port in ports for member in _far_ends(seen, port)]
    not_carried: list[NotCarried] = [*renamed(where, bridge.ifname, name)]
    pools = list(_pools(own or _of_members(members), own, members, where, not_carried))
    if not pools:
        why = "nobody has an address on it: declare it by hand with a subnet, `adopt: true` and its name"
        return NotCarried(where=where, what="the bridge", why=why)
    options = {f"{_OPTION}.name": bridge.ifname}
    if not any(interface.version == 4 for interface in own):
        options[f"{_OPTION}.inhibit_ipv4"] = "true"
    not_carried += _unseen(where, ports, members)
    not_carried += [_told_member(member, name) for member in members]
    body = {"adopt": True, "driver_opts": options, **_families(pools), "ipam": {"config": pools}}
    with_ports = f", with ports {', '.join(sorted(port.ifname for port in ports))}" if ports else ""
    return ImportedNetwork(name=name, body=body, source=where + with_ports, not_carried=tuple(not_carried))


def _unseen(where: str, ports: Sequence[Link], members: Sequence[_Member]) -> Iterator[NotCarried]:
    known = {member.link.peer for member in members}
    blind = sorted(port.ifname for port in ports if port.ifindex not in known)
    if blind:
        why = "which addresses they have there cannot be seen: say with `ip_range` what is free for members"
        yield NotCarried(where=where, what=f"who is behind {', '.join(blind)}", why=why)


def _families(pools: Sequence[Mapping[str, object]]) -> dict[str, object]:
    versions = {6 if ":" in str(pool["subnet"]) else 4 for pool in pools}
    only_6 = {"enable_ipv4": False} if 4 not in versions else {}
    return {**only_6, **({"enable_ipv6": True} if 6 in versions else {})}


def _pools(
    subnets: Iterable[IPInterface],
    own: Sequence[IPInterface],
    members: Sequence[_Member],
    where: str,
    not_carried: list[NotCarried],
) -> Iterator[dict[str, object]]:
    """Yield the first subnet of each family, with what others have in it kept from members. own: of the bridge itself."""
    versions: set[int] = set()
    for interface in subnets:
        if interface.version in versions:
            if interface in own:
                why = "a network has one subnet of each family: the address stays, as nothing of it is changed"
                not_carried.append(NotCarried(where=where, what=f"address {interface}", why=why))
            continue
        versions.add(interface.version)
        network = interface.network
        theirs = {
            f"{member.sandbox}-{member.link.ifname}": str(each.ip)
            for member in members
            for each in member.addresses
            if each.ip in network
        }
        gateway = next((each.ip for each in own if each.ip in network), None)
        gateway = gateway or next((each for m in members for each in m.gateways if each in network), None)
        kept = {name: address for name, address in theirs.items() if address != str(gateway)}
        yield {
            "subnet": str(network),
            **({"gateway": str(gateway)} if gateway is not None else {}),
            **({"aux_addresses": kept} if kept else {}),
        }


def _of_members(members: Iterable[_Member]) -> list[IPInterface]:
    return sorted((each for member in members for each in member.addresses), key=lambda each: (each.version, each))


def _told_member(member: _Member, network: str) -> NotCarried:
    """Return how what is in a sandbox would be declared, to be made anew from here."""
    joined: dict[str, object] = {f"ipv{each.version}_address": str(each.ip) for each in member.addresses}
    joined["interface_name"] = member.link.ifname
    entry = in_braces({member.sandbox: {"networks": {network: joined}}}).strip()
    kept = f"{member.sandbox}-{member.link.ifname}"
    why = (
        f"it stays as it is, and its addresses are nobody else's; to have it from here, delete it, take {kept} out of "
        f"aux_addresses, and declare {entry}"
    )
    return NotCarried(where=f"namespace {member.sandbox}", what=f"link {member.link.ifname}", why=" ".join(why.split()))


def _far_ends(seen: SeenKernel, port: Link) -> Iterator[_Member]:
    """Yield the other end of a pair, where that is in a namespace with a name."""
    if port.kind != "veth" or port.peer_nsid == NSID_NOT_ASSIGNED:
        return
    for sandbox in seen.sandboxes:
        link = sandbox.view.by_index.get(port.peer)
        if sandbox.nsid == port.peer_nsid and link is not None:
            yield _member(sandbox, link)


def _member(sandbox: SeenSandbox, link: Link) -> _Member:
    ways = (route for route in sandbox.view.routes if route.ifindex == link.ifindex and not route.prefix_length)
    gateways = tuple(gateway for route in ways if (gateway := route.gateway_address()) is not None)
    return _Member(sandbox=sandbox.name, link=link, addresses=tuple(_addresses(sandbox.view, link)), gateways=gateways)


def _addresses(view: NamespaceView, link: Link) -> list[IPInterface]:
    entries = (entry for entry in view.addresses if entry.ifindex == link.ifindex and not entry.is_kernel_made)
    return [each for entry in entries if not (each := entry.interface()).ip.is_link_local]


_Group = tuple[str, str, str]
"""Driver, the host's link below, and the mode; of ipvlan with the flag behind a colon."""


def _title(driver: str, parent: str, mode: str) -> str:
    return f"{driver}-{parent}" if mode in ("bridge", "l2:bridge") else f"{driver}-{parent}-{mode.replace(':', '-')}"


def _by_parent(seen: SeenKernel) -> Mapping[_Group, list[_Member]]:
    groups: defaultdict[_Group, list[_Member]] = defaultdict(list)
    for sandbox in seen.sandboxes:
        for link in sandbox.view.foreign:
            parent = seen.host.by_index.get(link.peer) if link.peer_nsid == sandbox.host_nsid else None
            if link.kind in ("macvlan", "ipvlan") and parent is not None and UNKNOWN not in (mode := _mode(link)):
                member = _member(sandbox, link)
                if member.addresses:
                    groups[link.kind, parent.ifname, mode].append(member)
    return dict(sorted(groups.items()))


def _mode(link: Link) -> str:
    return macvlan_mode(link) if link.kind == "macvlan" else ":".join(ipvlan_mode(link))


def _on_parent(group: _Group, members: Sequence[_Member], name: str) -> ImportedNetwork:
    driver, parent, mode = group
    where = f"{driver} links on {parent}"
    not_carried: list[NotCarried] = []
    pools = list(_pools(_of_members(members), (), members, where, not_carried))
    options = {"parent": parent, f"{driver}_mode": mode.partition(":")[0]}
    if driver == "ipvlan":
        options["ipvlan_flag"] = mode.partition(":")[2]
    not_carried += [_told_member(member, name) for member in members]
    body = {"driver": driver, "driver_opts": options, **_families(pools), "ipam": {"config": pools}}
    return ImportedNetwork(name=name, body=body, source=where, not_carried=tuple(not_carried))


def _not_carried(seen: SeenKernel) -> Iterator[NotCarried]:
    for bridge in seen.host.bridges_of_others:
        manager, where = seen.managers.get(bridge.ifname), f"bridge {bridge.ifname}"
        if bridge.is_adopted:
            yield NotCarried(
                where=where, what="the bridge", why="a network of this host's specs has adopted it already"
            )
        elif manager is not None:
            why = f"it belongs to {manager}: import from there, or insist by hand with `adopt: managed`"
            yield NotCarried(where=where, what="the bridge", why=why)
    for link in seen.host.foreign:
        if link.kind == "vxlan":
            why = "overlay networks make their own, in a cluster (guide/overlay.md); this one stays as it is"
            yield NotCarried(where=f"link {link.ifname}", what="the VXLAN device", why=why)
    yield from _other_links(seen)
    routes = [route for route in seen.host.routes if route.gateway_address() is not None and not route.is_ours]
    if routes:
        why = "nothing of them is changed: what leads through a bridge does so once it is adopted, too"
        yield NotCarried(where="the host", what=f"{len(routes)} routes by way of a gateway", why=why)
    for chain, rule in seen.translations:
        why = "it stays as it is; what attachments publish stands in their `ports` here"
        yield NotCarried(where=chain, what=rule, why=why)


def _other_links(seen: SeenKernel) -> Iterator[NotCarried]:
    """Yield what in sandboxes hangs on nothing that is imported."""
    for sandbox in seen.sandboxes:
        for link in sandbox.view.foreign:
            where = f"namespace {sandbox.name}"
            if link.kind in ("macvlan", "ipvlan") and UNKNOWN in _mode(link):
                yield NotCarried(
                    where=where, what=f"link {link.ifname}", why="specs have no such mode: it stays as it is"
                )
            elif link.kind == "veth" and _leads_to_no_bridge(seen, sandbox, link):
                why = "its other end is no port of a bridge on the host: it stays as it is"
                yield NotCarried(where=where, what=f"link {link.ifname}", why=why)


def _leads_to_no_bridge(seen: SeenKernel, sandbox: SeenSandbox, link: Link) -> bool:
    near = seen.host.by_index.get(link.peer) if link.peer_nsid == sandbox.host_nsid else None
    return near is None or not near.master
