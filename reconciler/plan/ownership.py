"""Whose an object is that was found, so that a unit which could not be decided keeps what it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.incremental import Later, indexed
from reconciler.model.identifiers import (
    HOST,
    NsRef,
    bridge_link_name,
    endpoint_id,
    global_network_id,
    network_id,
    overlay_ns,
    own_parent_name,
    short_id,
    veth_link_name,
)
from reconciler.model.kinds.base import OnParent
from reconciler.model.objects import Key, Object, PluginEndpoint, PluginLink, Seen, Unit, VethPair
from reconciler.model.wanted import WantedState


class Owners(Struct, frozen=True, kw_only=True):
    """links: the unit of each of our links on the host, by name, from promises and the desired state.

    sandboxes: the attachment whose sandbox a namespace is, or the overlay network whose bridges are in there. peers: the unit of
    each veth's far end, of each macvlan or ipvlan link and each link of a plugin, by namespace and name.
    """

    links: Mapping[str, Unit]
    sandboxes: Mapping[NsRef, Unit]
    peers: Mapping[tuple[NsRef, str], Unit]

    def unit_of(self, found: Object) -> Unit | None:
        """Return the unit on whose behalf an observed object exists; None when nothing tells."""
        return found.owner(self)

    def of_host_link(self, ifname: str) -> Unit | None:
        return self.links.get(ifname)

    def of_namespace(self, ns: NsRef) -> Unit | None:
        return self.sandboxes.get(ns)

    def of_link(self, ns: NsRef, ifname: str) -> Unit | None:
        return self.links.get(ifname) if ns == HOST else self.peers.get((ns, ifname), self.sandboxes.get(ns))

    def members(self) -> Mapping[str, tuple[str, ...]]:
        """Return the attachments on each network, sorted."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for unit in self.links.values():
            if unit.network and unit.attachment:
                found[unit.network].add(unit.attachment)
        return {network: tuple(sorted(names)) for network, names in found.items()}


def link_units(wanted: WantedState, host: str, promised: Mapping[str, Unit]) -> Mapping[str, Unit]:
    """Return whose each link on the host is: what was promised, and the names that the declared ones have or would get."""
    units = dict(promised)
    for network in wanted.networks:
        given = network.bridge.link_name if network.bridge else None
        default = "docker0" if network.name == "bridge" else bridge_link_name(network_id(host, network.name))
        if network.sublink is not None:
            default = network.sublink.parent or own_parent_name(network.driver, network_id(host, network.name))
        units[given or default] = Unit(network=network.name)
    for attachment in wanted.attachments:
        for endpoint in attachment.endpoints:
            derived = veth_link_name(endpoint_id(host, endpoint.network, attachment.name))
            units[derived] = Unit(network=endpoint.network, attachment=attachment.name)
    return units


def overlay_units(wanted: WantedState, promised: Mapping[str, str], instance: str) -> dict[NsRef, Unit]:
    """Return the network of each namespace that an overlay network may have on this host. promised: ids by name.

    Without a store or a promise nobody knows more of a network than its name, which its id follows from.
    """
    declared = (n.name for n in wanted.networks if n.is_shared and not n.is_listed)
    ids = [*promised.items(), *((name, global_network_id(name)) for name in declared)]
    return {overlay_ns(id_, instance): Unit(network=name) for name, id_ in ids}


def declared_units(wanted: WantedState) -> frozenset[Unit]:
    """Return every network and attachment that the specs speak of."""
    networks = {Unit(network=network.name) for network in wanted.networks if not network.is_listed}
    return frozenset(networks | {Unit(attachment=attachment.name) for attachment in wanted.attachments})


_NOTHING: Final[Mapping[Key, Object]] = {}


def owners(
    links: Mapping[str, Unit],
    sandboxes: Mapping[NsRef, Unit],
    seen: Mapping[Key, Seen],
    wanted: Mapping[Key, Object] = _NOTHING,
) -> Owners:
    """Complete what is known of links by what was seen at their far ends. wanted: tells whose links inside sandboxes are.

    Nothing is looked up before somebody asks: most passes take nothing away.
    """
    peers = Later(lambda: _peers(links, seen, wanted))
    joined = Later(lambda: {ns: Unit(attachment=unit.attachment) for (ns, _), unit in peers.items()} | dict(sandboxes))
    return Owners(links=links, sandboxes=joined, peers=peers)


def _peers(
    links: Mapping[str, Unit], seen: Mapping[Key, Seen], wanted: Mapping[Key, Object]
) -> Mapping[tuple[NsRef, str], Unit]:
    found = [seen[key].object for key in indexed(seen, _links_apart).get(True, ())]
    pairs = (each for each in found if isinstance(each, VethPair) and each.ifname in links)
    peers: dict[tuple[NsRef, str], Unit] = {}
    for pair in pairs:
        place, unit = (pair.peer_ns, pair.peer_ifname), links[pair.ifname]
        peers[place] = min(unit, peers.get(place, unit))  # whatever the order in which they were found
    mine = (wanted[key] for key in indexed(wanted, _on_parent).get(True, ()))
    return peers | _sublinks(mine, found) | _of_plugins(found)


def _links_apart(key: Key, seen: Seen) -> Iterator[bool]:
    """Pick what tells whose a link in another namespace is."""
    if isinstance(seen.object, VethPair | OnParent | PluginEndpoint | PluginLink):
        yield True


def _on_parent(key: Key, found: Object) -> Iterator[bool]:
    if isinstance(found, OnParent):
        yield True


def _sublinks(wanted: Iterable[Object], seen: Iterable[Object]) -> dict[tuple[NsRef, str], Unit]:
    """Return whose links on a parent are, by name; one that was renamed by its parent, if no other is on that."""
    by_name: dict[tuple[NsRef, str], Unit] = {}
    by_parent: defaultdict[tuple[NsRef, str], list[Unit]] = defaultdict(list)
    for mine in _on_parents(wanted):
        by_name[mine.ns, mine.ifname] = mine.unit
        by_parent[mine.ns, mine.parent].append(mine.unit)
    found = {}
    for link in _on_parents(seen):
        units = by_parent.get((link.ns, link.parent), [])
        unit = by_name.get((link.ns, link.ifname)) or (units[0] if len(units) == 1 else None)
        if unit is not None:
            found[link.ns, link.ifname] = unit
    return found


def _on_parents(objects: Iterable[Object]) -> Iterator[OnParent]:
    return (each for each in objects if isinstance(each, OnParent))


def _of_plugins(found: Iterable[Object]) -> dict[tuple[NsRef, str], Unit]:
    """Return whose each link of a plugin in a sandbox is, by namespace and name."""
    told = [each for each in found if isinstance(each, PluginEndpoint)]
    units = {short_id(each.id): Unit(network=each.network, attachment=each.attachment) for each in told}
    links = (link for link in found if isinstance(link, PluginLink) and link.endpoint in units)
    return {(link.ns, link.ifname): units[link.endpoint] for link in links}
