"""What `reach` says of all pairs at once is what it says of each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings

from reconciler.reach.flows import manner_of, reachability
from reconciler.reach.reachability import ANY, ICMP, Change, Flow, Manner, Reachability, Service, Target, compared
from reconciler.reach.values import Packet, Party, PartyKind
from tests.fakes.reach import walk_of
from tests.random_specs import on_two_hosts, specs

EXAMPLES = max(3, settings().max_examples // 20)


def asked_one_by_one(found: Reachability, client: Party, target: Target) -> frozenset[Manner]:
    packets = found.packets(client, target)
    wide = Target(target.server, Service(target.service.version))
    if not target.service.host_port and target.service.protocol != ANY:
        packets += found.packets(client, wide)
    manners = (manner(found, packet, target) for packet in packets)
    return frozenset(each for each in manners if each is not None)


def manner(found: Reachability, packet: Packet, target: Target) -> Manner | None:
    answer = found.walk.ask(packet)
    server = found.walk.sites[target.server.host]
    holders = (name for name in server.networks if server.holder(name, packet.address) is not None)
    published = server.published(packet.address, packet.protocol, packet.port)
    network = next(holders, published.endpoint.network if published is not None else None)
    return manner_of(found.walk, answer, packet, target.server, network)


def differences(found: Reachability) -> list[str]:
    return [
        f"{client} to {target}: {said} at once, {one_by_one} one by one; {found.packets(client, target)}"
        for target in found.asked
        for client in found.parties
        if client != target.server
        and (said := found.manners(client, target)) != (one_by_one := asked_one_by_one(found, client, target))
    ]


@settings(max_examples=EXAMPLES)
@given(on_two_hosts())
def test_all_at_once_is_as_one_by_one(declared: dict[str, Any]) -> None:
    found = reachability(walk_of(json.dumps(declared), ("alpha", "beta")))

    assert differences(found) == []
    assert any(found.cells.values())


Pair = tuple[Party, Party, int, str]
"""Client, server, version and protocol."""


def pairs_one_by_one(found: Reachability) -> set[Pair]:
    return {
        (client, target.server, target.service.version, target.service.protocol)
        for target in found.asked
        if target.service.protocol in (ANY, ICMP)
        for client in found.parties
        if client != target.server and found.manners(client, target)
    }


def pairs_of(flows: Iterable[Flow]) -> set[Pair]:
    return {
        (client, server, flow.service.version, flow.service.protocol)
        for flow in flows
        for client in flow.clients
        for server in flow.servers
        if client != server and flow.service.protocol in (ANY, ICMP)
    }


def with_pings(pairs: set[Pair]) -> set[Pair]:
    """What is open for everything is open for pings."""
    return pairs | {(*pair[:3], ICMP) for pair in pairs if pair[1].kind is PartyKind.ATTACHMENT}


@settings(max_examples=EXAMPLES)
@given(specs(), specs())
def test_a_change_gives_and_takes_what_differs(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = (reachability(walk_of(json.dumps(each), ("alpha",))) for each in (before, after))

    change = compared(old, new)

    had, has, gained, lost = *map(pairs_one_by_one, (old, new)), pairs_of(change.gained), pairs_of(change.lost)
    assert not gained & had
    assert not lost & has
    assert with_pings(gained) - had == has - had
    assert with_pings(lost) - has == had - has
    assert compared(new, new) == Change(gained=(), lost=())
