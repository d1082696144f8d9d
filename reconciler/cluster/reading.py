"""One record of the cluster's store to a value. Another host wrote it: what does not fit is refused, never repeated."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import Final

from msgspec import Struct

from reconciler.cluster.declaration import declaration, declared_network
from reconciler.model.cluster import ClusterEndpoint, GlobalNetwork, NetworkMember
from reconciler.model.desired import DesiredSubnet
from reconciler.model.identifiers import BUILTIN_NETWORKS, GATEWAY_NETWORK, NAME_MAX, VNI_MAX
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.subnets import is_reserved, is_unicast
from reconciler.records.document import Misfit
from reconciler.records.fields import Fields, checked_name
from reconciler.spec.fields import parse_dns_name
from reconciler.spec.network import SUBNETS_MAX

RECORD_MAX: Final = 128 * 1024
"""Characters of one record: a network of 256 subnets, or an endpoint of as many names, has less."""

NAMES_MAX: Final = 256
"""Of one endpoint."""

AUX_MAX: Final = 256
"""Auxiliary addresses of one subnet."""

FORMAT_MAX: Final = 1_000_000

_INSTANCE: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_COMMIT: Final = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})?\Z")
_DIGEST: Final = re.compile(r"([0-9a-f]{32})?\Z")


class Info(Struct, frozen=True, kw_only=True):
    """What a host says of itself."""

    address: IPAddress
    instance: str
    is_watched: bool
    format: int


def read_info(text: str) -> Info:
    fields = _fields(text)
    return Info(
        address=_vtep(fields.address("address")),
        instance=fields.matching("instance", _INSTANCE),
        is_watched=fields.flag("watched"),
        format=fields.number("format", FORMAT_MAX) if fields.has("format") else 1,
    )


def read_life(text: str) -> str:
    """Return the instance that is alive."""
    return _fields(text).matching("instance", _INSTANCE)


def read_left(text: str) -> str:
    return _fields(text).moment("at")


def read_revision(text: str) -> tuple[str, bool]:
    """Return the commit of a host's specs, and whether they differ from it."""
    fields = _fields(text)
    return fields.matching("commit", _COMMIT), fields.flag("dirty")


def read_member(host: str, text: str) -> NetworkMember:
    return NetworkMember(host=checked_name(host), declaration=_fields(text).matching("declaration", _DIGEST))


def read_network(name: str, text: str) -> GlobalNetwork:
    """Read a network by itself; whether another one has its id or VNIs is not known here."""
    if checked_name(name) in BUILTIN_NETWORKS or name == GATEWAY_NETWORK:
        raise Misfit("a network of this name is each host's own")
    fields = _fields(text)
    try:
        wanted = declared_network(name, fields.value("declaration"))
    except ValueError as error:
        raise Misfit(str(error)) from None
    return GlobalNetwork(
        wanted=wanted,
        id=fields.id("id"),
        created=fields.moment("created"),
        subnets=_subnets(fields, is_overlay=wanted.traits.is_vxlan),
        declaration=declaration(wanted),
    )


def read_endpoint(network: str, name: str, text: str) -> ClusterEndpoint:
    """Read an endpoint by itself; whether its addresses fit its network is not known here."""
    fields = _fields(text)
    ipv4, ipv6 = fields.interface("ipv4", IPv4Interface), fields.interface("ipv6", IPv6Interface)
    if ipv4 is None and ipv6 is None:
        raise Misfit("without an address")
    return ClusterEndpoint(
        network=checked_name(network),
        name=checked_name(name),
        id=fields.id("id"),
        host=fields.name("host"),
        mac=fields.mac("mac"),
        ipv4=ipv4,
        ipv6=ipv6,
        names=tuple(_dns_name(entry) for entry in fields.items("names", NAMES_MAX)),
    )


def endpoint_host(text: str) -> str:
    """Return whose an endpoint's record says it is, however wrong the rest; "" if it does not say."""
    try:
        return _fields(text).text("host")
    except Misfit:
        return ""


def _fields(text: str) -> Fields:
    return Fields.of(text, RECORD_MAX)


def _dns_name(value: object) -> str:
    if not isinstance(value, str) or value != value.lower():
        raise Misfit("names holds what is no name in lower case")
    try:
        return parse_dns_name(value)
    except ValueError:
        raise Misfit("names holds what is no name in lower case") from None


def _subnets(fields: Fields, *, is_overlay: bool) -> tuple[DesiredSubnet, ...]:
    found = tuple(_subnet(entry) for entry in fields.objects("subnets", SUBNETS_MAX))
    if not found:
        raise Misfit("without a subnet")
    vnis = [subnet.vni for subnet in found if subnet.vni is not None]
    if len(set(vnis)) < len(vnis):
        raise Misfit("two subnets with one VNI")
    if not is_overlay and vnis:
        raise Misfit("a VNI on a network that is no overlay")
    is_dual = len({subnet.subnet.version for subnet in found}) > 1  # both families then share a segment
    if is_overlay and len(vnis) < (1 if is_dual else len(found)):
        raise Misfit("a subnet without a VNI")
    last: DesiredSubnet | None = None
    for subnet in sorted(found, key=lambda one: (one.subnet.version, one.subnet.network_address)):
        if last is not None and last.subnet.version == subnet.subnet.version and _meet(last, subnet):
            raise Misfit("two subnets overlap")
        last = subnet
    return found


def _meet(first: DesiredSubnet, second: DesiredSubnet) -> bool:
    return int(first.subnet.broadcast_address) >= int(second.subnet.network_address)


def _subnet(entry: Fields) -> DesiredSubnet:
    subnet = entry.pool("subnet")
    ip_range = entry.pool("ip_range") if entry.has("ip_range") else None
    if ip_range is not None and not (ip_range.version == subnet.version and _contains(subnet, ip_range)):
        raise Misfit("an ip_range lies outside its subnet")
    return DesiredSubnet(
        subnet=subnet,
        gateway=_inside(entry, "gateway", subnet),
        default_gateway=_inside(entry, "default_gateway", subnet),
        ip_range=ip_range,
        aux_addresses=_aux(entry.mapping("aux", AUX_MAX), subnet),
        is_declared=entry.flag("declared"),
        is_gateway_declared=entry.flag("gateway_declared"),
        vni=entry.number("vni", VNI_MAX) if entry.has("vni") else None,
    )


def _contains(subnet: IPNetwork, part: IPNetwork) -> bool:
    return part.network_address in subnet and part.prefixlen >= subnet.prefixlen


def _aux(fields: Fields, subnet: IPNetwork) -> tuple[tuple[str, IPAddress], ...]:
    if not all(0 < len(name) <= NAME_MAX and name.isprintable() for name in fields):
        raise Misfit("aux has a name that is none")
    found = [(name, _inside(fields, name, subnet)) for name in fields]
    return tuple(sorted((name, address) for name, address in found if address is not None))


def _inside(fields: Fields, key: str, subnet: IPNetwork) -> IPAddress | None:
    if not fields.has(key):
        return None
    address = fields.address(key)
    if address not in subnet or is_reserved(address, subnet) or not is_unicast(address):
        raise Misfit("an address of the network lies outside its subnet")
    return address


def _vtep(address: IPAddress) -> IPAddress:
    is_class_e = isinstance(address, IPv4Address) and address.is_reserved
    if not is_unicast(address) or is_class_e or (address.version == 6 and address.is_link_local):
        raise Misfit("address is none that a host can be reached at")
    return address
