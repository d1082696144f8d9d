"""Whether chains of others, of nftables (firewalld, ufw and Docker included) or iptables-legacy, drop what we forward or what goes
between hosts: their rules are walked with packets as ours; with br_netfilter (`bridge-nf-call-*`) also what stays on a bridge.

Accepting is final for one table only: whatever our own tables say, a chain of others at the same hook is asked too.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.place import Place
from reconciler.doctor.rules import Fate, Packet, Rule, fate, legacy_chains, nft_rules
from reconciler.firewall.ruleset import TABLE
from reconciler.kernel.nft import Nft
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.desired import DesiredNetwork, DesiredState, PortBinding
from reconciler.model.words import some

_HOOKS: Final = ("forward", "input")
_FAMILIES: Final = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_LEGACY: Final = {4: "iptables-legacy", 6: "ip6tables-legacy"}
_COMPAT: Final = {"ip": "iptables-nft", "ip6": "ip6tables-nft"}
_COMPAT_TABLE: Final = "filter"
_LEGACY_TABLES: Final = {4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names"}
_BRIDGED: Final = {4: "net/bridge/bridge-nf-call-iptables", 6: "net/bridge/bridge-nf-call-ip6tables"}
_TIMEOUT_S: Final = 10
_FIREWALLD: Final = "firewalld"
_UFW: Final = "ufw-"
_USERS: Final = "DOCKER-USER"
_NAMES_MAX: Final = 6
_CHAINS_MAX: Final = 200
_NETWORKS_MAX: Final = 500


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


class Asked(Struct, frozen=True, kw_only=True):
    """A packet that has to get through. link: what a rule for it would name. means: what is lost, in words."""

    hook: str
    link: str
    means: str
    packet: Packet


class Firewall(Struct, frozen=True, kw_only=True):
    """unread: old tables that are there, and no program to list them."""

    chains: tuple[BaseChain, ...] = ()
    asked: tuple[Asked, ...] = ()
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
            f"there are rules of the old iptables ({name}), and the program {_LEGACY[4]} that lists them is not here",
            "nftables does not show them, and they may drop what we forward",
            "apt-get install --yes iptables",
        )


def _fate(asked: Asked, chain: BaseChain) -> Fate | None:
    """Return what becomes of a packet that is lost there; None when it gets through, or does not pass."""
    if chain.hook != asked.hook or asked.packet.version not in chain.versions:
        return None
    found = fate(asked.packet, chain.name, chain.policy, chain.rules_of)
    return found if found.is_dropped else None


def _finding(chain: BaseChain, lost: Sequence[tuple[Asked, Fate]], *, is_sure: bool) -> Finding:
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


def _mend(chain: BaseChain, lost: Sequence[tuple[Asked, Fate]], links: Sequence[str]) -> Iterator[str]:
    """Yield the commands that let these through, in the way of whose chain it is."""
    passed = {name for _, found in lost for name in found.chains}
    is_ufw = any(name.startswith(_UFW) for name in passed)
    if chain.hook == "input":
        for port in dict.fromkeys(each.packet.dport for each, _ in lost):
            yield from _letting_in(chain, port, is_ufw=is_ufw)
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
    return f"nft '{f'insert rule {chain.family} {chain.table} {inner} {expression} accept'}'"


def read(place: Place) -> Firewall:
    asked = tuple(packets(place))
    if not asked:
        return Firewall()
    legacy, unread = _legacy(place)
    return Firewall(chains=(*_of_nft(place.backends.nft), *legacy), asked=asked, unread=unread)


def _of_nft(nft: Nft) -> Iterator[BaseChain]:
    """Yield the chains of others. Rules are listed chain by chain as a packet comes to them, so large sets are not."""
    for chain in nft.list_chains():
        if chain.get("hook") in _HOOKS and chain["family"] in _FAMILIES and chain["table"] != TABLE:
            compat = _compat(chain["family"], chain["table"])
            yield BaseChain(
                family=chain["family"],
                table=chain["table"],
                name=chain["name"],
                hook=chain["hook"],
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
    return {} if text is None else legacy_chains(text)[1]


def _listed(nft: Nft, family: str, table: str) -> Callable[[str], Sequence[Rule]]:
    known: dict[str, Sequence[Rule]] = {}

    def rules_of(name: str) -> Sequence[Rule]:
        if name not in known:
            known[name] = nft_rules(nft.list_chain(family, table, name)) if len(known) < _CHAINS_MAX else ()
        return known[name]

    return rules_of


def _legacy(place: Place) -> tuple[list[BaseChain], tuple[str, ...]]:
    """Return the chains of the old iptables, and the tables that could not be listed. Not asked where there are no such tables."""
    found: list[BaseChain] = []
    unread: list[str] = []
    for version, file in _LEGACY_TABLES.items():
        if "filter" not in (place.file(file) or "").split():
            continue
        text = _run(_LEGACY[version], "-w", "5", "-S")
        if text is None:
            unread.append(_LEGACY[version])
        else:
            found += legacy_base_chains(text, version)
    return found, tuple(unread)


def legacy_base_chains(text: str, version: int) -> Iterator[BaseChain]:
    policies, rules = legacy_chains(text)
    for name, policy in policies.items():
        if name.lower() in _HOOKS:
            yield BaseChain(
                name=name,
                hook=name.lower(),
                policy=policy,
                program=_LEGACY[version],
                versions=(version,),
                rules_of=partial(_of, rules),
            )


def _run(name: str, *arguments: str) -> str | None:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def packets(place: Place) -> Iterator[Asked]:
    """Yield the packets that must get through: out of each network, back, to its published ports, between hosts."""
    if place.decision is None:
        return
    desired = place.decision.desired
    ports = _ports(desired)
    shown = {version for version, name in _BRIDGED.items() if read_sysctl(name) == "1"}
    for network in place.bridges[:_NETWORKS_MAX]:
        yield from _of_network(network, place.uplink, ports.get(network.name))
        yield from _within(network, shown)
    tunnels = desired.tunnels
    for peer in tunnels.peers[:1] if tunnels else ():
        for port in tunnels.own_ports if tunnels else ():
            yield Asked(
                hook="input",
                link="VXLAN",
                means="nothing comes in from other hosts of overlay networks",
                packet=Packet(
                    version=peer.version,
                    iifname=place.underlay,
                    oifname="",
                    source=peer,
                    protocol="udp",
                    dport=port,
                    state="new",
                ),
            )


def _ports(desired: DesiredState) -> dict[str, PortBinding]:
    """Return a published port of each network that has one."""
    endpoints = [endpoint for attachment in desired.members for endpoint in attachment.endpoints]
    return {endpoint.network: endpoint.ports[0] for endpoint in endpoints if endpoint.ports}


def _of_network(network: DesiredNetwork, uplink: str, port: PortBinding | None) -> Iterator[Asked]:
    link = network.link_name
    for subnet in network.subnets:
        pool = subnet.subnet
        member, far = pool[min(2, pool.num_addresses - 1)], ip_address(_FAR[pool.version])
        out = Packet(version=pool.version, iifname=link, oifname=uplink, source=member, destination=far, dport=443)
        back = Packet(
            version=pool.version, iifname=uplink, oifname=link, source=far, destination=member, state="established"
        )
        yield Asked(hook="forward", link=link, means="members reach nobody outside", packet=out)
        yield Asked(hook="forward", link=link, means="what is answered does not come back", packet=back)
        if port is not None:
            come = Packet(
                version=pool.version,
                iifname=uplink,
                oifname=link,
                source=far,
                destination=member,
                protocol=port.protocol,
                dport=port.target,
            )
            yield Asked(hook="forward", link=link, means="published ports are not reached", packet=come)


def _within(network: DesiredNetwork, shown: Collection[int]) -> Iterator[Asked]:
    """Yield what goes from member to member, where br_netfilter shows it to the host's firewall. shown: which versions of IP."""
    link = network.link_name
    for pool in (subnet.subnet for subnet in network.subnets if subnet.subnet.version in shown):
        member, other = (pool[min(number, pool.num_addresses - 1)] for number in (2, 3))
        packet = Packet(version=pool.version, iifname=link, oifname=link, source=member, destination=other, dport=443)
        yield Asked(hook="forward", link=link, means="members do not reach each other (br_netfilter)", packet=packet)


_FAR: Final = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
"""Addresses of nobody (RFC 5737, 3849)."""
