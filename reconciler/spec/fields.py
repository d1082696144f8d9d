"""The kinds of values that specs hold: text -> checked value, each with its JSON Schema.

A parser takes what YAML gave and returns the value or raises ValueError with a sentence for the person who typed it.
`At` says where inside a value that a single parser handles (a list of `k=v`) the fault is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import quote

from msgspec import Struct
from pydantic import BeforeValidator, GetJsonSchemaHandler, PlainValidator, Strict, WithJsonSchema
from pydantic_core import CoreSchema

from reconciler.model.identifiers import LINK_NAME_MAX, NAME_MAX, is_link_name, is_name
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.model.subnets import unusable_part
from reconciler.model.wanted import Pairs
from reconciler.spec.document import Tree, kind_of, shown

_HOST_LABEL: Final = r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_HOSTNAME: Final = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\Z")
_DNS_NAME: Final = re.compile(r"[a-zA-Z0-9_](?:[a-zA-Z0-9_.-]*[a-zA-Z0-9_])?\.?\Z")
_MAC: Final = re.compile(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}\Z")
_SYSCTL: Final = re.compile(r"net(?:[./][a-zA-Z0-9_@-]+)+\Z")
_SYSCTL_VALUE: Final = re.compile(r"[!-~]+(?: [!-~]+)*\Z")
_COMMANDS: Final = ("net.ipv4.route.flush", "net.ipv6.route.flush")
"""What is below /proc/sys and cannot be read: writing it does something, once."""
_DNS_OPTION: Final = re.compile(r"[a-z][a-z0-9-]*(?::[0-9]{1,5})?\Z")
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")
_HOST_PATTERN: Final = re.compile(r"[a-zA-Z0-9_.*?\[\]!-]{1,253}\Z")

_GLOB: Final = frozenset("*?[")
HOSTNAME_MAX: Final = 253
"""Characters of a full domain name without its last dot (RFC 1035, section 2.3.4)."""
_PATH_MAX: Final = 200
_SYSCTL_MAX: Final = 128
"""Characters of a setting's name, and of a path as it stands in the name of a record: both together must fit into one key."""
_SYSCTL_VALUE_MAX: Final = 4000
"""Characters; the kernel reads a page at most."""
_LABEL_MAX: Final = 63
PROTOCOLS: Final = ("tcp", "udp", "sctp")


class At(ValueError):
    """A fault at `path` below the value that was being parsed."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def parse_text(value: Tree) -> str:
    """Return a scalar as Compose writes it into a map of strings."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    raise ValueError(f"expected text, got {kind_of(value)}")


def parse_line(value: Tree) -> str:
    """Return text that has no control characters: it ends up in files and kernel settings, one per line."""
    text = parse_text(value)
    if not all(character.isprintable() or character == "\t" for character in text):
        raise ValueError("control characters and line breaks are not allowed here")
    return text


def parse_name(value: Tree) -> str:
    text = parse_text(value)
    if not is_name(text):
        raise ValueError(
            f"{shown(text)} is no name: it begins with a letter or digit, goes on with letters, digits, '_', '.' and '-', "
            f"and has at most {NAME_MAX} characters"
        )
    return text


def parse_served_name(value: Tree) -> str:
    """Return a name that networks and attachments have: it is looked up as well, label by label."""
    text = parse_name(value)
    if not _has_labels(text):
        raise ValueError(
            f"{shown(text)} could never be looked up: a name has 1 to {_LABEL_MAX} characters between its dots (RFC 1035)"
        )
    return text


def _has_labels(name: str) -> bool:
    return all(0 < len(label) <= _LABEL_MAX for label in name.split("."))


def parse_link_name(value: Tree) -> str:
    text = parse_text(value)
    if len(text) > LINK_NAME_MAX:
        raise ValueError(
            f"{shown(text)} is too long for a link: {len(text)} characters, the kernel takes {LINK_NAME_MAX}"
        )
    if not is_link_name(text) or text in ("all", "default", "lo") or text.startswith("-"):
        raise ValueError(
            f"{shown(text)} is no link name: letters, digits, '_', '.' and '-'; not 'lo', 'all' or 'default'"
        )
    return text


def parse_address(value: Tree) -> IPAddress:
    text = parse_text(value)
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is no IP address") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError(f"{shown(text)}: an address without a zone is expected")
    return address


def parse_nameserver(value: Tree) -> IPAddress:
    """Return an address that queries can be sent to from inside the sandbox; a link-local one of IPv6 needs the link there."""
    text = parse_text(value)
    bare, mark, zone = text.partition("%")
    address = parse_address(bare)
    if not isinstance(address, IPv6Address) or not address.is_link_local:
        return parse_address(text)
    if not mark:
        raise ValueError(f"{address} is a link-local address: name the sandbox's interface too, as in {address}%eth0")
    if not is_link_name(zone):
        raise ValueError(f"{shown(text)}: '{zone}' is no link name, expected something like {address}%eth0")
    return IPv6Address(text)


def parse_ipv4(value: Tree) -> IPv4Address:
    address = parse_address(value)
    if not isinstance(address, IPv4Address):
        raise ValueError(f"{address} is an IPv6 address, an IPv4 address is expected here")
    return address


def parse_ipv6(value: Tree) -> IPv6Address:
    address = parse_address(value)
    if not isinstance(address, IPv6Address):
        raise ValueError(f"{address} is an IPv4 address, an IPv6 address is expected here")
    return address


def parse_subnet(value: Tree) -> IPNetwork:
    subnet = _network(parse_text(value), "subnet", "invalid address pool")
    unusable = unusable_part(subnet)
    if unusable:
        raise ValueError(f"invalid subnet {subnet}: networks cannot use this block: {unusable}")
    return subnet


def parse_ip_range(value: Tree) -> IPNetwork:
    return _network(parse_text(value), "ip-range", "invalid address sub-pool")


def _network(text: str, what: str, refusal: str) -> IPNetwork:
    """Parse CIDR; the texts are the engine's (docs/design/docker.md#subnets)."""
    if "/" not in text:
        raise ValueError(f"{refusal}: {shown(text)} has no prefix length, expected something like 172.28.0.0/16")
    try:
        if not text.rpartition("/")[2].isdecimal() or "%" in text:
            raise ValueError
        loose = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{refusal}: {shown(text)} is no CIDR block") from None
    if ip_address(text.partition("/")[0]) != loose.network_address:
        raise ValueError(f"invalid {what} {text}: it should be {loose}")
    return loose


def parse_mac(value: Tree) -> str:
    text = parse_text(value)
    if not _MAC.match(text):
        raise ValueError(f"{shown(text)} is no MAC address: expected something like 02:42:ac:11:00:02")
    mac = text.lower().replace("-", ":")
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{mac} is a multicast address: the first byte of an interface's MAC address is even")
    if mac == "00:00:00:00:00:00":
        raise ValueError("an interface cannot have the all-zero MAC address")
    return mac


def parse_hostname(value: Tree) -> str:
    text = parse_text(value)
    if len(text) > HOSTNAME_MAX or not _HOSTNAME.match(text):
        raise ValueError(
            f"{shown(text)} is no host name: dot-separated parts of letters, digits, '_' and inner '-', "
            f"each at most {_LABEL_MAX}"
        )
    return text


def parse_dns_name(value: Tree) -> str:
    """Return a name that others may look up; underscores are common in practice."""
    text = parse_text(value)
    is_name = len(text) <= HOSTNAME_MAX and _DNS_NAME.match(text) and _has_labels(text.removesuffix("."))
    if not is_name:
        raise ValueError(
            f"{shown(text)} is no name that can be looked up: letters, digits, '-' and '_' are expected, at most {_LABEL_MAX} "
            f"between dots and {HOSTNAME_MAX} in all"
        )
    return text


def parse_alias(value: Tree) -> str:
    """Return a name that one answers to; names are compared without the dot that ends a question's."""
    text = parse_dns_name(value)
    if text.endswith("."):
        raise ValueError(f"{shown(text)} ends with a dot: leave it out")
    return text


def parse_search_domain(value: Tree) -> str:
    return "." if value == "." else parse_dns_name(value)


def parse_dns_option(value: Tree) -> str:
    text = parse_text(value)
    if not _DNS_OPTION.match(text):
        raise ValueError(f"{shown(text)} is no resolver option: expected something like 'ndots:2' (resolv.conf(5))")
    return text


def parse_host_pattern(value: Tree) -> str:
    text = parse_text(value)
    if not _HOST_PATTERN.match(text):
        raise ValueError(f"{shown(text)} is no host name or glob such as 'web-*'")
    return text


def parse_absolute_path(value: Tree) -> str:
    text = parse_line(value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"{shown(text)}: an absolute path without '..' is expected")
    if len(quote(text, safe="")) > _PATH_MAX:
        raise ValueError(
            f"{shown(text)}: the path is too long: at most {_PATH_MAX} characters, of which '/' counts three"
        )
    return text


def parse_netns(value: Tree) -> str:
    text = parse_text(value)
    return parse_absolute_path(value) if text.startswith("/") else parse_name(value)


def parse_port_range(text: str) -> tuple[int, int]:
    match = _PORTS.match(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 0 < first <= last <= 65535:
        raise ValueError(f"{shown(text)} is no port or range: 1 to 65535, the lower end first")
    return first, last


def parse_expose(value: Tree) -> tuple[int, int, str]:
    ports, slash, protocol = parse_text(value).partition("/")
    return (*parse_port_range(ports), parse_protocol(protocol) if slash else "tcp")


def parse_protocol(value: Tree) -> str:
    text = parse_text(value).lower()
    if text not in PROTOCOLS:
        raise ValueError(f"{shown(text)} is no protocol: expected {', '.join(PROTOCOLS)}")
    return text


def parse_link(value: Tree) -> tuple[str, str]:
    target, colon, alias = parse_text(value).partition(":")
    return parse_name(target), parse_alias(alias) if colon else target


def parse_pairs(value: Tree) -> Pairs:
    """Return a map, or a list of `key=value` and `key`, as pairs."""
    return tuple(sorted(_collect(_entries(value, "=", is_value_needed=False), lambda key, text: (key, text))))


def parse_sysctls(value: Tree) -> Pairs:
    return tuple(sorted(_collect(_entries(value, "=", is_value_needed=True), _sysctl)))


def parse_extra_hosts(value: Tree) -> Pairs:
    """Return `name=address`, `name:address` or a map; the address may be in brackets or the word host-gateway.

    A list stays in its order, which is that of the lines in the hosts file; a map has none, so its names are sorted.
    """
    if not isinstance(value, dict):
        return _collect(_entries(value, "=:", is_value_needed=True), _extra_host, is_repeatable=True)
    listed: list[_PairEntry] = [
        (name, name, text)
        for name, texts in sorted(value.items(), key=lambda item: str(item[0]))
        for text in (texts if isinstance(texts, list) else [texts])
    ]
    return _collect(listed, _extra_host, is_repeatable=True)


def _sysctl(typed: str, text: str) -> tuple[str, str]:
    """Return the name with dots and the value with single blanks (sysctl.d(5)): where a slash comes first, slashes separate."""
    if not _SYSCTL.match(typed) or len(typed) > _SYSCTL_MAX:
        raise ValueError(f"sysctl {shown(typed)}: only those below 'net.' belong to a network namespace")
    name = typed if typed[3] == "." else typed.translate(str.maketrans("./", "/."))
    if name in _COMMANDS:
        raise ValueError(
            f"sysctl {name} is no setting that stays: it does something once; run it with `reconcile exec`"
        )
    value = " ".join(text.split())
    if not _SYSCTL_VALUE.match(value) or len(value) > _SYSCTL_VALUE_MAX:
        raise ValueError(
            f"sysctl {name}: {shown(text)} is no value: ASCII characters are expected, 1 to {_SYSCTL_VALUE_MAX} of them"
        )
    return name, value


def _extra_host(name: str, text: str) -> tuple[str, str]:
    host = parse_dns_name(name)
    if text == "host-gateway":
        return host, text
    return host, str(parse_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text))


_PairEntry = tuple[str | int, str, Tree]
"""Step that leads to the pair, its key, its value."""


def _entries(value: Tree, separators: str, *, is_value_needed: bool) -> list[_PairEntry]:
    if isinstance(value, dict):
        return [(key, key, "" if text is None else text) for key, text in value.items()]
    if not isinstance(value, list):
        raise ValueError(f"expected a mapping or a list of 'key{separators[0]}value', got {kind_of(value)}")
    entries: list[_PairEntry] = []
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise At((index,), f"expected 'key{separators[0]}value', got {kind_of(item)}")
        at = min((item.index(mark) for mark in separators if mark in item), default=-1)
        if at < 0 and is_value_needed:
            raise At((index,), f"{shown(item)}: expected 'key{separators[0]}value'")
        entries.append((index, item, "") if at < 0 else (index, item[:at], item[at + 1 :]))
    return entries


def _collect(
    entries: list[_PairEntry], parse: Callable[[str, str], tuple[str, str]], *, is_repeatable: bool = False
) -> Pairs:
    found: dict[tuple[str, str], None] = {}
    names: set[str] = set()
    for step, key, text in entries:
        try:
            name, parsed = parse(parse_line(key), parse_text(text))
        except ValueError as error:
            raise At((step,), str(error)) from None
        if name in names and not is_repeatable:
            raise At((step,), f"{shown(name)} is given twice")
        names.add(name)
        found[name, parsed] = None
    return tuple(found)


class SchemaForm(Struct, frozen=True):
    """Says in the JSON Schema which other forms a field takes: from the schema of the canonical one to that of all."""

    widen: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.widen(handler(core))


def one_or_many(value: Tree) -> Tree:
    return [value] if isinstance(value, str) else value


def _plain(parse: Callable[[Any], Any], **schema: Any) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(parse), WithJsonSchema(schema)


_SCALAR: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean"]}
_PAIRS_SCHEMA: Final[Mapping[str, Any]] = {
    "oneOf": [
        {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}},
        {"type": "array", "items": {"type": "string"}},
    ]
}
_T = TypeVar("_T")
_NAME_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$",
    "maxLength": NAME_MAX,
}

Items = Annotated[tuple[_T, ...], Strict(False)]
OneOrMany = Annotated[
    tuple[_T, ...],
    Strict(False),
    BeforeValidator(one_or_many),
    SchemaForm(lambda many: {"anyOf": [many["items"], many]}),
]

Text = Annotated[str, *_plain(parse_text, **_SCALAR)]
Name = Annotated[str, *_plain(parse_name, **_NAME_SCHEMA)]
ServedName = Annotated[str, *_plain(parse_served_name, **_NAME_SCHEMA)]
LinkName = Annotated[str, *_plain(parse_link_name, type="string", maxLength=LINK_NAME_MAX)]
Address = Annotated[IPAddress, *_plain(parse_address, type="string", anyOf=[{"format": "ipv4"}, {"format": "ipv6"}])]
Nameserver = Annotated[IPAddress, *_plain(parse_nameserver, type="string")]
Ipv4 = Annotated[IPv4Address, *_plain(parse_ipv4, type="string", format="ipv4")]
Ipv6 = Annotated[IPv6Address, *_plain(parse_ipv6, type="string", format="ipv6")]
Subnet = Annotated[IPv4Network | IPv6Network, *_plain(parse_subnet, type="string", pattern="/[0-9]+$")]
IpRange = Annotated[IPv4Network | IPv6Network, *_plain(parse_ip_range, type="string", pattern="/[0-9]+$")]
Mac = Annotated[str, *_plain(parse_mac, type="string", pattern="^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$")]
Hostname = Annotated[str, *_plain(parse_hostname, type="string", maxLength=HOSTNAME_MAX)]
Alias = Annotated[str, *_plain(parse_alias, type="string", maxLength=HOSTNAME_MAX)]
SearchDomain = Annotated[str, *_plain(parse_search_domain, type="string", maxLength=HOSTNAME_MAX)]
DnsOption = Annotated[str, *_plain(parse_dns_option, type="string")]
HostPattern = Annotated[str, *_plain(parse_host_pattern, type="string", minLength=1, maxLength=253)]
NetnsRef = Annotated[str, *_plain(parse_netns, type="string", minLength=1)]
AbsolutePath = Annotated[str, *_plain(parse_absolute_path, type="string", pattern="^/")]
Expose = Annotated[tuple[int, int, str], *_plain(parse_expose, type=["string", "integer"])]
Link = Annotated[tuple[str, str], *_plain(parse_link, type="string")]
Labels = Annotated[Pairs, *_plain(parse_pairs, **_PAIRS_SCHEMA)]
Sysctls = Annotated[Pairs, *_plain(parse_sysctls, **_PAIRS_SCHEMA)]
ExtraHosts = Annotated[
    Pairs,
    *_plain(
        parse_extra_hosts,
        oneOf=[
            {"type": "object", "additionalProperties": {"type": ["string", "array"], "items": {"type": "string"}}},
            {"type": "array", "items": {"type": "string"}},
        ],
    ),
]


def is_glob(pattern: str) -> bool:
    """Return whether a pattern of fnmatch(3) may fit more than the name that it is."""
    return not _GLOB.isdisjoint(pattern)
