"""Rules of nftables as `nft -j` lists them (libnftables-json(5)). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.doctor.rules import Match, Rule
from reconciler.firewall.notation import as_listed


def nft_rules(listing: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Read the rules of a chain as `nft -j` lists them (libnftables-json(5)). Raises FirewallError for what are none."""
    with as_listed("the rules of a chain"):
        return tuple(rule for listed in listing for rule in _of_nft(listed.get("expr") or ()))


def _of_nft(expressions: Iterable[Mapping[str, Any]]) -> Iterator[Rule]:
    matches: list[Match] = []
    for expression in expressions:
        for kind, content in expression.items():
            match kind:
                case "accept" | "drop" | "return" | "reject" | "queue":
                    verdict = {"reject": "drop", "queue": ""}.get(kind, kind)
                    yield Rule(matches=tuple(matches), verdict=verdict, text=kind)
                case "jump" | "goto":
                    target = str(content["target"])
                    yield Rule(matches=tuple(matches), verdict=kind, target=target, text=f"{kind} {target}")
                case "match":
                    matches.append(_nft_match(content))
                case "vmap":
                    yield from _of_map(content, matches)
                case "xt":
                    yield from _of_compat(content, matches)
                case "counter" | "log" | "comment" | "notrack" | "mangle" | "set":
                    pass
                case _:
                    matches.append(Match())


def _of_compat(content: object, matches: list[Match]) -> Iterator[Rule]:
    """Read what `iptables-nft` writes and nft(8) shows by name alone."""
    match content:
        case {"type": "target", "name": "REJECT" | "DROP" as name}:
            yield Rule(matches=tuple(matches), verdict="drop", text=str(name))
        case {"type": "target"} | {"type": "match", "name": "comment"}:
            pass
        case _:
            matches.append(Match())


def _of_map(content: Mapping[str, Any], matches: Sequence[Match]) -> Iterator[Rule]:
    """Yield a rule for each verdict of a map; those of a named one cannot be seen."""
    data = content.get("data")
    pairs = data.get("set", ()) if isinstance(data, Mapping) else ()
    for key, verdict in pairs:
        match = _nft_match({"op": "==", "left": content.get("key"), "right": key})
        for rule in _of_nft([verdict]):
            yield Rule(matches=(*matches, match), verdict=rule.verdict, target=rule.target, text=rule.text)
    if not pairs:
        yield Rule(matches=(*matches, Match()), verdict="accept", text="vmap")


_NFT_FIELDS: Final = {
    ("meta", "iifname"): "iifname",
    ("meta", "iif"): "iifname",
    ("meta", "oifname"): "oifname",
    ("meta", "oif"): "oifname",
    ("meta", "ibrname"): "bridge",
    ("meta", "obrname"): "bridge",
    ("meta", "l4proto"): "protocol",
    ("meta", "nfproto"): "version",
    ("ct", "state"): "state",
    ("ip", "saddr"): "source",
    ("ip6", "saddr"): "source",
    ("ip", "daddr"): "destination",
    ("ip6", "daddr"): "destination",
    ("ip", "protocol"): "protocol",
    ("ip6", "nexthdr"): "protocol",
    ("tcp", "dport"): "dport",
    ("udp", "dport"): "dport",
    ("sctp", "dport"): "dport",
    ("th", "dport"): "dport",
}
_NUMBERS: Final = {"6": "tcp", "17": "udp", "132": "sctp", "1": "icmp", "58": "icmpv6"}
_VERSIONS: Final = {"ipv4": "4", "ipv6": "6", "2": "4", "10": "6"}


def _nft_match(content: Mapping[str, Any]) -> Match:
    field = _nft_field(content.get("left"))
    values = tuple(_nft_values(content.get("right")))
    if not values or any(value.startswith("@") for value in values) or content.get("op") not in ("==", "!=", "in"):
        return Match()
    if field == "protocol":
        values = tuple(_NUMBERS.get(value, value) for value in values)
    if field == "version":
        values = tuple(_VERSIONS.get(value, value) for value in values)
    return Match(field=field, values=values, is_negated=content["op"] == "!=")


def _nft_field(left: object) -> str:
    match left:
        case {"meta": {"key": str(key)}}:
            return _NFT_FIELDS.get(("meta", key), "")
        case {"ct": {"key": str(key)}}:
            return _NFT_FIELDS.get(("ct", key), "")
        case {"payload": {"protocol": str(protocol), "field": str(field)}}:
            return _NFT_FIELDS.get((protocol, field), "")
    return ""


def _nft_values(right: object) -> Iterator[str]:
    match right:
        case str() | int():
            yield str(right)
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            yield f"{address}/{length}"
        case {"range": [first, last]}:
            yield f"{first}-{last}"
        case {"set": content} | {"elem": {"val": content}}:
            yield from _nft_values(content)
        case list():
            for each in right:
                yield from _nft_values(each)
