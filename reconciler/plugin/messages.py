"""The wire: what plugins are asked, and models of what they answer (docs/design/docker.md#plugins).

As the engine, written in Go, reads JSON: keys of any case, unknown ones passed over, null as good as absent. What is known
must be of its type and within bounds: an answer is input from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from reconciler.model.identifiers import LINK_NAME_MAX, is_link_name
from reconciler.model.objects import IPAddress, IPInterface, IPNetwork
from reconciler.model.subnets import is_unicast, unusable_part
from reconciler.records.faults import shown

_TEXT_MAX: Final = 4096
_ROUTES_MAX: Final = 1024
_ID_MAX: Final = 1024
_FAULTS_SHOWN: Final = 3

T = TypeVar("T")


class PluginReply(BaseModel):
    """An answer. error: by network plugins `Err`, by IPAM plugins `Error`."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, arbitrary_types_allowed=True, defer_build=True)

    error: Annotated[str, Field(alias="Err")] = ""
    ipam_error: Annotated[str, Field(alias="Error")] = ""

    @model_validator(mode="before")
    @classmethod
    def _as_go_reads_it(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        names = {field.alias.lower(): field.alias for field in cls.model_fields.values() if field.alias}
        known = ((names.get(str(key).lower()), value) for key, value in data.items())
        return {name: value for name, value in known if name is not None and value is not None}


def _parsed(parse: Callable[[str], T], expected: str) -> PlainValidator:
    """Make a check of a text that is empty or something; the message never repeats it."""

    def validate(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"expected {expected} as a string")
        if len(value) > _TEXT_MAX or "%" in value:
            raise ValueError(f"expected {expected}")
        try:
            return parse(value) if value else None
        except ValueError:
            raise ValueError(f"expected {expected}") from None

    return PlainValidator(validate)


def _unicast(address: IPAddress) -> IPAddress:
    if not is_unicast(address):
        raise ValueError
    return address


def _interface(version: int) -> Callable[[str], IPInterface]:
    def parse(text: str) -> IPInterface:
        found = ip_interface(text)
        _unicast(found.ip)
        if found.version != version or "/" not in text:
            raise ValueError
        return found

    return parse


def _address(version: int) -> Callable[[str], IPAddress]:
    def parse(text: str) -> IPAddress:
        found = _unicast(ip_address(text))
        if found.version != version:
            raise ValueError
        return found

    return parse


def _any_interface(text: str) -> IPInterface:
    return _interface(ip_interface(text).version)(text)


def _pool(text: str) -> IPNetwork:
    found = ip_network(text, strict=False)
    if "/" not in text or unusable_part(found):
        raise ValueError
    return found


def _mac(text: str) -> str:
    octets = bytes.fromhex(text.replace("-", ":").replace(":", ""))
    if len(octets) != 6 or len(text) != 17 or octets[0] & 1 or not any(octets):
        raise ValueError
    return octets.hex(":")


def _link_name(text: str) -> str:
    if not is_link_name(text):
        raise ValueError
    return text


def _link_prefix(text: str) -> str:
    if len(text) >= LINK_NAME_MAX or not is_link_name(text):
        raise ValueError
    return text


_Ipv4Cidr = Annotated[IPv4Interface | None, _parsed(_interface(4), "an IPv4 address with prefix length")]
_Ipv6Cidr = Annotated[IPv6Interface | None, _parsed(_interface(6), "an IPv6 address with prefix length")]
_Cidr = Annotated[IPInterface | None, _parsed(_any_interface, "an address with prefix length")]
_Ipv4 = Annotated[IPv4Address | None, _parsed(_address(4), "an IPv4 address")]
_Ipv6 = Annotated[IPv6Address | None, _parsed(_address(6), "an IPv6 address")]
_Address = Annotated[IPAddress | None, _parsed(lambda text: _unicast(ip_address(text)), "an address")]
_Network = Annotated[IPNetwork | None, _parsed(lambda text: ip_network(text, strict=False), "a network")]
_LinkPrefix = Annotated[str | None, _parsed(_link_prefix, "the beginning of a link name")]
_Mac = Annotated[str | None, _parsed(_mac, "a unicast MAC address")]
_LinkName = Annotated[str | None, _parsed(_link_name, "a link name")]


class ActivateReply(PluginReply):
    implements: Annotated[list[str], Field(alias="Implements", max_length=64)] = []


class CapabilitiesReply(PluginReply):
    scope: Annotated[str, Field(alias="Scope")] = ""
    connectivity_scope: Annotated[str, Field(alias="ConnectivityScope")] = ""
    is_gateway_checker: Annotated[bool, Field(alias="GwAllocChecker")] = False


class GwAllocCheckReply(PluginReply):
    is_ipv4_skipped: Annotated[bool, Field(alias="SkipIPv4")] = False
    is_ipv6_skipped: Annotated[bool, Field(alias="SkipIPv6")] = False


class EndpointInterface(PluginReply):
    ipv4: Annotated[_Ipv4Cidr, Field(alias="Address")] = None
    ipv6: Annotated[_Ipv6Cidr, Field(alias="AddressIPv6")] = None
    mac: Annotated[_Mac, Field(alias="MacAddress")] = None


class CreateEndpointReply(PluginReply):
    interface: Annotated[EndpointInterface, Field(alias="Interface", default_factory=EndpointInterface)]


class InterfaceName(PluginReply):
    src_name: Annotated[_LinkName, Field(alias="SrcName")] = None
    dst_prefix: Annotated[_LinkPrefix, Field(alias="DstPrefix")] = None
    dst_name: Annotated[_LinkName, Field(alias="DstName")] = None


def _route_type(value: object) -> object:
    if value not in (_VIA, _ON_LINK) or isinstance(value, bool):
        raise ValueError("expected 0 (by a next hop) or 1 (on link)")
    return value


_VIA: Final = 0
_ON_LINK: Final = 1


class RouteReply(PluginReply):
    destination: Annotated[_Network, Field(alias="Destination")] = None
    kind: Annotated[int, PlainValidator(_route_type), Field(alias="RouteType")] = _VIA
    next_hop: Annotated[_Address, Field(alias="NextHop")] = None

    @model_validator(mode="after")
    def _fits_together(self) -> RouteReply:
        if self.destination is None:
            raise ValueError("a static route without a destination")
        if self.kind == _VIA and (self.next_hop is None or self.next_hop.version != self.destination.version):
            raise ValueError("a static route without a next hop of its family")
        return self

    @property
    def is_on_link(self) -> bool:
        return self.kind == _ON_LINK


class JoinReply(PluginReply):
    interface_name: Annotated[InterfaceName, Field(alias="InterfaceName", default_factory=InterfaceName)]
    gateway_ipv4: Annotated[_Ipv4, Field(alias="Gateway")] = None
    gateway_ipv6: Annotated[_Ipv6, Field(alias="GatewayIPv6")] = None
    routes: Annotated[list[RouteReply], Field(alias="StaticRoutes", max_length=_ROUTES_MAX)] = []
    is_gateway_service_disabled: Annotated[bool, Field(alias="DisableGatewayService")] = False


class OperInfoReply(PluginReply):
    value: Annotated[dict[str, Any], Field(alias="Value", max_length=64)] = {}


class IpamCapabilitiesReply(PluginReply):
    needs_mac: Annotated[bool, Field(alias="RequiresMACAddress")] = False
    needs_replay: Annotated[bool, Field(alias="RequiresRequestReplay")] = False


class AddressSpacesReply(PluginReply):
    local: Annotated[str, Field(alias="LocalDefaultAddressSpace", max_length=_ID_MAX)] = ""
    global_: Annotated[str, Field(alias="GlobalDefaultAddressSpace", max_length=_ID_MAX)] = ""


class RequestPoolReply(PluginReply):
    pool_id: Annotated[str, Field(alias="PoolID", min_length=1, max_length=_ID_MAX)]
    pool: Annotated[IPNetwork, _parsed(_pool, "a network in CIDR notation"), Field(alias="Pool")]
    data: Annotated[dict[str, Any], Field(alias="Data", max_length=64)] = {}


class RequestAddressReply(PluginReply):
    address: Annotated[_Cidr, Field(alias="Address")] = None


class TlsConfig(PluginReply):
    is_insecure: Annotated[bool, Field(alias="InsecureSkipVerify")] = False
    ca_file: Annotated[str, Field(alias="CAFile")] = ""
    cert_file: Annotated[str, Field(alias="CertFile")] = ""
    key_file: Annotated[str, Field(alias="KeyFile")] = ""


class PluginSpec(PluginReply):
    """A .json file that says where a plugin is."""

    addr: Annotated[str, Field(alias="Addr")]
    tls: Annotated[TlsConfig | None, Field(alias="TLSConfig")] = None


def faults_of(error: ValidationError) -> str:
    """Return in one line what is wrong with an answer, without repeating any of it."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    told = (": ".join((".".join(map(str, fault["loc"])) or "answer", _plain(fault["msg"]))) for fault in found)
    return "; ".join(shown(text) for text, _ in zip(told, range(_FAULTS_SHOWN), strict=False))


def _plain(message: str) -> str:
    """Take off what pydantic puts before the messages of our own checks."""
    return message.removeprefix("Value error, ")
