"""`driver_opts` of a bridge network and of its endpoints: strings -> typed options (docs/design/docker.md#bridge-options)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from msgspec import Struct

from reconciler.model.identifiers import LINK_NAME_MAX, is_own_parent_name
from reconciler.model.wanted import BridgeOptions, GatewayMode
from reconciler.spec.document import FAULTS_MAX, shown
from reconciler.spec.fields import parse_address, parse_ipv4, parse_ipv6, parse_link_name

PREFIX: Final = "com.docker.network."

OWN_PREFIX: Final = "com.network-reconciler."
"""Of options that the engine does not have."""

SOURCE_VALIDATION: Final = f"{OWN_PREFIX}source_validation"

_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
MTU_MIN: Final = 68
"""RFC 791: every link carries 68 bytes; also the kernel's ETH_MIN_MTU."""
MTU_MAX: Final = 65535
"""ETH_MAX_MTU of linux/if_ether.h."""
_DIGITS_KEPT: Final = 3
"""Room that container_iface_prefix leaves for the interface's number."""


class ParsedOptions(Struct, frozen=True, kw_only=True):
    """enable_ipv4/6: the option form of the network's flags, None when not given. faults: (option, message)."""

    options: BridgeOptions
    enable_ipv4: bool | None = None
    enable_ipv6: bool | None = None
    faults: tuple[tuple[str, str], ...] = ()


def parse_bool(text: str) -> bool:
    """Parse what Go's strconv.ParseBool takes."""
    if text not in _TRUE and text not in _FALSE:
        raise ValueError(f"{shown(text)} is neither true nor false")
    return text in _TRUE


def _int(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ValueError(f"{shown(text)} is no number from {low} to {high}")
    return int(text)


def _mtu(text: str) -> int | None:
    return None if text in ("", "0") else _int(text, MTU_MIN, MTU_MAX)


def _gateway_mode(text: str) -> GatewayMode:
    try:
        return GatewayMode(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is none of {', '.join(GatewayMode)}") from None


def _iface_prefix(text: str) -> str:
    if len(text) > LINK_NAME_MAX - _DIGITS_KEPT:
        raise ValueError(
            f"{shown(text)} is too long: at most {LINK_NAME_MAX - _DIGITS_KEPT} characters, a number follows"
        )
    parse_link_name(f"{text}0")
    return text


def _bridge_name(text: str) -> str:
    if is_own_parent_name(text):
        raise ValueError(
            f"{shown(text)} is how links below macvlan and ipvlan networks are called: choose another name"
        )
    return parse_link_name(text)


def _links(text: str) -> tuple[str, ...]:
    return tuple(parse_link_name(name) for name in text.split(":") if name)


_DOCKERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "bridge.name": ("link_name", _bridge_name),
    "bridge.enable_ip_masquerade": ("is_masquerade_enabled", parse_bool),
    "bridge.enable_icc": ("is_icc_enabled", parse_bool),
    "bridge.host_binding_ipv4": ("host_binding", parse_address),
    "bridge.default_bridge": ("", parse_bool),
    "bridge.gateway_mode_ipv4": ("gateway_mode_ipv4", _gateway_mode),
    "bridge.gateway_mode_ipv6": ("gateway_mode_ipv6", _gateway_mode),
    "bridge.inhibit_ipv4": ("is_ipv4_inhibited", parse_bool),
    "bridge.trusted_host_interfaces": ("trusted_host_interfaces", _links),
    "driver.mtu": ("mtu", _mtu),
    "container_iface_prefix": ("container_iface_prefix", _iface_prefix),
    "host_ipv4": ("host_ipv4", parse_ipv4),
    "host_ipv6": ("host_ipv6", parse_ipv6),
    "enable_ipv4": ("", parse_bool),
    "enable_ipv6": ("", parse_bool),
    "advertise_addr_nmsgs": ("", lambda text: _int(text, 0, 3)),
    "advertise_addr_ms": ("", lambda text: _int(text, 100, 2000)),
}
_PARSERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    **{PREFIX + name: parser for name, parser in _DOCKERS.items()},
    SOURCE_VALIDATION: ("is_source_validated", parse_bool),
}
"""Option -> (field of BridgeOptions or "" for none, parser)."""

BRIDGE_OPTIONS: Final = tuple(_PARSERS)


def bridge_options(options: Mapping[str, str], *, is_default: bool, is_internal: bool) -> ParsedOptions:
    """Parse the options of one bridge network; those without a value that can be read keep their default.

    Options that are not meant for this driver are other tools' business: they are shown by inspect and otherwise ignored.
    """
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for option, text in options.items():
        if option not in _PARSERS:
            faults += unknown_option(option, BRIDGE_OPTIONS if len(faults) < FAULTS_MAX else ())
            continue
        try:
            values[option] = _PARSERS[option][1](text)
        except ValueError as error:
            faults.append((option, f"failed to parse {option} value: {error}"))
    faults += _contradictions(values, is_default=is_default, is_internal=is_internal)
    fields = {_PARSERS[name][0]: value for name, value in values.items() if _PARSERS[name][0]}
    if is_default:
        fields.setdefault("link_name", "docker0")
    return ParsedOptions(
        options=BridgeOptions(**fields),
        enable_ipv4=values.get(f"{PREFIX}enable_ipv4"),
        enable_ipv6=values.get(f"{PREFIX}enable_ipv6"),
        faults=tuple(faults),
    )


def _contradictions(values: Mapping[str, Any], *, is_default: bool, is_internal: bool) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    option = f"{PREFIX}bridge.default_bridge"
    if values.get(option, is_default) != is_default:
        faults.append((option, f"{option} marks the pre-defined network bridge and no other: remove it"))
    for option in (f"{PREFIX}bridge.gateway_mode_ipv4", f"{PREFIX}bridge.gateway_mode_ipv6"):
        if values.get(option) is GatewayMode.ISOLATED and not is_internal:
            faults.append((option, "gateway mode 'isolated' can only be used for an internal network"))
    return faults


def unknown_option(option: str, known: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the fault of an option that a driver does not have: (option, message).

    None when it does not look like one of those: what other tools make of it is not ours to judge.
    """
    meant = next((name for name in known if name.rpartition(".")[2] == option), None)
    near = [meant] if meant else get_close_matches(option[:128], known, n=1, cutoff=0.7)
    if not near and not option.startswith((PREFIX, OWN_PREFIX)):
        return []
    return [(option, f"unknown driver option {shown(option)}" + (f": did you mean '{near[0]}'?" if near else ""))]


_IFNAME: Final = f"{PREFIX}endpoint.ifname"
_SYSCTLS: Final = f"{PREFIX}endpoint.sysctls"
_SYSCTL_MAX: Final = 100
"""Characters of a setting's name, less than of others, as IFNAME becomes a longer one."""
_ENDPOINT_SYSCTL: Final = re.compile(r"net\.(ipv4|ipv6|mpls)\.[a-z0-9_]+\.IFNAME(?:\.[a-z0-9_]+)+=[!-+\--<>-~]+\Z")


def endpoint_ifname(options: Mapping[str, str]) -> str | None:
    """Return the interface name out of an endpoint's driver options. Raises ValueError."""
    return parse_link_name(options[_IFNAME]) if _IFNAME in options else None


def endpoint_option_faults(options: Mapping[str, str]) -> list[tuple[str, str]]:
    """Check the driver options of an endpoint on a bridge network: (option, message)."""
    faults: list[tuple[str, str]] = []
    for option, text in options.items():
        if option == _IFNAME:
            faults += [(option, message) for message in _refusal(parse_link_name, text)]
        elif option == _SYSCTLS:
            wrong = [one for one in text.split(",") if not _ENDPOINT_SYSCTL.match(one) or one.index("=") > _SYSCTL_MAX]
            faults += [(option, f"{shown(part)}: expected net.ipv4|ipv6|mpls.X.IFNAME.Y=VALUE") for part in wrong[:1]]
        else:
            faults += unknown_option(option, (_IFNAME, _SYSCTLS))
    return faults


def _refusal(parse: Callable[[str], object], text: str) -> list[str]:
    try:
        parse(text)
    except ValueError as error:
        return [str(error)]
    return []
