"""How the kernel has keys and values of elements: the bytes that it compares packets with (nft_set_elem of nf_tables). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from reconciler.firewall.notation import PROTOCOLS, VALUE_SEPARATOR, NotationError
from reconciler.firewall.ruleset import SetSpec

_FAMILIES: Final = {"ipv4": 2, "ipv6": 10}
_VERDICTS: Final = {0: "drop", 1: "accept"}
"""NF_DROP and NF_ACCEPT of linux/netfilter.h."""


class _Type(NamedTuple):
    size: int
    pack: Callable[[str], bytes]
    unpack: Callable[[bytes], str]


def _numbered(names: dict[str, int]) -> _Type:
    by_number = {number: name for name, number in names.items()}
    return _Type(1, lambda part: bytes((names[part],)), lambda data: by_number[data[0]])


_IPV6: Final = _Type(16, lambda part: IPv6Address(part).packed, lambda data: str(IPv6Address(data)))
_TYPES: Final = {
    "ifname": _Type(16, lambda part: part.encode().ljust(16, b"\0"), lambda data: data.partition(b"\0")[0].decode()),
    "ether_addr": _Type(6, lambda part: bytes.fromhex(part.replace(":", "")), lambda data: data.hex(":")),
    "ipv4_addr": _Type(4, lambda part: IPv4Address(part).packed, lambda data: str(IPv4Address(data))),
    "ipv6_addr": _IPV6,
    "integer": _IPV6,
    "inet_proto": _numbered(PROTOCOLS),
    "inet_service": _Type(2, lambda part: int(part).to_bytes(2, "big"), lambda data: str(int.from_bytes(data, "big"))),
    "nf_proto": _numbered(_FAMILIES),
}


def packed_key(spec: SetSpec, key: Sequence[str]) -> bytes:
    """Write the key of an element; of several parts each is filled up to four bytes."""
    parts = [_TYPES[data_type].pack(part) for data_type, part in zip(spec.key, key, strict=True)]
    return parts[0] if len(parts) == 1 else b"".join(part + bytes(-len(part) % 4) for part in parts)


def read_value(spec: SetSpec, data: bytes, verdict: int | None) -> str:
    """Read what a map has for a key, "" for a set. Raises NotationError."""
    try:
        if spec.value == ("verdict",):
            return _VERDICTS[-1 if verdict is None else verdict]
        return VALUE_SEPARATOR.join(_unpacked(spec.value, data))
    except (LookupError, ValueError) as error:
        raise NotationError(f"not a value of {spec.name}: {data.hex()}") from error


def _unpacked(types: Sequence[str], data: bytes) -> list[str]:
    parts = []
    for found in (_TYPES[data_type] for data_type in types):
        parts.append(found.unpack(data[: found.size]))
        data = data[found.size + -found.size % 4 :]
    return parts
