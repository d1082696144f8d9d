"""What becomes of a packet in a chain of somebody else's firewall, as far as its rules can be read. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from msgspec import Struct

from reconciler.model.objects import IPAddress

_DEPTH_MAX: Final = 16
_STEPS_MAX: Final = 20_000

Networks = IPv4Network | IPv6Network


class Packet(Struct, frozen=True, kw_only=True):
    """What is asked about. Links are names, "" where any may be meant; dport 0: none. state: new or established."""

    version: int
    iifname: str
    oifname: str
    source: IPAddress | None = None
    destination: IPAddress | None = None
    protocol: str = "tcp"
    dport: int = 0
    state: str = "new"


class Match(Struct, frozen=True, kw_only=True):
    """One condition. field "": one that is not understood. values: texts, of which any will do."""

    field: str = ""
    values: tuple[str, ...] = ()
    is_negated: bool = False


class Rule(Struct, frozen=True, kw_only=True):
    """verdict: accept, drop, jump, goto, return or "" for none. target: the chain that is jumped to. text: as a person finds it."""

    matches: tuple[Match, ...] = ()
    verdict: str = ""
    target: str = ""
    text: str = ""


class Fate(Struct, frozen=True, kw_only=True):
    """is_dropped: by `rule`, or by the chain's policy when that is "". is_sure: no rule that cannot be read may accept before.

    chains: those that it went through.
    """

    is_dropped: bool
    rule: str = ""
    is_sure: bool = True
    chains: tuple[str, ...] = ()


class _Walk:
    def __init__(self, packet: Packet, rules_of: Callable[[str], Sequence[Rule]]) -> None:
        self.packet = packet
        self.rules_of = rules_of
        self.may_be_accepted = False
        self.chains: list[str] = []
        self.steps = 0

    def through(self, chain: str, depth: int = 0) -> tuple[str, str]:
        """Return verdict and rule; "" when it comes back from the chain."""
        if depth > _DEPTH_MAX:
            return "", ""
        self.chains.append(chain)
        for rule in self.rules_of(chain):
            self.steps += 1
            held = None if self.steps > _STEPS_MAX else _holds(rule, self.packet)
            if held is False:
                continue
            verdict, text = self._verdict(rule, depth, is_sure=held is True)
            if verdict and held is True:
                return verdict, text
            if rule.verdict == "goto" and held is True:
                return "", ""
        return "", ""

    def _verdict(self, rule: Rule, depth: int, *, is_sure: bool) -> tuple[str, str]:
        match rule.verdict:
            case "jump" | "goto":
                verdict, text = self.through(rule.target, depth + 1)
                verdict = "" if verdict == "return" else verdict
            case verdict:
                text = rule.text
        self.may_be_accepted |= verdict == "accept" and not is_sure
        return verdict, text


def fate(packet: Packet, chain: str, policy: str, rules_of: Callable[[str], Sequence[Rule]]) -> Fate:
    """Return what becomes of a packet in a base chain. rules_of: gives a chain's rules.

    A rule that cannot be read in full decides nothing: whether it drops is not assumed, whether it accepts makes a drop unsure.
    """
    walk = _Walk(packet, rules_of)
    verdict, text = walk.through(chain)
    is_dropped = verdict == "drop" or (verdict in ("", "return") and policy == "drop")
    return Fate(
        is_dropped=is_dropped,
        rule=text if verdict == "drop" else "",
        is_sure=not walk.may_be_accepted,
        chains=tuple(dict.fromkeys(walk.chains)),
    )


def _holds(rule: Rule, packet: Packet) -> bool | None:
    """Return whether a rule is about the packet; None when that cannot be said."""
    found = [_agrees(match, packet) for match in rule.matches]
    return False if False in found else None if None in found else True


def _agrees(match: Match, packet: Packet) -> bool | None:
    match match.field:
        case "iifname" | "oifname":
            name = packet.iifname if match.field == "iifname" else packet.oifname
            found = any(fnmatchcase(name, value) for value in match.values) if name else None
        case "source" | "destination":
            address = packet.source if match.field == "source" else packet.destination
            found = _is_inside(address, match.values)
        case "protocol":
            found = packet.protocol in match.values
        case "dport":
            found = _is_port(packet.dport, match.values) if packet.dport else None
        case "state":
            found = packet.state in match.values
        case "version":
            found = str(packet.version) in match.values
        case _:
            found = None
    return found if found is None else found != match.is_negated


def _is_inside(address: IPAddress | None, values: Iterable[str]) -> bool | None:
    if address is None:
        return None
    try:
        subnets = [ip_network(value, strict=False) for value in values]
    except ValueError:
        return None
    return any(subnet.version == address.version and address in subnet for subnet in subnets)


def _is_port(port: int, values: Iterable[str]) -> bool | None:
    for value in values:
        first, _, last = value.replace(":", "-").partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            return None
        if int(first) <= port <= int(last or first):
            return True
    return False


def nft_rules(listing: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Read the rules of a chain as `nft -j` lists them (libnftables-json(5))."""
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


def legacy_chains(text: str) -> tuple[dict[str, str], dict[str, tuple[Rule, ...]]]:
    """Read what `iptables-legacy -S` prints (iptables(8)): policies of base chains, and the rules of all."""
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    for line in text.splitlines():
        try:
            words = shlex.split(line)
        except ValueError:
            continue
        match words:
            case ["-P", chain, policy]:
                policies[chain] = policy.lower()
            case ["-A", chain, *rest]:
                rules.setdefault(chain, []).append(_legacy_rule(rest, line))
    return policies, {chain: tuple(found) for chain, found in rules.items()}


_LEGACY_FIELDS: Final = {
    "-i": "iifname",
    "-o": "oifname",
    "-s": "source",
    "-d": "destination",
    "-p": "protocol",
    "--dport": "dport",
    "--dports": "dport",
    "--ctstate": "state",
    "--state": "state",
}
_LEGACY_VERDICTS: Final = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_SILENT: Final = ("LOG", "MARK", "CONNMARK", "NFLOG", "TCPMSS", "CT", "AUDIT")
_KNOWN: Final = ("tcp", "udp", "sctp", "conntrack", "state", "comment", "multiport")


def _legacy_rule(words: Sequence[str], line: str) -> Rule:
    matches: list[Match] = []
    verdict = target = ""
    is_negated, left = False, list(words)
    while left:
        word = left.pop(0)
        if word == "!":
            is_negated = True
            continue
        value = left.pop(0) if left and not left[0].startswith("-") and left[0] != "!" else ""
        if word in _LEGACY_FIELDS:
            matches.append(_legacy_match(_LEGACY_FIELDS[word], value, is_negated=is_negated))
        elif word in ("-j", "-g"):
            verdict = "" if value in _SILENT else _LEGACY_VERDICTS.get(value, "goto" if word == "-g" else "jump")
            target = value if verdict in ("jump", "goto") else ""
            break  # what follows is about the target
        elif word not in ("--comment", "-m") or (word == "-m" and value not in _KNOWN):
            matches.append(Match())
        is_negated = False
    return Rule(matches=tuple(matches), verdict=verdict, target=target, text=line)


def _legacy_match(field: str, value: str, *, is_negated: bool) -> Match:
    values = (value.replace("+", "*"),) if field in ("iifname", "oifname") else tuple(value.split(","))
    if field == "state":
        values = tuple(each.lower() for each in values)
    return Match(field=field, values=values, is_negated=is_negated)
