"""`attachments:` of a spec file: which sandbox joins which networks, in Compose's service keys (docs/guide/specs.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator

from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import IPAddress, Unit
from reconciler.model.subnets import is_reserved, reserved_as, unusable_part
from reconciler.model.wanted import (
    AttachmentWanted,
    EndpointWanted,
    NetworkMode,
    NetworkWanted,
    PortWanted,
    SandboxKind,
    SandboxRef,
    Source,
)
from reconciler.spec.bridge_options import endpoint_ifname, endpoint_option_faults
from reconciler.spec.document import Path, Tree, kind_of, shown
from reconciler.spec.fields import (
    AbsolutePath,
    Address,
    Alias,
    At,
    DnsOption,
    Expose,
    ExtraHosts,
    Hostname,
    HostPattern,
    Ipv4,
    Ipv6,
    Items,
    Link,
    LinkName,
    Mac,
    Name,
    Nameserver,
    NetnsRef,
    OneOrMany,
    SchemaForm,
    SearchDomain,
    Sysctls,
    Text,
    parse_address,
    parse_name,
    parse_port_range,
    parse_protocol,
    parse_text,
)
from reconciler.spec.network import Fault
from reconciler.spec.spec_model import SpecModel

PORTS_MAX: Final = 1 << 16
"""Of one attachment, each for `ports` and for `expose`."""
PID_MAX: Final = 1 << 22
"""PID_MAX_LIMIT of linux/threads.h."""
_PRIORITY_MAX: Final = 1 << 31
_IPV6_SWITCH: Final = re.compile(r"net\.ipv6\.conf\.(?!default\.|lo\.)([^.]+)\.disable_ipv6\Z")


class SandboxSpec(SpecModel):
    netns: NetnsRef | None = Field(
        default=None, description="name below /run/netns, made when it is not there, or a path"
    )
    pid: int | None = Field(default=None, gt=0, le=PID_MAX, description="the namespace of this process")
    pidfile: AbsolutePath | None = Field(default=None, description="file that holds the process id")
    container: Name | None = Field(default=None, description="container of a Docker or Podman engine")


class EndpointSpec(SpecModel):
    ipv4_address: Ipv4 | None = Field(default=None, description="static address; default a free one of the network")
    ipv6_address: Ipv6 | None = Field(default=None, description="static address; default a free one of the network")
    link_local_ips: Items[Address] = Field(default=(), description="link-local addresses beside the others")
    mac_address: Mac | None = Field(default=None, description="default 02:42 and the IPv4 address")
    aliases: Items[Alias] = Field(default=(), description="further names on this network")
    priority: int = Field(
        default=0,
        gt=-_PRIORITY_MAX,
        lt=_PRIORITY_MAX,
        description="higher comes first among the interfaces, and for the default route after gw_priority",
    )
    gw_priority: int = Field(
        default=0, gt=-_PRIORITY_MAX, lt=_PRIORITY_MAX, description="higher takes the default route"
    )
    interface_name: LinkName | None = Field(default=None, description="default eth and the lowest free number")
    driver_opts: dict[str, Text] = Field(
        default={}, description="options of the endpoint, e.g. com.docker.network.endpoint.sysctls"
    )


def parse_short_port(value: Tree) -> PortWanted:
    """Parse `[HOST_IP:][HOST[-END]:]CONTAINER[-END][/PROTO]` (docs/design/docker.md#published-ports)."""
    text, slash, protocol = parse_text(value).partition("/")
    rest, _, container = text.rpartition(":")
    host_ip, host = "", rest
    if ":" in rest:
        host_ip, _, host = rest.rpartition(":")
        if not host_ip.startswith("[") and ":" in host_ip:
            raise ValueError(f"{shown(text)}: an IPv6 host address stands in brackets, as in [::1]:8080:80")
    return _port(
        target=parse_port_range(container),
        published=_parse_published(host),
        protocol=parse_protocol(protocol) if slash else "tcp",
        host_ip=parse_address(host_ip.strip("[]")) if host_ip else None,
    )


def _port(
    *, target: tuple[int, int], published: tuple[int, int] | None, protocol: str, host_ip: IPAddress | None
) -> PortWanted:
    width = target[1] - target[0]
    if published is not None and width and published[1] - published[0] != width:
        raise ValueError("the host's range and the container's range differ in length")
    return PortWanted(target=target, published=published or (0, 0), protocol=protocol, host_ip=host_ip)


def _parse_ports(value: Tree) -> tuple[int, int]:
    return parse_port_range(parse_text(value))


def _parse_published(value: Tree) -> tuple[int, int] | None:
    text = parse_text(value)
    return None if text in ("", "0") else parse_port_range(text)


_PORTS_SCHEMA: Final = WithJsonSchema({"type": ["string", "integer"]})
ShortPort = Annotated[PortWanted, PlainValidator(parse_short_port), _PORTS_SCHEMA]
Protocol = Annotated[str, PlainValidator(parse_protocol), WithJsonSchema({"enum": ["tcp", "udp", "sctp"]})]


class LongPort(SpecModel):
    """Compose's long form; what only Swarm or people read (mode, name, app_protocol) is taken and ignored."""

    target: Annotated[tuple[int, int], PlainValidator(_parse_ports), _PORTS_SCHEMA] = Field(
        description="port or range in the sandbox"
    )
    published: Annotated[tuple[int, int] | None, PlainValidator(_parse_published), _PORTS_SCHEMA] = Field(
        default=None, description="port or range of the host; default one of the ephemeral range"
    )
    protocol: Protocol = Field(default="tcp", description="default tcp")
    host_ip: Address | None = Field(default=None, description="address of the host; default all")
    mode: Text = Field(default="host", description="Swarm's, ignored")
    name: Text = Field(default="", description="for people, ignored")
    app_protocol: Text = Field(default="", description="for people, ignored")

    @model_validator(mode="after")
    def _has_equal_ranges(self) -> LongPort:
        self.wanted()
        return self

    def wanted(self) -> PortWanted:
        return _port(target=self.target, published=self.published, protocol=self.protocol, host_ip=self.host_ip)


Port = Annotated[
    Annotated[ShortPort, Tag("short")] | Annotated[LongPort, Tag("long")],
    Discriminator(lambda value: "long" if isinstance(value, dict) else "short"),
]


def _parse_mode(value: Tree) -> str:
    text = parse_text(value)
    kind, colon, other = text.partition(":")
    if colon and kind in ("service", "container"):
        hint = (
            f", or, if nobody else joins it, write 'sandbox: {{container: {other[:60]}}}'"
            if kind == "container"
            else ""
        )
        raise ValueError(
            f"network_mode {shown(text)}: a sandbox has one attachment, so leave this one out and start its processes "
            f"in the namespace of {kind} {shown(other)}{hint}"
        )
    if colon and kind == "ns":
        raise ValueError(f"network_mode {shown(text)}: write 'sandbox: {{netns: {other[:60]}}}' and leave it out")
    if text not in ("none", "host", "bridge", "default"):
        raise ValueError(
            f"{shown(text)} is no network_mode: expected none, host, bridge or default; others go below 'networks'"
        )
    return text


Mode = Annotated[str, PlainValidator(_parse_mode), WithJsonSchema({"enum": ["none", "host", "bridge", "default"]})]


def _networks_by_name(value: Tree) -> Tree:
    """Bring the list form to a map of endpoints."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        raise ValueError(f"expected a list of networks or a mapping, got {kind_of(value)}")
    networks: dict[str, Tree] = {}
    for index, item in enumerate(value):
        name = _within(index, item)
        if name in networks:
            raise At((index,), f"network {shown(name)} is given twice")
        networks[name] = {}
    return networks


def _within(index: int, item: Tree) -> str:
    try:
        return parse_name(item)
    except ValueError as error:
        raise At((index,), str(error)) from None


def _or_names(by_name: dict[str, Any]) -> dict[str, Any]:
    (values,) = by_name["patternProperties"].values()
    endpoint = {"anyOf": [values, {"type": "null"}]}
    return {
        "anyOf": [{"type": "object", "additionalProperties": endpoint}, {"type": "array", "items": {"type": "string"}}]
    }


Memberships = Annotated[dict[Name, EndpointSpec], BeforeValidator(_networks_by_name), SchemaForm(_or_names)]


class AttachmentSpec(SpecModel):
    sandbox: SandboxSpec = Field(
        default=SandboxSpec.model_construct(), description="which network namespace; default one named as this"
    )
    hosts: OneOrMany[HostPattern] = Field(default=(), description="hosts that this is for, names or globs; default all")
    hostname: Hostname | None = Field(default=None, description="name of the sandbox in its own hosts file")
    domainname: Hostname | None = Field(default=None, description="domain of the sandbox in its own hosts file")
    networks: Memberships = Field(default={}, description="networks to join; none given: bridge")
    network_mode: Mode | None = Field(default=None, description="none: loopback only; host: the host's own namespace")
    ports: Items[Port] = Field(default=(), description="published ports, [HOST_IP:][HOST[-END]:]PORT[-END][/PROTO]")
    expose: Items[Expose] = Field(default=(), description="ports that linked attachments may reach, PORT[-END][/PROTO]")
    links: Items[Link] = Field(default=(), description="ATTACHMENT or ATTACHMENT:ALIAS")
    dns: OneOrMany[Nameserver] = Field(default=(), description="name servers instead of the host's")
    dns_search: OneOrMany[SearchDomain] = Field(default=(), description="search domains; '.' for none")
    dns_opt: Items[DnsOption] = Field(default=(), description="options of resolv.conf(5)")
    extra_hosts: ExtraHosts = Field(default=(), description="NAME=ADDRESS, the address may be host-gateway")
    sysctls: Sysctls = Field(default=(), description="settings below net.")


class NetworkTable(dict[str, NetworkWanted | None]):
    """What attachments may refer to, by the key in the specs. A network that has faults is known, but None.

    places: where each is declared.
    """

    def __init__(self, networks: Mapping[str, NetworkWanted | None], places: Mapping[Unit, Source]) -> None:
        super().__init__(networks)
        self._places = places

    def place(self, network: NetworkWanted) -> Source:
        return self._places[Unit(network=network.name)]


def attachment_faults(spec: AttachmentSpec, networks: NetworkTable) -> Iterator[Fault]:
    """Check one attachment by itself and against its networks. Those not declared or with faults are passed over."""
    kinds = [kind for kind in SandboxKind if kind is not SandboxKind.PATH and getattr(spec.sandbox, kind) is not None]
    for kind in kinds[1:]:
        yield (
            ("sandbox", str(kind)),
            f"a sandbox is one of netns, pid, pidfile, container: '{kinds[0]}' is already given",
        )
    if spec.network_mode is not None and spec.networks:
        yield ("networks",), f"'networks' and 'network_mode: {spec.network_mode}' exclude each other"
    if kinds and network_mode(spec, networks) is NetworkMode.HOST:
        yield ("sandbox",), "the network mode host uses the host's own namespace: remove 'sandbox'"
    if spec.sysctls and network_mode(spec, networks) is NetworkMode.HOST:
        yield (
            ("sysctls",),
            f"sysctl {spec.sysctls[0][0]} is not allowed in the host's network namespace: set it on the host",
        )
    yield from _ipv6_faults(spec, networks)
    yield from _membership_faults(spec, networks)
    yield from _interface_faults(spec)
    yield from _endpoint_faults(spec, networks)
    yield from _port_faults(spec)
    if spec.links and network_mode(spec, networks) is not NetworkMode.NETWORKS:
        yield (
            ("links",),
            f"conflicting options: {network_mode(spec, networks)} type networking can't be used with links",
        )


def _ipv6_faults(spec: AttachmentSpec, networks: NetworkTable) -> Iterator[Fault]:
    """Find settings that switch IPv6 off where a network needs it: the kernel takes no IPv6 address then."""
    joined = [
        network for key in spec.networks if (network := networks.get(key)) is not None and not network.is_external
    ]
    on_ipv6 = [network for network in joined if network.is_ipv6_enabled]
    for name, value in spec.sysctls if on_ipv6 else ():
        match = _IPV6_SWITCH.match(name)
        is_meant = match is not None and (match[1] == "all" or len(on_ipv6) == len(spec.networks))
        if is_meant and value.strip("0"):
            network = on_ipv6[0]
            yield (
                ("sysctls",),
                f"sysctl {name} contradicts network '{network.name}', which has IPv6 ({networks.place(network)})",
            )


def _membership_faults(spec: AttachmentSpec, networks: NetworkTable) -> Iterator[Fault]:
    if len(spec.networks) < 2:
        return
    seen: dict[str, str] = {}
    for key in spec.networks:
        name = network_name(key, networks)
        if name in seen:
            yield ("networks", key), f"'{key}' and '{seen[name]}' are the same network '{name}'"
        seen.setdefault(name, key)
        if name in ("none", "host"):
            mode = "private (none)" if name == "none" else "host"
            yield (
                ("networks", key),
                f"container cannot be connected to multiple networks with one of the networks in {mode} mode",
            )


def network_name(key: str, networks: NetworkTable) -> str:
    network = networks.get(key)
    return network.name if network is not None else key


def _interface_faults(spec: AttachmentSpec) -> Iterator[Fault]:
    names: dict[str, str] = {}
    for network, endpoint in spec.networks.items():
        path: Path = ("networks", network, "interface_name")
        try:
            option = endpoint_ifname(endpoint.driver_opts)
        except ValueError:
            continue  # endpoint_option_faults says it with the option's place
        name = endpoint.interface_name or option
        if name is None:
            continue
        if option is not None and option != name:
            yield (
                path,
                f"interface_name '{name}' and driver option com.docker.network.endpoint.ifname '{option}' differ",
            )
        if name in names:
            yield path, f"interface name '{name}' is taken twice in one sandbox, first on network '{names[name]}'"
        names.setdefault(name, network)


def _port_faults(spec: AttachmentSpec) -> Iterator[Fault]:
    """Bound what a few characters may ask for: a range is written shortly and becomes tens of thousands of entries."""
    published = published_count(spec)
    exposed = sum(last - first + 1 for first, last, _ in spec.expose)
    for field, count in (("ports", published), ("expose", exposed)):
        if count > PORTS_MAX:
            yield (field,), f"{count} ports are more than one attachment may have: at most {PORTS_MAX}"


def published_count(spec: AttachmentSpec) -> int:
    return sum(port.target[1] - port.target[0] + 1 for port in map(port_wanted, spec.ports))


def network_mode(spec: AttachmentSpec, networks: NetworkTable) -> NetworkMode:
    names = {spec.network_mode, *[network_name(key, networks) for key in spec.networks]}
    if NetworkMode.HOST in names:
        return NetworkMode.HOST
    return NetworkMode.NONE if NetworkMode.NONE in names else NetworkMode.NETWORKS


def _endpoint_faults(spec: AttachmentSpec, networks: NetworkTable) -> Iterator[Fault]:
    for key, endpoint in spec.networks.items():
        network = networks.get(key)
        if network is None:
            continue
        if network.traits.has_endpoint_options:
            options = endpoint_option_faults(endpoint.driver_opts)
            yield from ((("networks", key, "driver_opts", option), message) for option, message in options)
        if not network.traits.takes_mac and endpoint.mac_address is not None:
            yield ("networks", key, "mac_address"), "ipvlan interfaces do not support custom mac address assignment"
        is_builtin = network.name in BUILTIN_NETWORKS
        faults = _builtin_endpoint_faults(endpoint) if is_builtin else _address_faults(endpoint, network, networks)
        yield from ((("networks", key, *path), message) for path, message in faults)


def _builtin_endpoint_faults(endpoint: EndpointSpec) -> Iterator[Fault]:
    for field in ("ipv4_address", "ipv6_address", "link_local_ips"):
        if getattr(endpoint, field):
            yield (field,), "user specified IP address is supported on user defined networks only"
    if endpoint.aliases:
        yield ("aliases",), "network-scoped alias is supported only for containers in user defined networks"


def _address_faults(endpoint: EndpointSpec, network: NetworkWanted, networks: NetworkTable) -> Iterator[Fault]:
    for given in endpoint.link_local_ips:
        unusable = unusable_part(ip_network(given))
        if unusable:
            yield ("link_local_ips",), f"invalid link-local IP address {given}: {unusable}"
    families = (
        ("ipv4_address", endpoint.ipv4_address, network.is_ipv4_enabled, "enable_ipv4"),
        ("ipv6_address", endpoint.ipv6_address, network.is_ipv6_enabled, "enable_ipv6"),
    )
    for field, address, is_enabled, flag in families:
        if address is None or network.is_external:
            continue
        if not is_enabled:
            yield (
                (field,),
                f"network '{network.name}' has no IPv{address.version}: set '{flag}: true' there ({networks.place(network)})",
            )
            continue
        yield from (((field,), message) for message in _address_refusals(address, network, networks))
    for index, address in enumerate(endpoint.link_local_ips):
        if address.version == 6 and not (network.is_ipv6_enabled or network.is_external):
            yield (
                ("link_local_ips", index),
                f"network '{network.name}' has no IPv6: set 'enable_ipv6: true' there ({networks.place(network)})",
            )


def _address_refusals(address: IPAddress, network: NetworkWanted, networks: NetworkTable) -> Iterator[str]:
    if not network.subnets:
        yield (
            "user specified IP address is supported only when connecting to networks with user configured subnets: "
            f"give network '{network.name}' a subnet ({networks.place(network)})"
        )
        return
    entry = next((entry for entry in network.subnets if address in entry.subnet), None)
    if entry is None:
        subnets = ", ".join(str(entry.subnet) for entry in network.subnets)
        where = f"network '{network.name}' has {subnets} ({networks.place(network)})"
        yield f"no configured subnet contains IP address {address}: {where}"
    elif is_reserved(address, entry.subnet):
        yield f"{address} is the {reserved_as(address, entry.subnet)} of {entry.subnet}"
    elif address == entry.gateway:
        yield f"Address already in use: {address} is the gateway of network '{network.name}' ({networks.place(network)})"
    else:
        for name, reserved in entry.aux_addresses:
            if reserved == address:
                where = f"network '{network.name}' ({networks.place(network)})"
                yield f"Address already in use: {address} is auxiliary address {name} of {where}"


def attachment_wanted(name: str, spec: AttachmentSpec, networks: NetworkTable) -> AttachmentWanted:
    """Return the value of an attachment that has no faults."""
    mode = network_mode(spec, networks)
    return AttachmentWanted(
        name=name,
        sandbox=sandbox_ref(name, spec.sandbox),
        mode=mode,
        hosts=spec.hosts,
        hostname=spec.hostname,
        domainname=spec.domainname,
        endpoints=_endpoints(spec, networks) if mode is NetworkMode.NETWORKS else (),
        ports=tuple(map(port_wanted, spec.ports)),
        expose=spec.expose,
        links=spec.links,
        dns=spec.dns,
        dns_search=spec.dns_search,
        dns_options=spec.dns_opt,
        extra_hosts=spec.extra_hosts,
        sysctls=spec.sysctls,
    )


def port_wanted(port: PortWanted | LongPort) -> PortWanted:
    """Return the one form that both have."""
    return port.wanted() if isinstance(port, LongPort) else port


def sandbox_ref(name: str, spec: SandboxSpec) -> SandboxRef:
    if spec.netns is not None:
        return SandboxRef(SandboxKind.PATH if spec.netns.startswith("/") else SandboxKind.NETNS, spec.netns)
    if spec.pid is not None:
        return SandboxRef(SandboxKind.PID, str(spec.pid))
    if spec.pidfile is not None:
        return SandboxRef(SandboxKind.PIDFILE, spec.pidfile)
    if spec.container is not None:
        return SandboxRef(SandboxKind.CONTAINER, spec.container)
    return SandboxRef(SandboxKind.NETNS, name)


def _endpoints(spec: AttachmentSpec, networks: NetworkTable) -> tuple[EndpointWanted, ...]:
    if not spec.networks:
        return (EndpointWanted(network="bridge"),)
    endpoints = (_endpoint(key, endpoint, networks) for key, endpoint in spec.networks.items())
    return tuple(sorted(endpoints, key=lambda endpoint: endpoint.network))


def _endpoint(key: str, spec: EndpointSpec, networks: NetworkTable) -> EndpointWanted:
    return EndpointWanted(
        network=network_name(key, networks),
        ipv4_address=spec.ipv4_address,
        ipv6_address=spec.ipv6_address,
        link_local_ips=spec.link_local_ips,
        mac_address=spec.mac_address,
        aliases=spec.aliases,
        priority=spec.priority,
        gw_priority=spec.gw_priority,
        interface_name=spec.interface_name or endpoint_ifname(spec.driver_opts),
        options=tuple(sorted(spec.driver_opts.items())),
    )
