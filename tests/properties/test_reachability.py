"""What `reach` says of all pairs at once is what it says of each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from hypothesis import given, settings
from msgspec.structs import replace

from reconciler.reach.change import Change, compared
from reconciler.reach.flows import manner_of, reachability
from reconciler.reach.reachability import ANY, Flow, Manner, Reachability, Service, Target
from reconciler.reach.values import Packet, Party
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


Key = tuple[Party, Service]
"""A server and what is reached of it, by whatever address of the host."""


def key_of(target: Target) -> Key:
    return target.server, replace(target.service, host_ip="")


def one_by_one(found: Reachability, keys: Iterable[Key]) -> dict[Key, dict[Party, frozenset[Manner]]]:
    """Give by server and service who reaches it, and how."""
    bound: dict[Key, list[Target]] = defaultdict(list)
    for target in found.asked:
        bound[key_of(target)].append(target)
    return {
        key: {
            client: manners
            for client in found.parties
            if client != key[0]
            and (manners := frozenset[Manner]().union(*(found.manners(client, t) for t in (*bound[key], Target(*key)))))
        }
        for key in keys
    }


def directly(key: Key) -> Iterator[Key]:
    """Give the keys that make one needless: the same port of the server itself, and all of it."""
    server, service = key
    yield server, Service(service.version)
    yield server, Service(service.version, service.protocol, service.ports)


def by_key(flows: Iterable[Flow]) -> dict[Key, set[Party]]:
    found: dict[Key, set[Party]] = defaultdict(set)
    for flow in flows:
        for server in flow.servers:
            found[server, replace(flow.service, host_ip="")] |= {*flow.clients} - {server}
    return found


@settings(max_examples=EXAMPLES)
@given(specs(), specs())
def test_a_change_gives_and_takes_what_differs(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = (reachability(walk_of(json.dumps(each), ("alpha",))) for each in (before, after))

    change = compared(old, new)

    keys = {key_of(target) for target in (*old.asked, *new.asked)}
    keys |= {direct for key in keys for direct in directly(key)}
    had, has = one_by_one(old, keys), one_by_one(new, keys)
    for told, there, here in ((change.gained, had, has), (change.lost, has, had)):
        differing = by_key(told)
        for key in keys:
            needless = {client for each in (key, *directly(key)) for client in there[each]}
            wide = set() if key[1].host_port else differing[next(directly(key))]
            assert not differing[key] & needless
            assert (differing[key] | wide) - needless == here[key].keys() - needless
    altered = by_key(change.altered)
    for flow in change.altered:
        for client, server in product(flow.clients, flow.servers):
            key = server, replace(flow.service, host_ip="")
            assert client == server or (flow.was in had[key][client] and flow.manner in has[key][client])
    for key in keys:
        for client in had[key].keys() & has[key].keys():
            wide = next(directly(key))
            is_alike = not key[1].host_port and (client in had[wide]) == (client in has[wide])
            is_told = client in altered[key] or client in altered[wide]
            assert is_told or not is_alike or had[key][client] & has[key][client]
    assert compared(new, new) == Change()
