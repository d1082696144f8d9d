"""`driver_opts` of macvlan and ipvlan networks: strings -> typed options (docs/design/docker.md#macvlan)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from reconciler.model.wanted import IpvlanFlag, IpvlanMode, IpvlanOptions, MacvlanMode, MacvlanOptions
from reconciler.spec.bridge_options import MTU_MAX, MTU_MIN, PREFIX, unknown_option
from reconciler.spec.document import shown
from reconciler.spec.fields import parse_link_name

PARENT: Final = "parent"
MTU: Final = f"{PREFIX}driver.mtu"
_LOOPBACK: Final = "lo"

OptionsT = TypeVar("OptionsT", MacvlanOptions, IpvlanOptions)
Word = TypeVar("Word", bound=StrEnum)
_Parsers = Mapping[str, tuple[str, Callable[[str], Any]]]
"""Option -> (field of the options, parser)."""


class ParsedSublinkOptions(Struct, Generic[OptionsT], frozen=True, kw_only=True):
    """faults: (option, message)."""

    options: OptionsT
    faults: tuple[tuple[str, str], ...] = ()


def _parent(driver: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text == _LOOPBACK:
            raise ValueError(f"loopback interface is not a valid {driver} parent link")
        return parse_link_name(text) if text else ""

    return parse


def _word(words: type[Word], what: str) -> Callable[[str], Word]:
    """Parse one of a few words; none at all means the first, which is the engine's default."""
    default, *_ = words

    def parse(text: str) -> Word:
        if text and text not in tuple(words):
            near = get_close_matches(text[:128], tuple(words), n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"expected {', '.join(words)}"
            raise ValueError(f"requested {what} {shown(text)} is not valid: {hint}")
        return words(text or default)

    return parse


def _mtu(text: str) -> int | None:
    if text in ("", "0"):
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or not MTU_MIN <= int(text) <= MTU_MAX:
        raise ValueError(f"{shown(text)} is no number from {MTU_MIN} to {MTU_MAX}")
    return int(text)


_MACVLAN: Final[_Parsers] = {
    PARENT: ("parent", _parent("macvlan")),
    "macvlan_mode": ("mode", _word(MacvlanMode, "macvlan mode")),
    MTU: ("mtu", _mtu),
}
_IPVLAN: Final[_Parsers] = {
    PARENT: ("parent", _parent("ipvlan")),
    "ipvlan_mode": ("mode", _word(IpvlanMode, "ipvlan mode")),
    "ipvlan_flag": ("flag", _word(IpvlanFlag, "ipvlan flag")),
    MTU: ("mtu", _mtu),
}

SUBLINK_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {"macvlan": tuple(_MACVLAN), "ipvlan": tuple(_IPVLAN)}


def macvlan_options(options: Mapping[str, str]) -> ParsedSublinkOptions[MacvlanOptions]:
    """Parse the options of one macvlan network; those that cannot be read keep their default."""
    values, faults = _parsed(options, _MACVLAN)
    return ParsedSublinkOptions(options=MacvlanOptions(**values), faults=faults)


def ipvlan_options(options: Mapping[str, str]) -> ParsedSublinkOptions[IpvlanOptions]:
    values, faults = _parsed(options, _IPVLAN)
    return ParsedSublinkOptions(options=IpvlanOptions(**values), faults=faults)


def _parsed(options: Mapping[str, str], parsers: _Parsers) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    values: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for option, text in options.items():
        if option not in parsers:
            faults += unknown_option(option, tuple(parsers))
            continue
        field, parse = parsers[option]
        try:
            values[field] = parse(text)
        except ValueError as error:
            faults.append((option, f"failed to parse {option} value: {error}"))
    return values, tuple(faults)
