"""Chains of somebody else's firewall at the hooks that our packets pass."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from msgspec import Struct

from reconciler.doctor.iptables_rules import iptables_chains
from reconciler.doctor.nft_rules import nft_rules
from reconciler.doctor.place import Place
from reconciler.doctor.rules import Rule
from reconciler.firewall.ruleset import TABLE
from reconciler.kernel.nft import Nft
from reconciler.settings import program_environment

_HOOKS: Final = ("forward", "input")
ON_BRIDGE: Final = "bridge"
"""The family whose chains see what stays on a bridge, and the hook of theirs that matters here: of the bridge's own forwarding."""

_FAMILIES: Final = {"ip": (4,), "ip6": (6,), "inet": (4, 6), ON_BRIDGE: (4, 6)}
LEGACY: Final = {4: "iptables-legacy", 6: "ip6tables-legacy"}
_COMPAT: Final = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}
_COMPAT_TABLE: Final = "filter"
_LEGACY_TABLES: Final = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}
_TIMEOUT_S: Final = 10
_CHAINS_MAX: Final = 200


class BaseChain(Struct, frozen=True, kw_only=True):
    """A chain of somebody else at a hook. family "": of the old iptables. program: by which it is written, "" for nft.

    versions: of IP whose packets pass it. rules_of: gives the rules of a chain of the same table.
    """

    name: str
    hook: str
    policy: str
    versions: tuple[int, ...]
    rules_of: Callable[[str], Sequence[Rule]]
    family: str = ""
    table: str = "filter"
    program: str = ""

    def __str__(self) -> str:
        if not self.family:
            return f"chain {self.name} of {self.program}"
        return f"chain {self.name} of table {self.family} {self.table}"


def nft_chains(nft: Nft) -> Iterator[BaseChain]:
    """Yield the chains of others. Rules are listed chain by chain as a packet comes to them, so large sets are not."""
    for chain in nft.list_chains():
        if chain.get("hook") in _HOOKS and chain["family"] in _FAMILIES and chain["table"] != TABLE:
            is_on_bridge = chain["family"] == ON_BRIDGE
            if is_on_bridge and chain["hook"] != "forward":
                continue
            compat = _compat(chain["family"], chain["table"])
            yield BaseChain(
                family=chain["family"],
                table=chain["table"],
                name=chain["name"],
                hook=ON_BRIDGE if is_on_bridge else chain["hook"],
                policy=chain.get("policy", "accept"),
                program=_COMPAT[chain["family"]] if compat else "",
                versions=_FAMILIES[chain["family"]],
                rules_of=partial(_of, compat) if compat else _listed(nft, chain["family"], chain["table"]),
            )


Rules = Mapping[str, Sequence[Rule]]


def _of(rules: Rules, chain: str) -> Sequence[Rule]:
    return rules.get(chain, ())


def _compat(family: str, table: str) -> Rules:
    """Return the rules of the table that iptables-nft writes, which it alone lists in full; nothing for any other."""
    program = _COMPAT.get(family)
    text = _run(program, "-w", "5", "-S") if program and table == _COMPAT_TABLE else None
    return {} if text is None else iptables_chains(text)[1]


def _listed(nft: Nft, family: str, table: str) -> Callable[[str], Sequence[Rule]]:
    known: dict[str, Sequence[Rule]] = {}

    def rules_of(name: str) -> Sequence[Rule]:
        if name not in known:
            known[name] = nft_rules(nft.list_chain(family, table, name)) if len(known) < _CHAINS_MAX else ()
        return known[name]

    return rules_of


def old_chains(place: Place) -> tuple[list[BaseChain], tuple[str, ...]]:
    """Return the chains of the old iptables, and the tables that could not be listed. Not asked where there are no such tables."""
    found: list[BaseChain] = []
    unread: list[str] = []
    for version, file in _LEGACY_TABLES.items():
        if "filter" not in (place.file(file) or "").split():
            continue
        text = _run(LEGACY[version], "-w", "5", "-S")
        if text is None:
            unread.append(LEGACY[version])
        else:
            found += legacy_base_chains(text, version)
    return found, tuple(unread)


def legacy_base_chains(text: str, version: int) -> Iterator[BaseChain]:
    policies, rules = iptables_chains(text)
    for name, policy in policies.items():
        if name.lower() in _HOOKS:
            yield BaseChain(
                name=name,
                hook=name.lower(),
                policy=policy,
                program=LEGACY[version],
                versions=(version,),
                rules_of=partial(_of, rules),
            )


def _run(name: str, *arguments: str) -> str | None:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *arguments],
            env=program_environment({}),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
