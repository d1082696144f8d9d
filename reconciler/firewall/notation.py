"""How elements are written for nft's parser, and read from its JSON. One table of data types serves both directions.

Parts are plain strings: "docker0", "172.17.0.0/16", "tcp", "80", "ipv4", "accept". A value of several parts (a translated
address and port) is joined by " . ", as nft prints it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import Any, Final

from reconciler.errors import FirewallError
from reconciler.firewall.ruleset import SetSpec
from reconciler.model.identifiers import is_name
from reconciler.model.objects import CLUSTER_UNIT, HOST_UNIT, FirewallElement, Unit

COMMENT_MAX: Final = 128
"""NFTNL_UDATA_COMMENT_MAXLEN in libnftnl/udata.h."""

VALUE_SEPARATOR: Final = " . "


class NotationError(FirewallError):
    """A part is not what its data type asks for. Of those listed: not made by us."""


@contextmanager
def as_listed(what: str) -> Iterator[None]:
    """Raise FirewallError for what the body makes of a listing that has another form than nft's JSON (libnftables-json(5))."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as cause:
        raise FirewallError(f"nft lists {what} in a form that is not known ({type(cause).__name__})") from cause


# A link name of the kernel's, less what nft reads as an end of string or a wildcard; addresses are checked by nft itself.
_IFNAME = re.compile(r"[!#-)+-.0-\[\]-~]{1,15}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_ADDRESS = re.compile(r"[0-9a-f.:]{2,39}\Z")
_SUBNET = re.compile(r"[0-9a-f.:]{2,39}/[0-9]{1,3}\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_PROTOCOL_NAMES = {str(number): name for name, number in PROTOCOLS.items()} | {name: name for name in PROTOCOLS}
_FAMILY_NAMES = {"ipv4": "ipv4", "ipv6": "ipv6", "2": "ipv4", "10": "ipv6"}
_VERDICTS = ("accept", "drop")
_DIGEST_COMMENT = re.compile(r"~[0-9a-f]{64}\Z")
_HOST_LENGTHS = {"ipv4_addr": 32, "ipv6_addr": 128}


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def checked(part: str) -> str:
        if pattern.match(part) is None:
            raise NotationError(f"not a part of an nft element: {part!r}")
        return part

    return checked


def _found_in(table: Mapping[str, object]) -> Callable[[str], str]:
    def checked(part: str) -> str:
        if part not in table:
            raise NotationError(f"{part!r} is none of {', '.join(table)}")
        return str(table[part])

    return checked


def _address_number(part: str) -> str:
    """Write an IPv6 address as nft writes numbers."""
    try:
        return hex(int(IPv6Address(part)))
    except ValueError:
        raise NotationError(f"not a part of an nft element: {part!r}") from None


def _number_address(part: str) -> str:
    try:
        return str(IPv6Address(int(part, 0)))
    except ValueError:
        raise NotationError(f"not an IPv6 address: {part!r}") from None


_subnet_text, _ifname_text = _matching(_SUBNET), _matching(_IFNAME)

_WRITERS: Final[Mapping[str, Callable[[str], str]]] = {
    "ifname": lambda part: f'"{_ifname_text(part)}"',
    "ether_addr": _matching(_MAC),
    "ipv4_addr": _matching(_ADDRESS),
    "ipv6_addr": _matching(_ADDRESS),
    "integer": _address_number,
    "inet_proto": _found_in(PROTOCOLS),
    "inet_service": _matching(_PORT),
    "nf_proto": _found_in({"ipv4": "ipv4", "ipv6": "ipv6"}),
    "verdict": _found_in({verdict: verdict for verdict in _VERDICTS}),
}

_READERS: Final[Mapping[str, Callable[[str], str]]] = {
    "ifname": _ifname_text,
    "ether_addr": _matching(_MAC),
    "ipv4_addr": _matching(_ADDRESS),
    "ipv6_addr": _matching(_ADDRESS),
    "integer": _number_address,
    "inet_proto": _found_in(_PROTOCOL_NAMES),
    "inet_service": _matching(_PORT),
    "nf_proto": _found_in(_FAMILY_NAMES),
}


def key_text(spec: SetSpec, element: FirewallElement) -> str:
    """Write the key alone, as `delete element` takes it. Raises NotationError."""
    if len(element.element) != len(spec.key):
        raise NotationError(f"{spec.name} takes {len(spec.key)} parts, not {element.element!r}")
    return " . ".join(
        _subnet_text(part) if spec.is_interval and data_type in _HOST_LENGTHS else _WRITERS[data_type](part)
        for data_type, part in zip(spec.key, element.element, strict=True)
    )


def element_text(spec: SetSpec, element: FirewallElement) -> str:
    """Write the element with its unit as the comment and, in a map, its value. Raises NotationError."""
    comment = unit_comment(element.unit)
    written = f'{key_text(spec, element)} comment "{comment}"' if comment else key_text(spec, element)
    values = element.value.split(VALUE_SEPARATOR) if element.value else []
    if len(values) != len(spec.value):
        raise NotationError(f"{spec.name} maps to {len(spec.value)} parts, not {element.value!r}")
    if not values:
        return written
    value = " . ".join(_WRITERS[data_type](part) for data_type, part in zip(spec.value, values, strict=True))
    return f"{written} : {value}"


def read_element(spec: SetSpec, listed: Any) -> tuple[tuple[str, ...], str, str]:
    """Read one member of a listed set's `elem`: key parts, value and comment, "" for none of these. Raises NotationError."""
    key, data = listed if spec.value else (listed, None)
    comment = ""
    if isinstance(key, dict) and "elem" in key:
        if not key["elem"].keys() <= {"val", "comment"}:
            raise NotationError("an element with a timeout, counter or limit is not ours")
        comment, key = key["elem"].get("comment", ""), key["elem"]["val"]
    parts = tuple(map(_read_key_part, spec.key, _parts(spec.key, key), [spec.is_interval] * len(spec.key)))
    if not spec.value:
        return parts, "", comment
    if spec.value == ("verdict",):
        return parts, _read_verdict(data), comment
    values = map(_read_value_part, spec.value, _parts(spec.value, data))
    return parts, VALUE_SEPARATOR.join(values), comment


def _parts(types: tuple[str, ...], listed: Any) -> list[Any]:
    parts = listed["concat"] if isinstance(listed, dict) and "concat" in listed else [listed]
    if len(parts) != len(types):
        raise NotationError(f"{len(parts)} parts where {len(types)} were expected")
    return list(parts)


def _read_key_part(data_type: str, part: Any, is_interval: bool) -> str:
    if is_interval and data_type in _HOST_LENGTHS:
        return _read_subnet(data_type, part)
    return _read_value_part(data_type, part)


def _read_value_part(data_type: str, part: Any) -> str:
    if not isinstance(part, (str, int)):
        raise NotationError("a range or prefix where a single value was expected")
    return _READERS[data_type](str(part))


def _read_subnet(data_type: str, part: Any) -> str:
    if isinstance(part, str):
        return _subnet_text(f"{part}/{_HOST_LENGTHS[data_type]}")
    if not isinstance(part, dict) or "prefix" not in part:
        raise NotationError("a range where a subnet was expected")
    return _subnet_text(f"{part['prefix']['addr']}/{part['prefix']['len']}")


def _read_verdict(data: Any) -> str:
    if isinstance(data, dict) and len(data) == 1:
        verdict = next(iter(data))
        if verdict in _VERDICTS:
            return str(verdict)
    raise NotationError("a verdict other than accept or drop is not ours")


def unit_comment(unit: Unit) -> str:
    """Return what says whose an element is: `network`, `network/attachment`, `/attachment`, or "" for the host.

    Two long names do not fit into a comment: then it is a digest, which only who knows the unit can read (`digested`).
    """
    if unit == HOST_UNIT:
        return ""
    text = f"{unit.network}/{unit.attachment}" if unit.attachment else unit.network
    return text if len(text) <= COMMENT_MAX else _digest_comment(text)


def _digest_comment(text: str) -> str:
    return "~" + hashlib.sha256(text.encode()).hexdigest()


def comment_unit(comment: str, long_units: Mapping[str, Unit]) -> Unit:
    """Return the unit that `unit_comment` wrote; the host's for a comment that it did not write.

    long_units: of `digested`. A digest that is not among them stands as a network's name, so that it is written again as it was.
    """
    if comment.startswith("~"):
        unknown = Unit(network=comment) if _DIGEST_COMMENT.match(comment) else HOST_UNIT
        return long_units.get(comment, unknown)
    if comment == CLUSTER_UNIT.network:
        return CLUSTER_UNIT
    network, _, attachment = comment.partition("/")
    is_valid = all(not name or is_name(name) for name in (network, attachment))
    return Unit(network=network, attachment=attachment) if is_valid else HOST_UNIT


def digested(units: Iterable[Unit]) -> Mapping[str, Unit]:
    """Return those of `units` whose comment is a digest, by that comment."""
    long = (unit for unit in units if len(unit.network) + len(unit.attachment) + 1 > COMMENT_MAX)
    return {unit_comment(unit): unit for unit in long if unit.attachment}
