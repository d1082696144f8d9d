"""Whether chains of others, of nftables (firewalld, ufw and Docker included) or iptables-legacy, drop what we forward or what goes
between hosts: their rules are walked with packets as ours; with br_netfilter (`bridge-nf-call-*`) also what stays on a bridge.

Accepting is final for one table only: whatever our own tables say, a chain of others at the same hook is asked too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from reconciler.doctor.chains import LEGACY, ON_BRIDGE, BaseChain, nft_chains, old_chains
from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.packets import PORTS, NeededPacket, packets
from reconciler.doctor.place import Place
from reconciler.doctor.rules import Fate, fate
from reconciler.model.words import some

_FIREWALLD: Final = "firewalld"
_UFW: Final = "ufw-"
_USERS: Final = "DOCKER-USER"
_NAMES_MAX: Final = 6


class Firewall(Struct, frozen=True, kw_only=True):
    """unread: old tables that are there, and no program to list them."""

    chains: tuple[BaseChain, ...] = ()
    asked: tuple[NeededPacket, ...] = ()
    unread: tuple[str, ...] = ()


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(firewall: Firewall) -> Iterator[Finding]:
    for chain in firewall.chains:
        lost = [(each, found) for each in firewall.asked if (found := _fate(each, chain)) is not None]
        for is_sure in (True, False):
            told = [(each, found) for each, found in lost if found.is_sure is is_sure]
            if told:
                yield _finding(chain, told, is_sure=is_sure)
    for name in firewall.unread if firewall.asked else ():
        yield warning(
            f"there are rules of the old iptables ({name}), and the program {LEGACY[4]} that lists them is not here",
            "nftables does not show them, and they may drop what we forward",
            "apt-get install --yes iptables",
        )


def _fate(asked: NeededPacket, chain: BaseChain) -> Fate | None:
    """Return what becomes of a packet that is lost there; None when it gets through, or does not pass."""
    if chain.hook != asked.hook or asked.packet.version not in chain.versions:
        return None
    found = fate(asked.packet, chain.name, chain.policy, chain.rules_of)
    return found if found.is_dropped else None


def _finding(chain: BaseChain, lost: Sequence[tuple[NeededPacket, Fate]], *, is_sure: bool) -> Finding:
    links = tuple(dict.fromkeys(each.link for each, _ in lost))
    means = dict.fromkeys(each.means for each, _ in lost)
    by = dict.fromkeys(found.rule or f"policy {chain.policy}" for _, found in lost)
    unless = "" if is_sure else ", unless a rule accepts them that is not understood here"
    make = error if is_sure else warning
    return make(
        f"{chain} drops packets of {some(links, _NAMES_MAX)} ({', '.join(by)}){unless}",
        f"{', '.join(means)}; no rule of ours can change what another table drops",
        *_mend(chain, lost, links),
    )


def _mend(chain: BaseChain, lost: Sequence[tuple[NeededPacket, Fate]], links: Sequence[str]) -> Iterator[str]:
    """Yield the commands that let these through, in the way of whose chain it is."""
    passed = {name for _, found in lost for name in found.chains}
    is_ufw = any(name.startswith(_UFW) for name in passed)
    if chain.hook == "input":
        for port in dict.fromkeys(each.packet.dport for each, _ in lost):
            yield from _letting_in(chain, port, is_ufw=is_ufw)
    elif chain.hook == ON_BRIDGE:
        yield _accepting(chain, chain.name, (), f'iifname "{PORTS}"')
    elif chain.table == _FIREWALLD:
        for link in links:
            yield command("firewall-cmd", "--permanent", "--zone=trusted", f"--add-interface={link}")
        yield "firewall-cmd --reload"
    elif is_ufw:
        for link in links:
            yield command("ufw", "route", "allow", "in", "on", link)
            yield command("ufw", "route", "allow", "out", "on", link)
    else:
        inner = _USERS if _USERS in passed else chain.name
        for option, field in (("-i", "iifname"), ("-o", "oifname")):
            if chain.program:
                yield from (_accepting(chain, inner, (option, link), "") for link in links)
            else:
                yield _accepting(chain, inner, (), f"{field} {_any_of(links)}")


def _any_of(links: Sequence[str]) -> str:
    quoted = ", ".join(f'"{link}"' for link in links)
    return quoted if len(links) == 1 else f"{{ {quoted} }}"


def _letting_in(chain: BaseChain, port: int, *, is_ufw: bool) -> Iterator[str]:
    if chain.table == _FIREWALLD:
        yield command("firewall-cmd", "--permanent", f"--add-port={port}/udp")
        yield "firewall-cmd --reload"
    elif is_ufw:
        yield command("ufw", "allow", f"{port}/udp")
    else:
        yield _accepting(chain, chain.name, ("-p", "udp", "--dport", str(port)), f"udp dport {port}")


def _accepting(chain: BaseChain, inner: str, legacy: Sequence[str], expression: str) -> str:
    """Return the command that puts a rule in front of all others of a chain."""
    if chain.program:
        return command(chain.program, "-I", inner, *legacy, "-j", "ACCEPT")
    return command("nft", f"insert rule {chain.family} {chain.table} {inner} {expression} accept")


def read(place: Place) -> Firewall:
    asked = tuple(packets(place))
    if not asked:
        return Firewall()
    old, unread = old_chains(place)
    return Firewall(chains=(*nft_chains(place.backends.nft), *old), asked=asked, unread=unread)
