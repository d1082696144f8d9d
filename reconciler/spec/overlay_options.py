"""`driver_opts` of an overlay network: strings -> typed options (docs/design/docker.md#overlay-networks)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from reconciler.model.identifiers import VNI_MAX
from reconciler.model.wanted import OverlayOptions
from reconciler.spec.bridge_options import MTU_MAX, PREFIX, SOURCE_VALIDATION, parse_bool, unknown_option
from reconciler.spec.document import shown

_ENCRYPTED: Final = "encrypted"
_MTU_MIN: Final = 576 + 70
"""What is left for the network's own packets when an IPv6 underlay takes 70 is what every host accepts (RFC 791, section 3.1)."""

_VNI_MIN: Final = 1
_VNIS_MAX: Final = 256
_PORT_MIN: Final = 1024
_PORT_MAX: Final = 49151
"""What the engine's `--data-path-port` takes."""


class ParsedOverlayOptions(Struct, frozen=True, kw_only=True):
    """faults: (option, message)."""

    options: OverlayOptions
    faults: tuple[tuple[str, str], ...] = ()


def _int(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ValueError(f"invalid {what} {shown(text)} passed: expected a number from {low} to {high}")
    return int(text)


def _mtu(text: str) -> int | None:
    return None if text in ("", "0") else _int(text, _MTU_MIN, MTU_MAX, "mtu")


def _vnis(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) > _VNIS_MAX:
        raise ValueError(f"{len(parts)} vxlan ids, more than the {_VNIS_MAX} subnets that a network may have")
    vnis = tuple(_int(part.strip(), _VNI_MIN, VNI_MAX, "vxlan id value") for part in parts)
    if len(set(vnis)) < len(vnis):
        raise ValueError("the same vxlan id twice: each subnet needs its own")
    return vnis


def _port(text: str) -> int:
    return _int(text, _PORT_MIN, _PORT_MAX, "port")


_PARSERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    f"{PREFIX}driver.mtu": ("underlay_mtu", _mtu),
    f"{PREFIX}driver.overlay.vxlanid_list": ("vnis", _vnis),
    f"{PREFIX}driver.overlay.port": ("port", _port),
    SOURCE_VALIDATION: ("is_source_validated", parse_bool),
}

_NO_ENCRYPTION: Final = (
    "encrypted overlay networks are refused, as the hosts have no way to share ESP keys: remove the option, "
    "and join the hosts by an encrypted underlay (WireGuard)"
)
"""The engine takes the mere presence of the option for yes, whatever its value."""


def overlay_options(options: Mapping[str, str], subnets: int | None = None) -> ParsedOverlayOptions:
    """Parse the options of one overlay network; those that cannot be read count as not given.

    subnets: how many are declared, None when they are yet to be chosen. Options that are not meant for this driver are
    other tools' business.
    """
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for option, text in options.items():
        if option == _ENCRYPTED:
            faults.append((option, _NO_ENCRYPTION))
        elif option in _PARSERS:
            field, parse = _PARSERS[option]
            try:
                values[field] = parse(text)
            except ValueError as error:
                faults.append((option, f"failed to parse {option} value: {error}"))
        else:
            faults += unknown_option(option, tuple(_PARSERS))
    given = len(values.get("vnis", ()))
    if given and subnets is not None and given != subnets:
        message = f"insufficient vnis({given}) passed to overlay: give one for each of the {subnets} subnets, or none"
        faults.append((f"{PREFIX}driver.overlay.vxlanid_list", message))
    return ParsedOverlayOptions(options=OverlayOptions(**values), faults=tuple(faults))
