"""From what hosts shall have, and had, to what is drawn of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.graph.marks import attachment_changes, network_changes, with_drift, with_moves
from reconciler.graph.topology import Attachment, Host, Link, Mark, Network, Place, Port, Subnet, Topology
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredState, PortBinding
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import Unit
from reconciler.model.wanted import GatewayMode, Source
from reconciler.model.words import before_port
from reconciler.spec.places import Places


class Subject(Struct, frozen=True, kw_only=True):
    """One host to be drawn. before: None where no change is shown. drifted: what others changed there.

    is_foreseen: nothing is known of the host, so that addresses which no spec names are not shown.
    """

    after: DesiredState
    before: DesiredState | None = None
    sources: Mapping[Unit, Source] = field(default_factory=dict)
    drifted: frozenset[Unit] = frozenset()
    is_foreseen: bool = False

    def declared(self, unit: Unit, field_: tuple[str, ...] = ()) -> str:
        """Return file and line of a unit, or of a field of it; "" where no spec says so."""
        places = self.sources
        source = places.of_field(unit, field_) if field_ and isinstance(places, Places) else places.get(unit)
        return str(source) if source is not None and source.line else ""


def make_topology(subjects: Sequence[Subject]) -> Topology:
    """Draw hosts: those given, and those that they know of by networks that they share."""
    hosts = {subject.after.host.name: _host(subject) for subject in subjects}
    for name, found in _elsewhere(subjects, hosts).items():
        hosts[name] = Host(name=name, attachments=tuple(found[key] for key in sorted(found)))
    is_change = any(subject.before is not None or subject.drifted for subject in subjects)
    shared = _shared(subjects, hosts.values())
    drawn = tuple(sorted(hosts.values(), key=lambda host: host.name))
    return Topology(hosts=tuple(with_moves(drawn)) if is_change else drawn, shared=shared, is_change=is_change)


# --- one host


def _host(subject: Subject) -> Host:
    after = _drawn(subject, subject.after)
    networks, attachments = _networks(subject), after.attachments
    if subject.before is not None:
        attachments = tuple(attachment_changes(_drawn(subject, subject.before).attachments, attachments))
    return Host(
        name=after.name,
        networks=tuple(one for one in networks if not one.is_shared),
        attachments=tuple(with_drift(one, subject.drifted) for one in attachments),
    )


def _networks(subject: Subject) -> tuple[Network, ...]:
    """Draw the networks of a host, those that it shares included."""
    networks = _drawn(subject, subject.after).networks
    if subject.before is not None:
        networks = tuple(network_changes(_drawn(subject, subject.before).networks, networks))
    return tuple(with_drift(one, subject.drifted) for one in networks)


def _drawn(subject: Subject, desired: DesiredState) -> Host:
    """Draw a host without what changes, networks that others share included."""
    used = {endpoint.network for member in desired.members for endpoint in member.endpoints}
    networks = (*desired.networks, *desired.held_networks)
    return Host(
        name=desired.host.name,
        networks=tuple(
            _network(one, subject)
            for one in sorted(networks, key=lambda one: one.name)
            if not one.wanted.is_listed and (one.name in used or one.name not in BUILTIN_NETWORKS)
        ),
        attachments=tuple(_attachment(one, subject) for one in sorted(desired.members, key=lambda member: member.name)),
    )


def _network(network: DesiredNetwork, subject: Subject) -> Network:
    host = subject.after.host.name
    return Network(
        host="" if network.scope == "global" else host,
        name=network.name,
        driver=network.wanted.driver,
        subnets=tuple(
            Subnet(subnet=str(one.subnet), gateway="" if one.gateway is None else str(one.gateway), vni=one.vni)
            for one in network.subnets
            if one.is_declared or not subject.is_foreseen
        ),
        is_internal=network.wanted.is_internal,
        hosts=tuple(sorted({host, *(one.host for one in network.remote_endpoints)})),
        traits=tuple(_traits(network)),
        declared=subject.declared(network.unit),
    )


def _traits(network: DesiredNetwork) -> Iterator[str]:
    wanted, options = network.wanted, network.wanted.bridge_options
    if wanted.sublink is not None:
        yield f"on {wanted.sublink.parent}" if wanted.sublink.parent else "on no link of the host"
    if wanted.macvlan is not None:
        yield f"mode {wanted.macvlan.mode}"
    if wanted.ipvlan is not None:
        yield f"mode {wanted.ipvlan.mode}"
    if wanted.bridge is not None and not options.is_icc_enabled:
        yield "members kept apart"
    modes = {options.gateway_mode(one.subnet.version) for one in network.subnets} if wanted.bridge else set()
    yield from (str(mode) for mode in sorted(modes) if mode is not GatewayMode.NAT)
    if wanted.is_protected:
        yield "protected"


def _attachment(attachment: DesiredAttachment, subject: Subject) -> Attachment:
    wanted = attachment.wanted
    return Attachment(
        host=subject.after.host.name,
        name=attachment.name,
        sandbox=str(wanted.sandbox.ns),
        places=tuple(_place(one, subject) for one in attachment.endpoints),
        links=tuple(Link(target=target, alias=alias) for target, alias in wanted.links),
        declared=subject.declared(attachment.unit),
    )


def _place(endpoint: DesiredEndpoint, subject: Subject) -> Place:
    declared = endpoint.wanted.ipv4_address, endpoint.wanted.ipv6_address
    return Place(
        network=endpoint.network,
        addresses=tuple(
            str(one.ip)
            for one in (endpoint.ipv4, endpoint.ipv6)
            if one is not None and (one.ip in declared or not subject.is_foreseen)
        ),
        aliases=endpoint.wanted.aliases,
        ports=tuple(Port(text=text) for text in port_texts(endpoint.ports)),
        is_default=endpoint.is_default_ipv4 or endpoint.is_default_ipv6,
        is_gateway=endpoint.wanted.is_gateway,
    )


def port_texts(ports: Iterable[PortBinding]) -> Iterator[str]:
    """Yield what people read of published ports: those of both families once, those in a row as a range."""
    runs: list[tuple[str, str, int, int, int]] = []
    alike = {(one.protocol, _host_ip(one), one.host_port, one.target) for one in ports}
    for protocol, host_ip, host_port, target in sorted(alike):
        if runs and runs[-1][:2] == (protocol, host_ip):
            _, _, first, to, count = runs[-1]
            is_next = (first + count if first else 0, to + count) == (host_port, target)
            if is_next:
                runs[-1] = protocol, host_ip, first, to, count + 1
                continue
        runs.append((protocol, host_ip, host_port, target, 1))
    for protocol, host_ip, first, to, count in runs:
        published = f"{host_ip}{_range(first, count)}→" if first else ""
        yield f"{published}{_range(to, count)}/{protocol}"


def _host_ip(binding: PortBinding) -> str:
    return "" if binding.host_ip.is_unspecified or not binding.host_port else f"{before_port(binding.host_ip)}:"


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


# --- several hosts


def _shared(subjects: Sequence[Subject], hosts: Iterable[Host]) -> tuple[Network, ...]:
    """Draw the networks that hosts share: each once, with all hosts that have a part in it."""
    found: defaultdict[str, list[Network]] = defaultdict(list)
    for subject in subjects:
        for network in _networks(subject):
            if network.is_shared:
                found[network.name].append(network)
    joined: defaultdict[str, set[str]] = defaultdict(set)
    for host in hosts:
        for attachment in host.attachments:
            for place in attachment.places:
                joined[place.network].add(host.name)
    return tuple(_joined(found[name], joined[name]) for name in sorted(found))


def _joined(parts: Sequence[Network], joined: Iterable[str]) -> Network:
    """Make one of what several hosts say of a network: the first that declares it says most."""
    first = next((one for one in parts if one.declared), parts[0])
    marks = {one.mark for one in parts}
    mark = marks.pop() if len(marks) == 1 else Mark.CHANGED
    hosts = {name for one in parts for name in one.hosts} & {*joined} or {name for one in parts for name in one.hosts}
    return replace(first, hosts=tuple(sorted(hosts)), mark=mark)


def _elsewhere(subjects: Sequence[Subject], known: Mapping[str, Host]) -> Mapping[str, Mapping[str, Attachment]]:
    """Return by host those that a cluster's store tells of, on hosts that are not drawn for themselves."""
    found: defaultdict[str, dict[str, Attachment]] = defaultdict(dict)
    for subject in subjects:
        for network in (*subject.after.networks, *subject.after.held_networks):
            for one in network.remote_endpoints:
                if one.host not in known:
                    addresses = tuple(str(each.ip) for each in (one.ipv4, one.ipv6) if each is not None)
                    before = found[one.host].get(one.name) or Attachment(
                        host=one.host, name=one.name, is_elsewhere=True
                    )
                    place = Place(network=network.name, addresses=addresses)
                    found[one.host][one.name] = replace(before, places=(*before.places, place))
    return found
