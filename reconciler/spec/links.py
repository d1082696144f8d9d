"""Where the links of an attachment lead, as far as specs can tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from reconciler.model.wanted import NetworkMode, NetworkWanted
from reconciler.spec.attachment import AttachmentSpec, NetworkTable, network_mode, network_name
from reconciler.spec.conflicts import is_for_host
from reconciler.spec.declarations import Declared
from reconciler.spec.document import shown
from reconciler.spec.network import Fault

HINTS_AMONG_MAX: Final = 500
"""Names beyond which a misspelt one is not compared with all of them: that costs more than the rest of the load."""


class Linkable(Struct, frozen=True):
    """All that links may lead to. attachments: every one that is declared, those with faults too.

    local: names of networks that have no members on other hosts; one that has faults, or is not declared, may be anything.
    """

    attachments: Mapping[str, Declared[AttachmentSpec]]
    networks: NetworkTable
    local: frozenset[str]
    host: str


def linkable(entries: Iterable[Declared[AttachmentSpec]], networks: NetworkTable, host: str) -> Linkable:
    known = (network for network in networks.values() if network is not None)
    local = frozenset(network.name for network in known if not _spans_hosts(network))
    return Linkable({entry.key: entry for entry in entries}, networks, local, host)


def _spans_hosts(network: NetworkWanted) -> bool:
    return network.is_external or network.traits.may_be_shared


def link_faults(spec: AttachmentSpec, among: Linkable) -> Iterator[Fault]:
    """Find links that lead to nobody. On a network that other hosts share the target may be declared there."""
    if network_mode(spec, among.networks) is not NetworkMode.NETWORKS:
        return
    for index, (target, _) in enumerate(spec.links):
        refusal = _refusal(spec, target, among)
        if refusal is not None:
            yield ("links", index), f"{shown(target)} {refusal}"


def _refusal(spec: AttachmentSpec, target: str, among: Linkable) -> str | None:
    mine = _joined(spec, among.networks)
    entry = among.attachments.get(target)
    if entry is None:
        return _no_attachment(target, among.attachments) if mine <= among.local else None
    if entry.spec is None:
        return None
    shared = mine & _joined(entry.spec, among.networks)
    if not shared:
        return f"is on none of the networks that this is on ({', '.join(sorted(mine))}): a link leads to a member of one of them"
    is_elsewhere = is_for_host(spec.hosts, among.host) and not is_for_host(entry.spec.hosts, among.host)
    if is_elsewhere and shared <= among.local:
        return f"is not for host '{among.host}', as its 'hosts' say, and no network that both are on leads to others"
    return None


def _no_attachment(target: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(target[:64], known, n=1) if len(known) <= HINTS_AMONG_MAX else []
    hint = f"did you mean '{near[0]}'?" if near else "declare it below 'attachments', or remove the link"
    return f"is no attachment to link to: {hint}"


def _joined(spec: AttachmentSpec, networks: NetworkTable) -> frozenset[str]:
    if network_mode(spec, networks) is not NetworkMode.NETWORKS:
        return frozenset()
    return frozenset(network_name(key, networks) for key in spec.networks or ("bridge",))
