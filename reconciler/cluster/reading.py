"""One record of the cluster's store to a value. Another host wrote it: what does not fit is refused, never repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Interface,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Final

from reconciler.cluster.aliveness import seconds_since
from reconciler.cluster.declaration import declaration, declared_network
from reconciler.model.cluster import ClusterEndpoint, GlobalNetwork, Member
from reconciler.model.desired import DesiredSubnet
from reconciler.model.identifiers import BUILTIN_NETWORKS, GATEWAY_NETWORK, NAME_MAX, NAME_PATTERN
from reconciler.model.objects import IPAddress, IPInterface, IPNetwork
from reconciler.model.subnets import is_reserved, unusable_part
from reconciler.spec.fields import parse_dns_name
from reconciler.spec.network import SUBNETS_MAX

RECORD_MAX: Final = 128 * 1024
"""Characters of one record: a network of 256 subnets, or an endpoint of as many names, has less."""

NAMES_MAX: Final = 256
"""Of one endpoint."""

AUX_MAX: Final = 256
"""Auxiliary addresses of one subnet."""

_VNI_MAX: Final = (1 << 24) - 1
_ID: Final = re.compile(r"[0-9a-f]{64}\Z")
_INSTANCE: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_COMMIT: Final = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})?\Z")
_DIGEST: Final = re.compile(r"([0-9a-f]{32})?\Z")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_UNICAST_MAC: Final = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z")
_NO_MAC: Final = "00:00:00:00:00:00"


class Misfit(Exception):
    """A record is not what it should be; the text says why, without repeating its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a host says of itself."""

    address: IPAddress
    instance: str
    is_watched: bool


def read_fields(text: str) -> Mapping[str, object]:
    """Give the object that a record is. Raises Misfit."""
    if len(text) > RECORD_MAX:
        raise Misfit(f"longer than {RECORD_MAX} characters")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Misfit("not JSON") from None
    if not isinstance(value, dict):
        raise Misfit("not a JSON object")
    return value


def read_name(text: str) -> str:
    if len(text) > NAME_MAX or not NAME_PATTERN.match(text):
        raise Misfit("not a name")
    return text


def read_info(text: str) -> Info:
    fields = read_fields(text)
    return Info(
        address=_vtep(_address(fields, "address")),
        instance=_matching(fields, "instance", _INSTANCE),
        is_watched=_claim(fields, "watched"),
    )


def read_life(text: str) -> str:
    """Give the instance that is alive."""
    return _matching(read_fields(text), "instance", _INSTANCE)


def read_left(text: str) -> str:
    return _moment(read_fields(text), "at")


def read_revision(text: str) -> tuple[str, bool]:
    """Give the commit of a host's specs, and whether they differ from it."""
    fields = read_fields(text)
    return _matching(fields, "commit", _COMMIT), _claim(fields, "dirty")


def read_member(host: str, text: str) -> Member:
    return Member(host=read_name(host), declaration=_matching(read_fields(text), "declaration", _DIGEST))


def read_network(name: str, text: str) -> GlobalNetwork:
    """Read a network by itself; whether another one has its id or VNIs is not known here."""
    if read_name(name) in BUILTIN_NETWORKS or name == GATEWAY_NETWORK:
        raise Misfit("a network of this name is each host's own")
    fields = read_fields(text)
    try:
        wanted = declared_network(name, fields.get("declaration"))
    except ValueError as error:
        raise Misfit(str(error)) from None
    return GlobalNetwork(
        wanted=wanted,
        id=_matching(fields, "id", _ID),
        created=_moment(fields, "created"),
        subnets=_subnets(fields.get("subnets"), is_overlay=wanted.driver == "overlay"),
        declaration=declaration(wanted),
    )


def read_endpoint(network: str, name: str, text: str) -> ClusterEndpoint:
    """Read an endpoint by itself; whether its addresses fit its network is not known here."""
    fields = read_fields(text)
    ipv4, ipv6 = _interface(fields, "ipv4"), _interface(fields, "ipv6")
    if isinstance(ipv4, IPv6Interface) or isinstance(ipv6, IPv4Interface):
        raise Misfit("an address of the wrong family")
    if ipv4 is None and ipv6 is None:
        raise Misfit("without an address")
    mac = "" if fields.get("mac") == "" else _matching(fields, "mac", _UNICAST_MAC)
    if mac == _NO_MAC:
        raise Misfit("mac is all zero")
    return ClusterEndpoint(
        network=read_name(network),
        name=read_name(name),
        id=_matching(fields, "id", _ID),
        host=read_name(_string(fields, "host")),
        mac=mac,
        ipv4=ipv4,
        ipv6=ipv6,
        names=_names(fields.get("names")),
    )


def endpoint_host(text: str) -> str:
    """Give whose an endpoint's record says it is, however wrong the rest; "" if it does not say."""
    try:
        host = read_fields(text).get("host")
    except Misfit:
        return ""
    return host if isinstance(host, str) else ""


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > NAMES_MAX:
        raise Misfit("names is not a short list")
    return tuple(_dns_name(entry) for entry in value)


def _dns_name(value: object) -> str:
    if not isinstance(value, str) or value != value.lower():
        raise Misfit("names holds what is no name in lower case")
    try:
        return parse_dns_name(value)
    except ValueError:
        raise Misfit("names holds what is no name in lower case") from None


def _subnets(value: object, *, is_overlay: bool) -> tuple[DesiredSubnet, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= SUBNETS_MAX:
        raise Misfit("subnets is not a short list")
    found = tuple(_subnet(entry) for entry in value)
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


def _subnet(entry: object) -> DesiredSubnet:
    if not isinstance(entry, dict):
        raise Misfit("a subnet is not an object")
    subnet = _pool(entry, "subnet")
    ip_range = None if entry.get("ip_range") is None else _pool(entry, "ip_range")
    if ip_range is not None and not (ip_range.version == subnet.version and _contains(subnet, ip_range)):
        raise Misfit("an ip_range lies outside its subnet")
    vni = entry.get("vni")
    if vni is not None and (type(vni) is not int or not 0 < vni <= _VNI_MAX):
        raise Misfit("a VNI is out of range")
    return DesiredSubnet(
        subnet=subnet,
        gateway=_inside(entry, "gateway", subnet),
        default_gateway=_inside(entry, "default_gateway", subnet),
        ip_range=ip_range,
        aux_addresses=_aux(entry.get("aux"), subnet),
        is_declared=_claim(entry, "declared"),
        is_gateway_declared=_claim(entry, "gateway_declared"),
        vni=vni,
    )


def _contains(subnet: IPNetwork, part: IPNetwork) -> bool:
    return part.network_address in subnet and part.prefixlen >= subnet.prefixlen


def _aux(value: object, subnet: IPNetwork) -> tuple[tuple[str, IPAddress], ...]:
    if not isinstance(value, dict) or len(value) > AUX_MAX:
        raise Misfit("aux is not a short mapping")
    if not all(0 < len(name) <= NAME_MAX and name.isprintable() for name in value):
        raise Misfit("aux has a name that is none")
    found = [(name, _inside(value, name, subnet)) for name in value]
    return tuple(sorted((name, address) for name, address in found if address is not None))


def _inside(fields: Mapping[str, object], key: str, subnet: IPNetwork) -> IPAddress | None:
    if fields.get(key) is None:
        return None
    address = _address(fields, key)
    if address not in subnet or is_reserved(address, subnet) or not _is_unicast(address):
        raise Misfit("an address of the network lies outside its subnet")
    return address


def _pool(fields: Mapping[str, object], key: str) -> IPNetwork:
    try:
        found = ip_network(_text(fields, key))
    except ValueError:
        raise Misfit(f"{key} is malformed") from None
    if unusable_part(found):
        raise Misfit(f"{key} is not a pool")
    return found


def _interface(fields: Mapping[str, object], key: str) -> IPInterface | None:
    if fields.get(key) is None:
        return None
    try:
        found = ip_interface(_text(fields, key))
    except ValueError:
        raise Misfit(f"{key} is not an address") from None
    if not _is_unicast(found.ip):
        raise Misfit(f"{key} is not an endpoint's address")
    return found


def _address(fields: Mapping[str, object], key: str) -> IPAddress:
    try:
        return ip_address(_text(fields, key))
    except ValueError:
        raise Misfit("an address is malformed") from None


def _vtep(address: IPAddress) -> IPAddress:
    is_class_e = isinstance(address, IPv4Address) and address.is_reserved
    if not _is_unicast(address) or is_class_e or (address.version == 6 and address.is_link_local):
        raise Misfit("address is none that a host can be reached at")
    return address


def _is_unicast(address: IPAddress) -> bool:
    return not (address.is_multicast or address.is_loopback or address.is_unspecified)


def _moment(fields: Mapping[str, object], key: str) -> str:
    """Give a moment that exists: no 31st of February."""
    value = _matching(fields, key, _MOMENT)
    try:
        seconds_since(value, value)
    except (ValueError, OverflowError):
        raise Misfit(f"{key} is malformed") from None
    return value


def _claim(fields: Mapping[str, object], key: str) -> bool:
    value = fields.get(key)
    if not isinstance(value, bool):
        raise Misfit(f"{key} is neither true nor false")
    return value


def _string(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise Misfit(f"{key} is not a string")
    return value


def _text(fields: Mapping[str, object], key: str) -> str:
    """Give the text of an address; one with a scope belongs to a link and is no choice of ours."""
    text = _string(fields, key)
    if "%" in text or len(text) > 64:
        raise Misfit("an address is malformed")
    return text


def _matching(fields: Mapping[str, object], key: str, pattern: re.Pattern[str]) -> str:
    value = _string(fields, key)
    if not pattern.match(value):
        raise Misfit(f"{key} is malformed")
    return value
