"""From the desired state to the set of objects this host shall have. Pure; the one place that knows all compilers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from reconciler.dns.tables import name_tables
from reconciler.drivers.bridge import loopback_setting
from reconciler.drivers.protocol import RemoteCompiler
from reconciler.drivers.registry import REMOTE, driver_of
from reconciler.facts import Facts
from reconciler.firewall.elements import endpoint_elements, firewall_rules, link_elements, network_elements
from reconciler.firewall.sources import endpoint_sources, network_sources, overlay_sources
from reconciler.firewall.tunnels import tunnel_elements
from reconciler.host_settings import overridden, still_heeding, switch_of
from reconciler.ipam.promises import (
    SysctlPromise,
    endpoint_record,
    network_record,
    sandbox_record,
    sysctl_record,
)
from reconciler.model.containers import Container
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    HostFacts,
    RemoteEndpoint,
)
from reconciler.model.identifiers import FORWARDING, HOST, NsRef
from reconciler.model.objects import (
    CLUSTER_UNIT,
    Address,
    Bridge,
    IPAddress,
    Key,
    KvRecord,
    Neighbour,
    Object,
    Route,
    Seen,
    Sysctl,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.wanted import SandboxKind
from reconciler.ports.links import DEFAULT_NETWORK
from reconciler.ports.promises import ports_record
from reconciler.sandbox.compile import compile_sandbox

_Part = tuple[tuple[Key, Object], ...]


def compile_objects(desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> dict[Key, Object]:
    """Give every object that shall exist, by key, but for what `remembered_settings` adds.

    sandboxes: whether a named namespace is ours to make depends on who made the one that is there,
    and containers have files of their own.
    """
    return Compiler()(desired, sandboxes)


class Compiler:
    """`compile_objects` for one who asks again: a network, sandbox or remote endpoint that did not change is not compiled again."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], tuple[tuple[object, ...], _Part]] = {}
        self._remotes: dict[str, _Remotes] = {}
        self._host: HostFacts | None = None

    def __call__(self, desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> dict[Key, Object]:
        endpoints = _endpoints_by_network(desired.attachments)
        held = _endpoints_by_network(desired.held)
        host_gateway = _host_gateway((*desired.networks, *desired.held_networks))
        default_bridge = next((network for network in desired.networks if network.name == DEFAULT_NETWORK), None)
        known, self._parts = self._parts, {}
        remotes, self._remotes = self._remotes, {}
        objects: dict[Key, Object] = {}
        host = self._same_host(desired.host)
        for network in desired.networks:
            home = replace(network, remote_endpoints=())
            staying = tuple(endpoint for endpoint in held[network.name] if _is_in_pools(endpoint, network))
            inputs = (home, tuple(endpoints[network.name]), staying, host)
            objects.update(self._part(known, "network", network.name, _network_objects, inputs))
            if network.remote_endpoints and network.wanted.driver in REMOTE and not network.wanted.is_listed:
                local = (home, (*endpoints[network.name], *staying), host)
                self._remotes[network.name] = _remotes(remotes.get(network.name), local, network.remote_endpoints)
                objects.update(self._remotes[network.name].objects())
        for attachment in desired.attachments:
            gateway = host_gateway or _own_gateway(attachment)
            is_ours = _is_made_by_us(attachment, sandboxes)
            links_on = default_bridge if attachment.links else None
            fact = sandboxes.get(attachment.ns)
            container = None if fact is None else fact.container
            given = (attachment, host, gateway, is_ours, links_on, container)
            objects.update(self._part(known, "attachment", attachment.name, _attachment_objects, given))
        between_hosts = tuple(tunnel_elements(desired.tunnels))
        is_held = any(unit == CLUSTER_UNIT for unit, _ in desired.failures)  # what they are is not known, they stay
        if (
            between_hosts
            or is_held
            or any(network.is_bridged for network in (*desired.networks, *desired.held_networks))
        ):
            _add(objects, (*firewall_rules(), *between_hosts))
        _add(objects, _forwarding(desired.networks, has_ipv6=desired.host.has_ipv6))
        _add(objects, name_tables(desired, sandboxes))
        return objects

    def _same_host(self, host: HostFacts) -> HostFacts:
        """Give the very value of before where it is equal: a host may have thousands of routes, and each part compares them."""
        if self._host is None or self._host != host:
            self._host = host
        return self._host

    def _part(
        self,
        known: Mapping[tuple[str, str], tuple[tuple[object, ...], _Part]],
        kind: str,
        name: str,
        make: Callable[..., Iterable[Object]],
        inputs: tuple[object, ...],
    ) -> _Part:
        before = known.get((kind, name))
        if before is None or before[0] != inputs:
            before = (inputs, tuple((found.key, found) for found in make(*inputs)))
        self._parts[kind, name] = before
        return before[1]


class _Remotes(Struct, frozen=True, kw_only=True):
    """What leads to the endpoints of one network on other hosts, by their ids. inputs: what all of it depends on."""

    inputs: tuple[DesiredNetwork, tuple[DesiredEndpoint, ...], HostFacts]
    compile_remote: RemoteCompiler
    parts: Mapping[str, tuple[RemoteEndpoint, _Part]]

    def objects(self) -> Iterator[tuple[Key, Object]]:
        return chain.from_iterable(part for _, part in self.parts.values())


def _remotes(
    before: _Remotes | None,
    inputs: tuple[DesiredNetwork, tuple[DesiredEndpoint, ...], HostFacts],
    endpoints: Sequence[RemoteEndpoint],
) -> _Remotes:
    """Compile those endpoints that are not as they were."""
    if before is None or before.inputs != inputs:
        compiler = REMOTE[inputs[0].wanted.driver].remote_compiler(*inputs)
        before = _Remotes(inputs=inputs, compile_remote=compiler, parts={})
    is_bearable = _bearable(inputs[2])
    parts = {}
    for endpoint in endpoints:
        known = before.parts.get(endpoint.id)
        if known is None or known[0] != endpoint:
            known = (
                endpoint,
                tuple((found.key, found) for found in before.compile_remote(endpoint) if is_bearable(found)),
            )
        parts[endpoint.id] = known
    return replace(before, parts=parts)


def _add(objects: dict[Key, Object], more: Iterable[Object]) -> None:
    for found in more:
        objects[found.key] = found


def _endpoints_by_network(attachments: Sequence[DesiredAttachment]) -> Mapping[str, list[DesiredEndpoint]]:
    by_network: defaultdict[str, list[DesiredEndpoint]] = defaultdict(list)
    for attachment in attachments:
        for endpoint in attachment.endpoints:
            by_network[endpoint.network].append(endpoint)
    return by_network


def _is_in_pools(endpoint: DesiredEndpoint, network: DesiredNetwork) -> bool:
    pools = {subnet.subnet for subnet in network.subnets}
    return all(interface.network in pools for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None)


def _network_objects(
    network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], held: Sequence[DesiredEndpoint], host: HostFacts
) -> Iterator[Object]:
    """Give what a network consists of; held: members that count for what they share, but have what they have."""
    if network.wanted.is_listed:
        return
    yield network_record(network)
    staying = {endpoint.attachment for endpoint in held}
    compiled = driver_of(network.wanted.driver).compile_network(network, (*endpoints, *held), host)
    is_bearable = _bearable(host)
    yield from (found for found in compiled if is_bearable(found) and found.unit.attachment not in staying)
    if network.is_bridged:
        yield from network_elements(network)
        yield from network_sources(network, host)
    is_overlay = network.wanted.traits.is_vxlan
    if is_overlay and (endpoints or held):
        yield from overlay_sources(network, host)
    for endpoint in endpoints:
        yield endpoint_record(endpoint)
        if network.is_bridged:
            yield from endpoint_elements(network, endpoint)
        if network.is_bridged or is_overlay:
            yield from endpoint_sources(network, endpoint)
        if network.wanted.sublink is not None:
            yield sandbox_record(endpoint.attachment, endpoint.ns)
    if network.is_bridged or is_overlay:
        yield from _held_sources(network, held)


def _held_sources(network: DesiredNetwork, held: Sequence[DesiredEndpoint]) -> Iterator[Object]:
    """Let members that are left alone go on sending: rules that are newer than they are would stop them otherwise."""
    for endpoint in held:
        yield from (replace(element, unit=network.unit) for element in endpoint_sources(network, endpoint))


def _bearable(host: HostFacts) -> Callable[[Object], bool]:
    """Give whether a kernel can have an object: one without IPv6 takes no address, route or neighbour of that family."""

    def is_bearable(found: Object) -> bool:
        match found:
            case (
                Address(interface=IPv6Interface()) | Route(destination=IPv6Network()) | Neighbour(address=IPv6Address())
            ):
                return False
        return True

    return (lambda _: True) if host.has_ipv6 else is_bearable


def _attachment_objects(
    attachment: DesiredAttachment,
    host: HostFacts,
    gateway: IPAddress | None,
    is_ours: bool,
    links_on: DesiredNetwork | None,
    container: Container | None,
) -> Iterator[Object]:
    yield from compile_sandbox(attachment, host, gateway, is_made_by_us=is_ours, container=container)
    yield from ports_record(attachment)
    if links_on is not None:
        endpoint = next(endpoint for endpoint in attachment.endpoints if endpoint.network == DEFAULT_NETWORK)
        yield from link_elements(links_on, endpoint, attachment.links)


def _is_made_by_us(attachment: DesiredAttachment, sandboxes: Mapping[NsRef, SandboxFact]) -> bool:
    """A named namespace that is not there is ours to make; one that somebody else made is only joined."""
    if attachment.wanted.sandbox.kind is not SandboxKind.NETNS:
        return False
    fact = sandboxes.get(attachment.ns)
    return fact is None or fact.inode == 0 or fact.is_ours


def _host_gateway(networks: Sequence[DesiredNetwork]) -> IPAddress | None:
    """What `host-gateway` means: the default bridge's address (the engine's `host-gateway-ip`)."""
    for network in networks:
        if network.name == "bridge" and network.subnets:
            return network.subnets[0].gateway
    return None


def _own_gateway(attachment: DesiredAttachment) -> IPAddress | None:
    return next(
        (e.gateway_ipv4 or e.gateway_ipv6 for e in attachment.endpoints if e.is_default_ipv4 or e.is_default_ipv6), None
    )


def _forwarding(networks: Sequence[DesiredNetwork], *, has_ipv6: bool) -> Iterator[Sysctl]:
    """Give the host's forwarding switches, each for the address families in which some network leads outside."""
    routed = [network for network in networks if network.is_bridged and not network.wanted.is_internal]
    versions = {subnet.subnet.version for network in routed for subnet in network.subnets}
    if 4 in versions:
        yield Sysctl(ns=HOST, name=FORWARDING[4], value="1")
    if 6 in versions and has_ipv6:
        yield Sysctl(ns=HOST, name=FORWARDING[6], value="1")


def remembered_settings(objects: Mapping[Key, Object], facts: Facts, desired: DesiredState) -> Iterator[Object]:
    """Promise what a setting was before us, and want that value again once nobody needs ours.

    Settings of a single link go with the link, those in a namespace of ours go with it: neither is remembered. But a bridge that
    stays when its last port is withdrawn closes again to the host's loopback.
    """
    yield from _closed_loopbacks(objects, facts.seen)
    heeding = tuple(_still_heeding(objects, facts))
    yield from heeding
    settings = [each for each in objects.values() if isinstance(each, Sysctl) and _outlives_us(each, facts.sandboxes)]
    for sysctl in (*settings, *heeding):
        kept = facts.records.promises.sysctls.get((sysctl.ns, sysctl.name))
        seen = facts.seen.get(sysctl.key)
        if kept is not None:
            yield sysctl_record(kept, sysctl.unit)
        elif seen is not None and isinstance(seen.object, Sysctl) and seen.object.value != sysctl.value:
            yield from map(_promise, (seen.object, *overridden(sysctl, facts.seen)))
    for (ns, name), promise in facts.records.promises.sysctls.items():
        yield from _brought_back(Sysctl(ns=ns, name=name, value=promise.before), objects, facts, desired)


def _promise(present: Sysctl) -> KvRecord:
    return sysctl_record(SysctlPromise(ns=present.ns, name=present.name, before=present.value), present.unit)


def _still_heeding(objects: Mapping[Key, Object], facts: Facts) -> Iterator[Sysctl]:
    switch = Sysctl(ns=HOST, name=FORWARDING[6], value="1")
    if switch.key in objects:
        is_ours = (HOST, switch.name) in facts.records.promises.sysctls
        yield from still_heeding(facts.host.uplinks, facts.seen, is_switch_ours=is_ours)


def _brought_back(
    before: Sysctl, objects: Mapping[Key, Object], facts: Facts, desired: DesiredState
) -> Iterator[Object]:
    """Give a setting as it was, unless ours is wanted. One that a switch overrides waits for it, remembered until it is back."""
    if before.key in objects:
        return
    if _may_be_needed(before.ns, desired):
        yield _promise(before)
        return
    name = switch_of(before.name) if before.ns == HOST else None
    switch = None if name is None else Sysctl(ns=HOST, name=name, value="1")
    present = facts.seen.get(before.key)
    if switch is not None and switch.key in objects:
        yield _promise(before)
    elif present is not None:
        yield before
        is_on = switch is not None and (HOST, switch.name) in facts.records.promises.sysctls
        if switch is not None and (is_on or present.object != before):
            yield _promise(before)


def _may_be_needed(ns: NsRef, desired: DesiredState) -> bool:
    """Say whether what is held may need a setting: networks those of the host, an attachment those of its sandbox."""
    if ns == HOST:
        return bool(desired.held_networks)
    is_unread = desired.has_faults and all(attachment.ns != ns for attachment in desired.attachments)
    return is_unread or any(attachment.ns == ns for attachment in desired.held)


def _closed_loopbacks(objects: Mapping[Key, Object], seen: Mapping[Key, Seen]) -> Iterator[Sysctl]:
    for bridge in [each for each in objects.values() if isinstance(each, Bridge) and each.ns == HOST]:
        closed = Sysctl(unit=bridge.unit, ns=HOST, name=loopback_setting(bridge.ifname), value="0")
        present = seen.get(closed.key)
        if closed.key not in objects and present is not None and present.object != closed:
            yield closed


def _outlives_us(sysctl: Sysctl, sandboxes: Mapping[NsRef, SandboxFact]) -> bool:
    parts = sysctl.name.split("/")
    is_of_one_link = parts[2:3] in (["conf"], ["neigh"]) and parts[3:4] not in (["all"], ["default"])
    if sysctl.ns == HOST:
        return not is_of_one_link
    fact = sandboxes.get(sysctl.ns)
    return not is_of_one_link and fact is not None and fact.inode != 0 and not fact.is_ours
