"""From dumped links to the objects that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from reconciler.kernel.links import FORWARDING_SYSCTLS, NSID_NOT_ASSIGNED, SYSCTLS, Link, ipv6_of, sysctl_values
from reconciler.kernel.sublinks import vlan_id
from reconciler.model.identifiers import PLUGIN_ALIAS, UNKNOWN_NS, NsRef, is_link_name, is_own_parent_name
from reconciler.model.objects import Bridge, DeadEnd, LinkUp, PluginLink, Seen, Sysctl, VethPair, Vlan


class Peer(Struct, frozen=True, kw_only=True):
    """The far end of a veth pair."""

    ns: NsRef
    link: Link


_NO_LINK = Link(0, "", "", False, "", 0, 0, 0, 0, -1, False, "", b"")
NO_PEER = Peer(ns=UNKNOWN_NS, link=_NO_LINK)

_ENDS_DIFFER = 0
"""As the MTU of a pair: never what is wanted, and the change sets both ends."""

Peers = Mapping[tuple[int, int], Peer]
"""By the number that the near side's namespace has for the peer's, and the link's index there."""


def near_links(ns: NsRef, links: Iterable[Link], names: Mapping[int, str], peers: Peers) -> Iterator[Seen]:
    """Yield our bridges, parents and pairs, and every other link as a foreign bridge: so it gets in the way of one of ours.

    With foreign ones come their settings that forwarding has a say in.
    names: of all links there, by index.
    """
    for link in links:
        if link.is_ours and not link.is_a_plugins and link.kind == "veth":
            yield Seen(_pair(ns, link, names, peers), is_ours=True)
            continue
        is_ours = link.is_ours and link.kind == "bridge"
        if is_ours and is_own_parent_name(link.ifname):
            yield Seen(_dead_end(ns, link), is_ours=True)
            continue
        if link.is_ours and link.kind == "vlan":
            yield Seen(_vlan(ns, link, names), is_ours=True)
            continue
        yield Seen(_bridge(ns, link), is_ours=is_ours)
        yield from _sysctls(ns, sysctl_values(link, SYSCTLS if is_ours else FORWARDING_SYSCTLS))


def sandbox_links(ns: NsRef, links: Sequence[Link]) -> Iterator[Seen]:
    """Yield the links that are up, those that we moved there, and the settings of those that we joined to a network."""
    yield from plugin_links(ns, links)
    for link in links:
        if link.is_up:
            yield Seen(LinkUp(ns=ns, ifname=link.ifname), is_ours=link.is_ours)
        if link.is_ours and link.kind:
            yield from link_sysctls(ns, link)


def plugin_links(ns: NsRef, links: Iterable[Link]) -> Iterator[Seen]:
    """Yield the links of plugins that were moved there; where they are from stands in their alias, unless somebody changed it."""
    for link in links:
        if link.is_a_plugins:
            endpoint, _, src_name = link.alias.removeprefix(PLUGIN_ALIAS).partition(":")
            is_intact = link.alias.startswith(PLUGIN_ALIAS) and is_link_name(src_name)
            yield Seen(
                PluginLink(
                    ns=ns,
                    ifname=link.ifname,
                    mac=link.mac,
                    src_name=src_name if is_intact else "",
                    endpoint=endpoint if is_intact else "",
                ),
                is_ours=True,
            )


def link_sysctls(ns: NsRef, link: Link) -> Iterator[Seen]:
    """Yield the settings that came with the link's dump."""
    return _sysctls(ns, sysctl_values(link))


def _sysctls(ns: NsRef, values: Mapping[str, str]) -> Iterator[Seen]:
    for name, value in values.items():
        yield Seen(Sysctl(ns=ns, name=name, value=value), is_ours=False)


def _bridge(ns: NsRef, link: Link) -> Bridge:
    ipv6 = ipv6_of(link)
    return Bridge(
        ns=ns,
        ifname=link.ifname,
        mac=link.mac,
        mtu=link.mtu,
        has_ipv6=ipv6.is_on,
        has_link_local=ipv6.has_link_local,
        heeds_routers=ipv6.heeds_routers,
        is_up=link.is_up,
        mark=link.alias,
    )


def _dead_end(ns: NsRef, link: Link) -> DeadEnd:
    return DeadEnd(
        ns=ns,
        ifname=link.ifname,
        mtu=link.mtu,
        # Down, it says nothing of what it will have.
        has_carrier=link.has_carrier or not link.is_up,
        has_ipv6=ipv6_of(link).is_on,
        is_up=link.is_up,
    )


def _vlan(ns: NsRef, link: Link, names: Mapping[int, str]) -> Vlan:
    parent = names.get(link.peer, "") if link.peer_nsid == NSID_NOT_ASSIGNED else ""
    return Vlan(
        ns=ns,
        ifname=link.ifname,
        parent=parent,
        vlan_id=vlan_id(link),
        has_ipv6=ipv6_of(link).is_on,
        is_up=link.is_up,
    )


def _pair(ns: NsRef, link: Link, names: Mapping[int, str], peers: Peers) -> VethPair:
    peer = peers.get((link.peer_nsid, link.peer), NO_PEER)
    return VethPair(
        ns=ns,
        ifname=link.ifname,
        master=names.get(link.master, ""),
        mtu=link.mtu if peer is NO_PEER or peer.link.mtu == link.mtu else _ENDS_DIFFER,
        peer_ns=peer.ns,
        peer_ifname=peer.link.ifname,
        peer_mac=peer.link.mac,
        is_hairpin=link.is_hairpin,
        is_up=link.is_up,
    )
