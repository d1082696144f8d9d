"""Rules as `iptables -S` prints them (iptables(8)), old ones and those within nftables. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from reconciler.doctor.rules import Match, Rule


def iptables_chains(text: str) -> tuple[dict[str, str], dict[str, tuple[Rule, ...]]]:
    """Read of base chains, and the rules of all."""
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
                rules.setdefault(chain, []).append(_rule(rest, line))
    return policies, {chain: tuple(found) for chain, found in rules.items()}


_FIELDS: Final = {
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
_VERDICTS: Final = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_SILENT: Final = ("LOG", "MARK", "CONNMARK", "NFLOG", "TCPMSS", "CT", "AUDIT")
_KNOWN: Final = ("tcp", "udp", "sctp", "conntrack", "state", "comment", "multiport")


def _rule(words: Sequence[str], line: str) -> Rule:
    matches: list[Match] = []
    verdict = target = ""
    is_negated, left = False, list(words)
    while left:
        word = left.pop(0)
        if word == "!":
            is_negated = True
            continue
        value = left.pop(0) if left and not left[0].startswith("-") and left[0] != "!" else ""
        if word in _FIELDS:
            matches.append(_match(_FIELDS[word], value, is_negated=is_negated))
        elif word in ("-j", "-g"):
            verdict = "" if value in _SILENT else _VERDICTS.get(value, "goto" if word == "-g" else "jump")
            target = value if verdict in ("jump", "goto") else ""
            break  # what follows is about the target
        elif word not in ("--comment", "-m") or (word == "-m" and value not in _KNOWN):
            matches.append(Match())
        is_negated = False
    return Rule(matches=tuple(matches), verdict=verdict, target=target, text=line)


def _match(field: str, value: str, *, is_negated: bool) -> Match:
    values = (value.replace("+", "*"),) if field in ("iifname", "oifname") else tuple(value.split(","))
    if field == "state":
        values = tuple(each.lower() for each in values)
    return Match(field=field, values=values, is_negated=is_negated)
