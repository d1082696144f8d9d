"""What becomes of a packet in a chain of somebody else's firewall, as far as its rules can be read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from msgspec import Struct

from reconciler.model.objects import IPAddress

_DEPTH_MAX: Final = 16
_STEPS_MAX: Final = 20_000

Networks = IPv4Network | IPv6Network


class HookPacket(Struct, frozen=True, kw_only=True):
    """What is asked about. Links are names, "" where any may be meant; dport 0: none. state: new or established.

    bridge: on which it is seen, "" where it is not seen on one.
    """

    version: int
    iifname: str
    oifname: str
    source: IPAddress | None = None
    destination: IPAddress | None = None
    protocol: str = "tcp"
    dport: int = 0
    state: str = "new"
    bridge: str = ""


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
    def __init__(self, packet: HookPacket, rules_of: Callable[[str], Sequence[Rule]]) -> None:
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


def fate(packet: HookPacket, chain: str, policy: str, rules_of: Callable[[str], Sequence[Rule]]) -> Fate:
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


def _holds(rule: Rule, packet: HookPacket) -> bool | None:
    """Return whether a rule is about the packet; None when that cannot be said."""
    found = [_agrees(match, packet) for match in rule.matches]
    return False if False in found else None if None in found else True


def _agrees(match: Match, packet: HookPacket) -> bool | None:
    match match.field:
        case "iifname" | "oifname":
            name = packet.iifname if match.field == "iifname" else packet.oifname
            found = any(fnmatchcase(name, value) for value in match.values) if name else None
        case "bridge":
            found = any(fnmatchcase(packet.bridge, value) for value in match.values) if packet.bridge else None
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
