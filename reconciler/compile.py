"""From the desired state to the set of objects this host shall have. Pure; the one place that knows all compilers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Interface, IPv6Network
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from reconciler.dns.tables import NameCompiler
from reconciler.drivers.bridge import loopback_setting
from reconciler.drivers.registry import REMOTE, driver_of
from reconciler.facts import Facts
from reconciler.firewall.elements import endpoint_elements, firewall_rules, link_elements, network_elements
from reconciler.firewall.sources import endpoint_sources, network_sources, overlay_sources
from reconciler.firewall.transit import settings_before, transit_elements
from reconciler.firewall.tunnels import tunnel_elements
from reconciler.host_settings import forced_links, forwarding_before, overridden, still_heeding, switch_of
from reconciler.incremental import By, Each, Kept, Made, Table, Union, changed_keys, indexed
from reconciler.ipam.adoption_record import adoption_record
from reconciler.ipam.promises import (
    SysctlPromise,
    endpoint_record,
    network_record,
    sandbox_record,
    sysctl_record,
)
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    HostFacts,
    RemoteEndpoint,
    Tunnels,
)
from reconciler.model.identifiers import FORWARDING, HOST, NsRef
from reconciler.model.objects import (
    CLUSTER_UNIT,
    Address,
    AdoptedBridge,
    Bridge,
    IPAddress,
    Key,
    Neighbour,
    Object,
    Route,
    Seen,
    Sysctl,
    Unit,
    objects_differ,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.wanted import SandboxKind
from reconciler.ports.links import DEFAULT_NETWORK
from reconciler.ports.promises import ports_record
from reconciler.sandbox.compile import compile_sandbox

E = TypeVar("E")
X = TypeVar("X", bound=Hashable)

Part = Mapping[Key, Object]
PartName = tuple[int, str, str]
"""Of a network ("" behind it), its endpoints here or elsewhere, all attachments, what there is one of; the last has its say."""


class Compiled(NamedTuple):
    """names: what the name server shall have in force, of which some may have to stay as it is."""

    parts: Mapping[PartName, Part]
    names: Part

    def objects(self) -> dict[Key, Object]:
        parts = (self.parts[name] for name in sorted(self.parts))
        return {key: found for part in (*parts, self.names) for key, found in part.items()}


def compile_objects(desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> dict[Key, Object]:
    """Return every object that shall exist, by key, but for what `remembered_settings` adds.

    sandboxes: whether a named namespace is ours to make depends on who made the one that is there,
    and containers have files of their own.
    """
    return Compiler()(desired, sandboxes).objects()


class Compiler:
    """Compiles part by part: a network, sandbox or remote endpoint that did not change is not compiled again."""

    def __init__(self) -> None:
        self._last: tuple[DesiredState, Mapping[NsRef, SandboxFact], Compiled] | None = None
        self._host: HostFacts | None = None
        self._sandboxes: Mapping[NsRef, SandboxFact] = {}
        self._ask = Kept()
        self._present, self._held = _Members(), _Members()
        self._networks: Made[str, Part] = Made(_part_of(_network_objects))
        self._here: Made[str, _OneByOne[str, DesiredEndpoint]] = Made(_here)
        self._elsewhere: Made[str, _OneByOne[str, RemoteEndpoint]] = Made(_elsewhere)
        self._each: Each[tuple[str], DesiredAttachment, Part] = Each(lambda each: (each.name,))
        self._attachments: Union[tuple[str], Key, Object] = Union(objects_differ)
        self._names = NameCompiler()
        self._others: Made[str, Part] = Made(lambda make, *inputs: _part(make(*inputs)))

    def __call__(self, desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> Compiled:
        """Return each part, and all of them, as the very same value as before where nothing is otherwise."""
        desired = self._on_known_host(desired)
        if self._last is None or self._last[:2] != (desired, sandboxes):
            self._last = (desired, sandboxes, self._parts(desired, sandboxes))
        return self._last[2]

    def _on_known_host(self, desired: DesiredState) -> DesiredState:
        """Have the very value of before where it is equal: a host may have thousands of routes, and each part compares them."""
        if self._host is None or self._host != desired.host:
            self._host = desired.host
        return desired if desired.host is self._host else replace(desired, host=self._host)

    def _parts(self, desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> Compiled:
        parts = dict(self._ask(self._network_parts, desired.host, desired.networks, desired.attachments, desired.held))
        parts[_ATTACHMENT, "", ""] = self._attachments(self._attachment_parts(desired, sandboxes))
        others = {
            "firewall": (_shared_rules, desired.tunnels, _has_rules(desired)),
            "forwarding": (_forwarding, _forwarded_versions(desired)),
            "names": (_if_any, self._names(desired, sandboxes)),
        }
        others_made = self._others(others)
        names = others_made.pop("names")
        parts.update(((_HOST, name, ""), part) for name, part in others_made.items())
        return Compiled(parts, names)

    def _network_parts(
        self,
        host: HostFacts,
        networks: Sequence[DesiredNetwork],
        attachments: Sequence[DesiredAttachment],
        held: Sequence[DesiredAttachment],
    ) -> Mapping[PartName, Part]:
        joined, staying = self._present(attachments), self._held(held)
        inputs = {
            network.name: (_at_home(network), joined.get(network.name, ()), _staying(network, staying), host)
            for network in networks
        }
        parts: dict[PartName, Part] = {(_NETWORK, name, ""): part for name, part in self._networks(inputs).items()}
        near = self._here({n.name: (_at_home(n), host) for n in networks if not n.wanted.is_listed})
        parts.update(((_NETWORK, name, "at home"), made.part(joined.get(name, ()))) for name, made in near.items())
        far = self._elsewhere({network.name: inputs[network.name] for network in networks if _is_far(network)})
        parts.update(
            ((_NETWORK, network.name, "elsewhere"), far[network.name].part(network.remote_endpoints))
            for network in networks
            if network.name in far
        )
        return parts

    def _attachment_parts(
        self, desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]
    ) -> Table[tuple[str], Part]:
        host, gateway = desired.host, _host_gateway((*desired.networks, *desired.held_networks))
        default_bridge = next((network for network in desired.networks if network.name == DEFAULT_NETWORK), None)
        before, self._sandboxes = self._sandboxes, sandboxes

        def make(each: DesiredAttachment) -> Part:
            links_on = default_bridge if each.links else None
            return _part(_attachment_objects(each, sandboxes.get(each.ns), links_on, host, gateway))

        again = ((name,) for name in self._present.in_sandboxes(changed_keys(before, sandboxes)))
        return self._each(desired.attachments, make, (default_bridge, host, gateway), again)


class _Members:
    """The endpoints of attachments by network, in the order of the attachments' names."""

    def __init__(self) -> None:
        self._each: Each[str, DesiredAttachment, DesiredAttachment] = Each(attrgetter("name"))
        self._known: Table[str, DesiredAttachment] = Table()
        self._of: dict[str, tuple[DesiredEndpoint, ...]] = {}

    def __call__(self, attachments: Sequence[DesiredAttachment]) -> Mapping[str, tuple[DesiredEndpoint, ...]]:
        """Return those of a network that nobody joined or left as the very same tuple."""
        before, self._known = self._known, self._each(attachments, _itself)
        changed = self._known.changed_since(before)
        found = (table[name] for table in (before, self._known) for name in changed if name in table)
        touched = {endpoint.network for attachment in found for endpoint in attachment.endpoints}
        on = self._known.index(_networks)
        for network in touched:
            members = (self._known[name].endpoints for name in sorted(on.get(network, ())))
            self._of[network] = tuple(e for endpoints in members for e in endpoints if e.network == network)
        return self._of

    def in_sandboxes(self, sandboxes: Iterable[NsRef]) -> Iterator[str]:
        """Yield the names of attachments whose sandboxes these are."""
        on = self._known.index(_sandbox)
        return (name for ns in sandboxes for name in on.get(ns, ()))


def _itself(attachment: DesiredAttachment) -> DesiredAttachment:
    return attachment


def _networks(_: str, attachment: DesiredAttachment) -> Iterator[str]:
    return (endpoint.network for endpoint in attachment.endpoints)


def _sandbox(_: str, attachment: DesiredAttachment) -> Iterable[NsRef]:
    return (attachment.ns,)


_NETWORK, _ATTACHMENT, _HOST = 1, 2, 3


def _if_any(found: Object | None) -> Iterable[Object]:
    return () if found is None else (found,)


def _part(found: Iterable[Object]) -> Part:
    return {each.key: each for each in found}


def _part_of(make: Callable[..., Iterable[Object]]) -> Callable[..., Part]:
    return lambda *inputs: _part(make(*inputs))


def _at_home(network: DesiredNetwork) -> DesiredNetwork:
    return replace(network, remote_endpoints=()) if network.remote_endpoints else network


def _staying(network: DesiredNetwork, held: Mapping[str, Sequence[DesiredEndpoint]]) -> tuple[DesiredEndpoint, ...]:
    return tuple(endpoint for endpoint in held.get(network.name, ()) if _is_in_pools(endpoint, network))


class _OneByOne(Generic[X, E]):
    """What single endpoints of one network need, each compiled when it comes: of thousands a change touches few."""

    def __init__(self, key: Callable[[E], X], compile_one: Callable[[E], Iterable[Object]], host: HostFacts) -> None:
        self._compile_one, self._is_bearable = compile_one, _bearable(host)
        self._by = By(key)
        self._parts: Union[tuple[X], Key, Object] = Union(objects_differ)  # two may give the same MAC

    def part(self, endpoints: Sequence[E]) -> Part:
        gone, come = self._by(endpoints)
        made = {(key,): _part(filter(self._is_bearable, self._compile_one(each))) for key, each in come.items()}
        return self._parts.updated(made, [(key,) for key in gone.keys() - come.keys()])


def _here(network: DesiredNetwork, host: HostFacts) -> _OneByOne[str, DesiredEndpoint]:
    return _OneByOne(attrgetter("attachment"), lambda endpoint: _endpoint_objects(network, endpoint, host), host)


def _is_far(network: DesiredNetwork) -> bool:
    return bool(network.remote_endpoints) and network.wanted.driver in REMOTE and not network.wanted.is_listed


def _elsewhere(
    network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], held: Sequence[DesiredEndpoint], host: HostFacts
) -> _OneByOne[str, RemoteEndpoint]:
    compile_remote = REMOTE[network.wanted.driver].remote_compiler(network, (*endpoints, *held), host)
    return _OneByOne(attrgetter("id"), compile_remote, host)


def _has_rules(desired: DesiredState) -> bool:
    is_held = any(unit == CLUSTER_UNIT for unit, _ in desired.failures)  # what they are is not known, they stay
    return is_held or any(network.is_bridged for network in (*desired.networks, *desired.held_networks))


def _shared_rules(tunnels: Tunnels | None, is_needed: bool) -> Iterator[Object]:
    between_hosts = tuple(tunnel_elements(tunnels))
    if between_hosts or is_needed:
        yield from firewall_rules()
        yield from between_hosts


def _is_in_pools(endpoint: DesiredEndpoint, network: DesiredNetwork) -> bool:
    pools = {subnet.subnet for subnet in network.subnets}
    return all(interface.network in pools for interface in (endpoint.ipv4, endpoint.ipv6) if interface is not None)


def _network_objects(
    network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], held: Sequence[DesiredEndpoint], host: HostFacts
) -> Iterator[Object]:
    """Yield what a network has besides its endpoints; held: members that count for what they share, but have what they have."""
    if network.wanted.is_listed:
        return
    yield network_record(network)
    if network.adopted is not None and network.adopted.found is not None:
        yield adoption_record(network.adopted.found)
    yield from filter(
        _bearable(host), driver_of(network.wanted.driver).compile_network(network, (*endpoints, *held), host)
    )
    if network.is_bridged:
        yield from network_elements(network)
        yield from network_sources(network, host)
    is_overlay = network.wanted.traits.is_vxlan
    if is_overlay and (endpoints or held):
        yield from overlay_sources(network, host)
    if network.is_bridged or is_overlay:
        yield from _held_sources(network, held)


def _endpoint_objects(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterator[Object]:
    yield endpoint_record(endpoint)
    yield from driver_of(network.wanted.driver).compile_endpoint(network, endpoint, host)
    if network.is_bridged:
        yield from endpoint_elements(network, endpoint)
    if network.is_bridged or network.wanted.traits.is_vxlan:
        yield from endpoint_sources(network, endpoint)
    if network.wanted.sublink is not None:
        yield sandbox_record(endpoint.attachment, endpoint.ns)


def _held_sources(network: DesiredNetwork, held: Sequence[DesiredEndpoint]) -> Iterator[Object]:
    """Let members that are left alone go on sending: rules that are newer than they are would stop them otherwise."""
    for endpoint in held:
        yield from (replace(element, unit=network.unit) for element in endpoint_sources(network, endpoint))


def _bearable(host: HostFacts) -> Callable[[Object], bool]:
    """Return whether a kernel can have an object: one without IPv6 takes no address, route or neighbour of that family."""

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
    fact: SandboxFact | None,
    links_on: DesiredNetwork | None,
    host: HostFacts,
    host_gateway: IPAddress | None,
) -> Iterator[Object]:
    gateway, container = host_gateway or _own_gateway(attachment), None if fact is None else fact.container
    is_ours = _is_made_by_us(attachment, fact)
    yield from compile_sandbox(attachment, host, gateway, is_made_by_us=is_ours, container=container)
    yield from ports_record(attachment)
    if links_on is not None:
        endpoint = next(endpoint for endpoint in attachment.endpoints if endpoint.network == DEFAULT_NETWORK)
        yield from link_elements(links_on, endpoint, attachment.links)


def _is_made_by_us(attachment: DesiredAttachment, fact: SandboxFact | None) -> bool:
    """A named namespace that is not there is ours to make; one that somebody else made is only joined."""
    is_named = attachment.wanted.sandbox.kind is SandboxKind.NETNS
    return is_named and (fact is None or fact.inode == 0 or fact.is_ours)


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


def _forwarded_versions(desired: DesiredState) -> frozenset[int]:
    """Return the address families in which some network leads outside."""
    routed = [network for network in desired.networks if network.is_bridged and not network.wanted.is_internal]
    versions = {subnet.subnet.version for network in routed for subnet in network.subnets}
    return frozenset(versions if desired.host.has_ipv6 else versions - {6})


def _forwarding(versions: frozenset[int]) -> Iterator[Sysctl]:
    """Yield the host's forwarding switches."""
    for version in versions:
        yield Sysctl(ns=HOST, name=FORWARDING[version], value="1")


def remembered_settings(objects: Table[Key, Object], facts: Facts, desired: DesiredState) -> Iterator[Object]:
    """Promise what a setting was before us, and want that value again once nobody needs ours; and what comes of it for others.

    Settings of a single link go with the link, those in a namespace of ours go with it: neither is remembered. But a bridge that
    stays when its last port is withdrawn closes again to the host's loopback.
    """
    yield from _closed_loopbacks(objects, facts.seen)
    promised: dict[_Setting, str] = {}
    for found in _remembered(objects, _as_promised_here(facts), desired):
        if isinstance(found, Sysctl):
            yield found
        else:
            promise, unit = found
            promised[promise.ns, promise.name] = promise.before
            yield sysctl_record(promise, unit)
    yield from _no_transit(promised, facts.seen, desired)


_Setting = tuple[NsRef, str]
_Remembered = Sysctl | tuple[SysctlPromise, Unit]


def _as_promised_here(facts: Facts) -> Facts:
    """Forget what the host's settings were before another boot: it has set them anew, and what is set now was so before us.

    Where the records are lost, rules of ours tell that forwarding was off.
    """
    kept = {
        setting: promise
        for setting, promise in facts.records.promises.sysctls.items()
        if promise.is_of(facts.host.place)
    }
    told = [
        SysctlPromise(ns=HOST, name=name, before=before, place=facts.host.place)
        for name, before in settings_before(facts.seen)
        if (HOST, switch_of(name) or name) not in kept
    ]
    if not told and len(kept) == len(facts.records.promises.sysctls):
        return facts
    sysctls = {(promise.ns, promise.name): promise for promise in told} | kept
    promises = replace(facts.records.promises, sysctls=sysctls)
    return replace(facts, records=replace(facts.records, promises=promises))


def _remembered(objects: Table[Key, Object], facts: Facts, desired: DesiredState) -> Iterator[_Remembered]:
    heeding = tuple(_still_heeding(objects, facts))
    yield from heeding
    kept, place = facts.records.promises.sysctls, facts.host.place
    for sysctl in (*_outliving(objects, facts.sandboxes), *heeding):
        promise, seen = kept.get((sysctl.ns, sysctl.name)), facts.seen.get(sysctl.key)
        if promise is not None:
            yield promise, sysctl.unit
        elif seen is not None and isinstance(seen.object, Sysctl) and seen.object.value != sysctl.value:
            for present in (seen.object, *overridden(sysctl, facts.seen)):
                yield _promise(present, place), present.unit
    for promise in kept.values():
        yield from _brought_back(promise, objects, facts, desired)


def _promise(present: Sysctl, place: str) -> SysctlPromise:
    where = place if present.ns == HOST else ""
    return SysctlPromise(ns=present.ns, name=present.name, before=present.value, place=where)


def _still_heeding(objects: Mapping[Key, Object], facts: Facts) -> Iterator[Sysctl]:
    switch = Sysctl(ns=HOST, name=FORWARDING[6], value="1")
    if switch.key in objects:
        is_ours = (HOST, switch.name) in facts.records.promises.sysctls
        yield from still_heeding(facts.host.uplinks, facts.seen, is_switch_ours=is_ours)


def _brought_back(
    promise: SysctlPromise, objects: Mapping[Key, Object], facts: Facts, desired: DesiredState
) -> Iterator[_Remembered]:
    """Yield a setting as it was, unless ours is wanted. One that a switch overrides waits for it, remembered until it is back."""
    before = Sysctl(ns=promise.ns, name=promise.name, value=promise.before)
    if before.key in objects:
        return
    if _may_be_needed(before.ns, desired):
        yield promise, before.unit
        return
    name = switch_of(before.name) if before.ns == HOST else None
    switch = None if name is None else Sysctl(ns=HOST, name=name, value="1")
    present = facts.seen.get(before.key)
    if switch is not None and (switch.key in objects or (HOST, switch.name) in facts.records.promises.sysctls):
        yield promise, before.unit
    elif present is not None:
        yield before
        if switch is not None and present.object != before:
            yield promise, before.unit


def _no_transit(promised: Mapping[_Setting, str], seen: Mapping[Key, Seen], desired: DesiredState) -> Iterator[Object]:
    """Yield what keeps the host from routing between links of others while it forwards for us alone.

    promised: what settings were before us. Which links are a plugin's nobody knows, so that where it has a network all stays open.
    """
    networks = (*desired.networks, *desired.held_networks)
    if desired.host.is_transit_open or any(network.wanted.traits.is_plugin for network in networks):
        return
    forwarding = {(version, ifname) for version, ifname in forwarding_before(promised)}
    versions = [
        v for v, switch in FORWARDING.items() if promised.get((HOST, switch)) == "0" and (v, "") not in forwarding
    ]
    if versions:
        yield from firewall_rules()
        by_link = sorted({*forwarding, *((6, ifname) for ifname in forced_links(seen))})
        yield from transit_elements(versions, (each for each in by_link if each[0] in versions))


def _may_be_needed(ns: NsRef, desired: DesiredState) -> bool:
    """Return whether what is held may need a setting: networks those of the host, an attachment those of its sandbox."""
    if ns == HOST:
        return bool(desired.held_networks)
    is_unread = desired.has_faults and all(attachment.ns != ns for attachment in desired.attachments)
    return is_unread or any(attachment.ns == ns for attachment in desired.held)


def _closed_loopbacks(objects: Table[Key, Object], seen: Mapping[Key, Seen]) -> Iterator[Sysctl]:
    for key in objects.index(_own_bridges).get(HOST, ()):
        bridge = objects[key]
        assert isinstance(bridge, Bridge)
        closed = Sysctl(unit=bridge.unit, ns=HOST, name=loopback_setting(bridge.ifname), value="0")
        present = seen.get(closed.key)
        if closed.key not in objects and present is not None and present.object != closed:
            yield closed


def _own_bridges(key: Key, found: Object) -> Iterator[NsRef]:
    if isinstance(found, Bridge):
        yield found.ns


def _outliving(objects: Table[Key, Object], sandboxes: Mapping[NsRef, SandboxFact]) -> Iterator[Sysctl]:
    """Yield the settings that stay when we are gone: those in a namespace of ours go with it, those of a link of ours too."""
    lasting = objects.index(_lasting)
    for ns in (HOST, *indexed(sandboxes, _of_others).get(True, ())):
        yield from (each for key in lasting.get(ns, ()) if isinstance(each := objects[key], Sysctl))
    for _, _, ifname in objects.index(_adopted_bridges).get(HOST, ()):
        opened = objects.get(Sysctl(ns=HOST, name=loopback_setting(ifname), value="1").key)
        if isinstance(opened, Sysctl):
            yield opened


def _adopted_bridges(key: Key, found: Object) -> Iterator[NsRef]:
    if isinstance(found, AdoptedBridge):
        yield found.ns


def _of_others(ns: NsRef, fact: SandboxFact) -> Iterator[bool]:
    if ns != HOST and fact.inode != 0 and not fact.is_ours:
        yield True


def _lasting(key: Key, found: Object) -> Iterator[NsRef]:
    """Pick settings that do not go with a link of their own."""
    if isinstance(found, Sysctl):
        parts = found.name.split("/")
        if parts[2:3] not in (["conf"], ["neigh"]) or parts[3:4] in (["all"], ["default"]):
            yield found.ns
