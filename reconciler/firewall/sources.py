"""Who may send as whom: what the rules hold the sources of packets against, before connection tracking sees them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from msgspec.structs import replace

from reconciler.firewall.ruleset import TABLE, rules
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.identifiers import link_local, overlay_bridge_mac
from reconciler.model.objects import FirewallElement, FirewallRules, IPAddress, IPNetwork


def network_sources(network: DesiredNetwork, host: HostFacts) -> Iterator[FirewallElement]:
    """Yield what tells the addresses of a bridge network, and of its bridge, from others'."""
    inet = partial(FirewallElement, unit=network.unit, family="inet", table=TABLE)
    for subnet in network.subnets:
        version, destinations = subnet.subnet.version, (destination for destination, _ in host.routes)
        for part in _without(subnet.subnet, destinations):
            yield inet(set_name=f"subnets{version}", element=(str(part),))
    if not network.wanted.is_source_validated:
        yield inet(set_name="any_source", element=(network.link_name,))
    if network.wanted.is_ipv6_enabled:
        yield _link_local(network, network.bridge_mac)


def overlay_sources(network: DesiredNetwork, host: HostFacts) -> Iterator[FirewallRules | FirewallElement]:
    """Yield what an overlay network's own namespace has of the firewall: nothing else in there is ours to judge."""
    yield replace(rules("bridge"), unit=network.unit, ns=network.ns)
    if network.wanted.is_ipv6_enabled:
        is_one_segment = len({subnet.subnet.version for subnet in network.subnets}) > 1
        for segment in range(1 if is_one_segment else len(network.subnets)):
            yield _link_local(network, overlay_bridge_mac(host.name, network.id, segment))


def endpoint_sources(network: DesiredNetwork, endpoint: DesiredEndpoint) -> Iterator[FirewallElement]:
    """Yield what an endpoint may send: its own MAC and addresses, or anything where the network's sources are not checked."""
    port, mac = endpoint.link_name, endpoint.mac
    bridge = partial(FirewallElement, unit=endpoint.unit, ns=network.ns, family="bridge", table=TABLE)
    if not network.wanted.is_source_validated:
        yield bridge(set_name="any_source", element=(port,))
        return
    yield bridge(set_name="macs", element=(port, mac))
    for address in _addresses(endpoint):
        yield bridge(set_name=f"sources{address.version}", element=(port, mac, str(address)))
        if address.version == 6 and address.is_link_local:
            yield bridge(set_name="link_locals", element=(str(address),))


def _addresses(endpoint: DesiredEndpoint) -> Iterator[IPAddress]:
    """Yield all that an endpoint's link has. One without an IPv6 address has IPv6 switched off."""
    yield from endpoint.wanted.link_local_ips
    if endpoint.ipv4 is not None:
        yield endpoint.ipv4.ip
    if endpoint.ipv6 is not None:
        yield endpoint.ipv6.ip
        yield link_local(endpoint.mac)


def _link_local(network: DesiredNetwork, mac: str) -> FirewallElement:
    """A link-local address that is taken: no endpoint may call itself so."""
    element = (str(link_local(mac)),)
    return FirewallElement(
        unit=network.unit, ns=network.ns, family="bridge", table=TABLE, set_name="link_locals", element=element
    )


def _without(subnet: IPNetwork, destinations: Iterable[IPNetwork]) -> Iterable[IPNetwork]:
    """Leave out of a subnet what the host has a route to of its own: who is there comes by that."""
    parts = [subnet]
    kind, size, first, last = type(subnet), subnet.prefixlen, int(subnet[0]), int(subnet[-1])
    for hole in destinations:  # of which a router has thousands: `subnet_of` takes ten times as long
        if hole.prefixlen > size and type(hole) is kind and first <= int(hole.network_address) <= last:
            parts = [rest for part in parts for rest in _cut(part, hole)]
    return parts


def _cut(part: IPNetwork, hole: IPNetwork) -> Iterable[IPNetwork]:
    if not part.overlaps(hole):
        return (part,)
    return part.address_exclude(hole) if hole.subnet_of(part) else ()  # type: ignore[arg-type]
