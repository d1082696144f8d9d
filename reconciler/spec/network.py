"""`networks:` of a spec file: Compose's words for a network (docs/design/docker.md#composes-words)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Annotated, Final

from msgspec.structs import replace
from pydantic import Field, PlainValidator, WithJsonSchema

from reconciler.model.adoption import Adopt
from reconciler.model.drivers import DRIVER_TRAITS, traits_of
from reconciler.model.holds import OnDrift
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.plugins import OWN_IPAM
from reconciler.model.subnets import is_reserved, reserved_as, usable_in_range
from reconciler.model.wanted import (
    BridgeOptions,
    GatewayMode,
    IpvlanOptions,
    MacvlanOptions,
    NetworkWanted,
    SubnetWanted,
)
from reconciler.spec.bridge_options import PREFIX, bridge_options, parse_bool
from reconciler.spec.document import Path, Tree, kind_of
from reconciler.spec.fields import Address, IpRange, Items, Labels, Name, ServedName, Subnet, Text, parse_served_name
from reconciler.spec.macvlan_options import MTU, ipvlan_options, macvlan_options
from reconciler.spec.overlay_options import overlay_options
from reconciler.spec.spec_model import SpecModel

Fault = tuple[Path, str]
"""Where below the entry, and what is wrong."""

_BRIDGE, _HOST, _NONE = BUILTIN_NETWORKS
_BUILTIN_DRIVERS: Final = {_BRIDGE: "bridge", _HOST: "host", _NONE: "null"}
_ALLOWED_ON_BRIDGE: Final = frozenset(
    ("allow_overlap", "driver", "driver_opts", "enable_ipv4", "enable_ipv6", "ipam", "labels", "onDrift")
)


SUBNETS_MAX: Final = 256
"""Of one network; each is compared with each."""


class SubnetSpec(SpecModel):
    subnet: Subnet = Field(description="CIDR, e.g. 172.28.0.0/16")
    ip_range: IpRange | None = Field(default=None, description="block that automatic addresses come from")
    gateway: Address | None = Field(default=None, description="address of the bridge; default the first usable one")
    aux_addresses: dict[str, Address] = Field(
        default={}, description="name -> address that is never given to an endpoint"
    )


class IpamSpec(SpecModel):
    driver: Name = Field(default="default", description="default, null or a plugin's name")
    config: Items[SubnetSpec] = Field(
        default=(), max_length=SUBNETS_MAX, description="at most one IPv4 and one IPv6 subnet on a bridge"
    )
    options: dict[str, Text] | None = Field(default=None, description="for the IPAM plugin, and shown by inspect")


def _parse_external(value: Tree) -> bool | str:
    """Return Compose's `true`, `false`, or the name out of its old form `{name: X}`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, dict) and value.keys() == {"name"}:
        return parse_served_name(value["name"])
    raise ValueError(f"expected true, false or {{name: NAME}}, got {kind_of(value)}")


External = Annotated[
    bool | str,
    PlainValidator(_parse_external),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "boolean"},
                {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


def _parse_on_drift(value: Tree) -> OnDrift:
    if isinstance(value, str) and value in tuple(OnDrift):
        return OnDrift(value)
    raise ValueError(f"expected correct, warn or ignore, got {kind_of(value)}")


DriftAnswer = Annotated[
    OnDrift, PlainValidator(_parse_on_drift), WithJsonSchema({"type": "string", "enum": [str(one) for one in OnDrift]})
]


def _parse_adopt(value: Tree) -> Adopt:
    if isinstance(value, bool):
        return Adopt.UNMANAGED if value else Adopt.NO
    if value == Adopt.EVEN_MANAGED.value:
        return Adopt.EVEN_MANAGED
    raise ValueError(f"expected true, false or managed, got {kind_of(value)}")


AdoptAnswer = Annotated[
    Adopt,
    PlainValidator(_parse_adopt),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [str(Adopt.EVEN_MANAGED)]}]}),
]


class NetworkSpec(SpecModel):
    name: ServedName | None = Field(default=None, description="real name, where it shall differ from the key")
    driver: Name = Field(default="bridge", description="bridge, overlay, macvlan, ipvlan or a plugin's name")
    driver_opts: dict[str, Text] = Field(
        default={}, description="options of the driver, e.g. com.docker.network.driver.mtu"
    )
    ipam: IpamSpec = Field(default=IpamSpec.model_construct(), description="subnets and addresses")
    internal: bool = Field(default=False, description="no way out of the network")
    enable_ipv4: bool | None = Field(default=None, description="default true")
    enable_ipv6: bool | None = Field(default=None, description="default false")
    attachable: bool = Field(default=False, description="shown by inspect, no more")
    external: External = Field(default=False, description="declared elsewhere; only join it")
    labels: Labels = Field(default=(), description="shown by inspect")
    protect: bool = Field(default=False, description="the network stays when it is no longer declared")
    allow_overlap: bool = Field(
        default=False, description="its subnets may cover routes and addresses that the host reaches elsewhere"
    )
    adopt: AdoptAnswer = Field(
        default=Adopt.NO,
        description="true: take over a bridge of others that has its name, and give it back; managed: any",
    )
    onDrift: DriftAnswer = Field(  # noqa: N815  # the key as users write it
        default=OnDrift.CORRECT, description="what to do about changes that others make: correct, warn or ignore"
    )

    def real_name(self, key: str) -> str:
        return self.external if isinstance(self.external, str) else self.name or key

    @property
    def is_external(self) -> bool:
        return self.external is not False

    def has_family(self, version: int) -> bool:
        """Return whether endpoints have addresses of IPv4 or IPv6: by the flag, else by the bridge driver's option of that name."""
        flag = self.enable_ipv4 if version == 4 else self.enable_ipv6
        option = self.driver_opts.get(f"{PREFIX}enable_ipv{version}") if self.driver == "bridge" else None
        if flag is None and option is not None:
            with suppress(ValueError):  # the driver says what is wrong with it
                return parse_bool(option)
        return version == 4 if flag is None else flag

    def used_subnets(self) -> tuple[tuple[int, SubnetSpec], ...]:
        """Return the subnets with their places; those of a family that the network has not are ignored, as engines do."""
        return tuple((at, each) for at, each in enumerate(self.ipam.config) if self.has_family(each.subnet.version))

    def is_builtin_reference(self, key: str) -> bool:
        """True for the Compose idiom that names a built-in network without configuring it."""
        return (
            self.is_external
            and self.real_name(key) in BUILTIN_NETWORKS
            and self.model_fields_set <= {"external", "name"}
        )


def builtin_networks() -> dict[str, NetworkWanted]:
    """Return the three networks that always exist, as they are without any configuration."""
    return {
        name: NetworkWanted(
            name=name,
            driver=driver,
            bridge=BridgeOptions(link_name="docker0") if name == _BRIDGE else None,
        )
        for name, driver in _BUILTIN_DRIVERS.items()
    }


def network_wanted(key: str, spec: NetworkSpec) -> tuple[NetworkWanted | None, list[Fault]]:
    """Check one network by itself and give its value; None when it has faults."""
    faults = [*_placement_faults(key, spec), *_ipam_faults(spec)]
    bridge, overlay, is_ipv4, is_ipv6 = None, None, spec.has_family(4), spec.has_family(6)
    name = spec.real_name(key)
    if spec.driver == "bridge" and not spec.is_external:
        parsed = bridge_options(dict(spec.driver_opts), is_default=name == _BRIDGE, is_internal=spec.internal)
        bridge = parsed.options if spec.adopt is Adopt.NO else _open_to_others(parsed.options, spec.driver_opts)
        faults += [(("driver_opts", option), message) for option, message in parsed.faults]
        faults += _disagreements(spec, parsed.enable_ipv4, parsed.enable_ipv6)
        faults += _bridge_faults(spec, bridge, is_ipv4=is_ipv4, is_ipv6=is_ipv6)
    if spec.driver == "overlay":
        declared = overlay_options(dict(spec.driver_opts), len(spec.used_subnets()) or None)
        overlay = declared.options
        faults += [(("driver_opts", option), message) for option, message in declared.faults]
        faults += _overlay_faults(spec, is_ipv4=is_ipv4, is_ipv6=is_ipv6)
    faults += _adopt_faults(spec, bridge)
    macvlan, ipvlan, sublink_faults = _sublink(spec)
    faults += sublink_faults
    if faults:
        return None, faults
    return (
        NetworkWanted(
            name=name,
            driver=_BUILTIN_DRIVERS.get(name, spec.driver),
            options=tuple(sorted(spec.driver_opts.items())),
            bridge=bridge,
            overlay=overlay,
            macvlan=macvlan,
            ipvlan=ipvlan,
            ipam_driver=spec.ipam.driver,
            ipam_options=_ipam_options(name, spec.ipam),
            subnets=tuple(_subnet_wanted(entry) for _, entry in spec.used_subnets()),
            is_internal=spec.internal,
            is_ipv4_enabled=is_ipv4,
            is_ipv6_enabled=is_ipv6,
            is_attachable=spec.attachable,
            is_external=spec.is_external,
            is_protected=spec.protect,
            is_overlap_allowed=spec.allow_overlap,
            adopt=spec.adopt,
            on_drift=spec.onDrift,
            labels=spec.labels,
        ),
        [],
    )


def _ipam_options(name: str, ipam: IpamSpec) -> tuple[tuple[str, str], ...] | None:
    if ipam.options is None:
        return None if name in BUILTIN_NETWORKS else ()
    return tuple(sorted(ipam.options.items()))


def _subnet_wanted(entry: SubnetSpec) -> SubnetWanted:
    return SubnetWanted(
        subnet=entry.subnet,
        ip_range=entry.ip_range,
        gateway=entry.gateway,
        aux_addresses=tuple(sorted(entry.aux_addresses.items())),
    )


def _placement_faults(key: str, spec: NetworkSpec) -> Iterator[Fault]:
    """Check what a network of this name and driver may be given at all."""
    name, given = spec.real_name(key), spec.model_fields_set
    if spec.is_external:
        if isinstance(spec.external, str) and spec.name:
            yield ("name",), "'name' is given twice: here and below 'external'"
        for other in sorted(given - {"external", "name"}):
            yield (other,), f"'{other}' cannot stand beside 'external': the network is declared elsewhere"
        return
    if name in BUILTIN_NETWORKS and name != key:
        yield ("name",), f"operation is not permitted on predefined {name} network: choose another name"
        return
    if name in BUILTIN_NETWORKS:
        allowed = _ALLOWED_ON_BRIDGE if name == _BRIDGE else frozenset(("labels",))
        for other in sorted(given - allowed - {"name"}):
            yield (other,), f"'{other}' cannot be set: operation is not permitted on predefined {name} network"
        if name == _BRIDGE and spec.driver != "bridge":
            yield ("driver",), "the network bridge is pre-defined: its driver is bridge"
        return
    if traits_of(spec.driver).is_plugin and (meant := _own_driver_like(spec.driver)):
        yield ("driver",), f"unknown driver '{spec.driver}': did you mean '{meant}'?"
    if traits_of(spec.driver).is_predefined:
        single = "host" if spec.driver == "host" else "null"
        yield ("driver",), f'only one instance of "{single}" network is allowed: use the pre-defined network instead'


def _own_driver_like(name: str) -> str:
    """Return the driver of ours that a name is a slip of the pen of, "" for none: every other name may be a plugin's."""
    near = get_close_matches(name.lower(), DRIVER_TRAITS, n=1, cutoff=0.8) if name.isalpha() else []
    return near[0] if near else ""


def _disagreements(spec: NetworkSpec, option_ipv4: bool | None, option_ipv6: bool | None) -> Iterator[Fault]:
    """Compare the flags with the option form of the same."""
    for field, flag, option in (
        ("enable_ipv4", spec.enable_ipv4, option_ipv4),
        ("enable_ipv6", spec.enable_ipv6, option_ipv6),
    ):
        if flag is not None and option is not None and flag != option:
            yield (field,), f"'{field}' and driver option com.docker.network.{field} contradict each other"


def _bridge_faults(spec: NetworkSpec, bridge: BridgeOptions, *, is_ipv4: bool, is_ipv6: bool) -> Iterator[Fault]:
    yield from _addressing_faults(spec, bridge.mtu, is_ipv4=is_ipv4, is_ipv6=is_ipv6)
    seen: dict[int, IPNetwork] = {}
    for index, entry in spec.used_subnets():
        at, subnet = ("ipam", "config", index, "subnet"), entry.subnet
        if subnet.version in seen:
            yield (
                at,
                (f"bridge driver doesn't support multiple subnets: {subnet} beside {seen[subnet.version]}"),
            )
        seen.setdefault(subnet.version, subnet)


def _open_to_others(options: BridgeOptions, given: Mapping[str, str]) -> BridgeOptions:
    """Have what others have on a bridge reached as before it was adopted, where the specs do not say otherwise."""
    open_, option = GatewayMode.NAT_UNPROTECTED, f"{PREFIX}bridge.gateway_mode_ipv"
    return replace(
        options,
        gateway_mode_ipv4=options.gateway_mode_ipv4 if f"{option}4" in given else open_,
        gateway_mode_ipv6=options.gateway_mode_ipv6 if f"{option}6" in given else open_,
    )


def _adopt_faults(spec: NetworkSpec, bridge: BridgeOptions | None) -> Iterator[Fault]:
    if spec.adopt is Adopt.NO or spec.is_external:
        return
    if bridge is None:
        yield ("adopt",), f"only networks of driver bridge take over a bridge, not those of {spec.driver}"
    elif bridge.link_name is None:
        yield (
            ("adopt",),
            "which bridge to take over is not said: name it by driver option com.docker.network.bridge.name",
        )
    elif spec.internal:
        yield ("adopt",), "an internal network would cut off what others have on the bridge: use a bridge of its own"


def _overlay_faults(spec: NetworkSpec, *, is_ipv4: bool, is_ipv6: bool) -> Iterator[Fault]:
    yield from _addressing_faults(spec, None, is_ipv4=is_ipv4, is_ipv6=is_ipv6)
    if spec.ipam.driver not in OWN_IPAM:
        yield ("ipam", "driver"), "the addresses of an overlay network are shared by hosts: its ipam driver is default"
    versions = [entry.subnet.version for _, entry in spec.used_subnets()]
    if len(versions) > 2 and len(set(versions)) > 1:
        yield (
            ("ipam", "config"),
            "an overlay network has several subnets of one family, or one IPv4 and one IPv6 subnet: declare two networks",
        )


def _addressing_faults(spec: NetworkSpec, mtu: int | None, *, is_ipv4: bool, is_ipv6: bool) -> Iterator[Fault]:
    """Check what all drivers ask for that give addresses. mtu: of the endpoints' packets, None where it is not given."""
    if not is_ipv4 and not is_ipv6:
        yield ("enable_ipv4",), "IPv4 or IPv6 must be enabled"
    if spec.ipam.driver == "null":
        yield (
            ("ipam", "driver"),
            f"ipv4 pool is empty: the {spec.driver} driver needs addresses, which ipam driver null does not give",
        )
    if is_ipv6 and mtu is not None and mtu < IPV6_MTU_MIN:
        yield ("driver_opts", MTU), f"MTU {mtu} is too small for IPv6, which needs {IPV6_MTU_MIN}"


def _sublink(spec: NetworkSpec) -> tuple[MacvlanOptions | None, IpvlanOptions | None, list[Fault]]:
    """Read the options of a macvlan or ipvlan network."""
    if not traits_of(spec.driver).has_parent or spec.is_external:
        return None, None, []
    parse = macvlan_options if spec.driver == "macvlan" else ipvlan_options
    parsed = parse(dict(spec.driver_opts))
    faults: list[Fault] = [(("driver_opts", option), message) for option, message in parsed.faults]
    faults += _addressing_faults(spec, parsed.options.mtu, is_ipv4=spec.has_family(4), is_ipv6=spec.has_family(6))
    if isinstance(parsed.options, MacvlanOptions):
        return parsed.options, None, faults
    return None, parsed.options, faults


IPV6_MTU_MIN: Final = 1280
"""RFC 8200, section 5."""


def _ipam_faults(spec: NetworkSpec) -> Iterator[Fault]:
    if spec.ipam.driver == "null" and spec.ipam.config:
        yield ("ipam", "config"), "null ipam driver does not handle specific address pool requests: remove the subnets"
    for index, entry in enumerate(spec.ipam.config):
        at: Path = ("ipam", "config", index)
        for steps, message in _subnet_faults(entry):
            yield (*at, *steps), message
        for earlier in spec.ipam.config[:index]:
            if entry.subnet.version == earlier.subnet.version and entry.subnet.overlaps(earlier.subnet):
                yield (
                    (*at, "subnet"),
                    f"multiple overlapping subnet configuration is not supported: {entry.subnet}, {earlier.subnet}",
                )


def _subnet_faults(entry: SubnetSpec) -> Iterator[Fault]:
    """Check range, gateway and auxiliary addresses; the texts are the engine's (docs/design/docker.md#subnets)."""
    subnet = entry.subnet
    if entry.ip_range is not None:
        yield from ((("ip_range",), message) for message in _range_faults(entry.ip_range, subnet))
    taken: dict[IPAddress, str] = {}
    addresses: list[tuple[Path, str, IPAddress]] = [
        (("aux_addresses", name), f"auxiliary address {name}", address) for name, address in entry.aux_addresses.items()
    ]
    if entry.gateway is not None:
        addresses.insert(0, (("gateway",), f"gateway {entry.gateway}", entry.gateway))
    for path, what, address in addresses:
        if address not in subnet:
            yield path, f"invalid {what}: parent subnet {subnet} doesn't contain this address"
        elif is_reserved(address, subnet):
            yield path, f"invalid {what}: {address} is the {reserved_as(address, subnet)} of {subnet}"
        elif address in taken:
            yield path, f"invalid {what}: Address already in use: {address} is {taken[address]}"
        taken.setdefault(address, what)


def _range_faults(ip_range: IPNetwork, subnet: IPNetwork) -> Iterator[str]:
    if ip_range.version != subnet.version:
        yield f"invalid ip-range {ip_range}: parent subnet is an IPv{subnet.version} block"
    elif ip_range.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {ip_range}: CIDR block is bigger than its parent subnet {subnet}"
    elif ip_range.network_address not in subnet:
        yield f"invalid ip-range {ip_range}: parent subnet {subnet} doesn't contain ip-range"
    else:
        first, last = usable_in_range(subnet, ip_range)
        if first > last:
            yield f"invalid ip-range {ip_range}: it holds only the {reserved_as(ip_range[0], subnet)} of {subnet}"
