"""Bridges of others that networks take over: who may, and what follows for pools and records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from reconciler.errors import NameConflict
from reconciler.ipam.adoption_record import adoption_record
from reconciler.ipam.promises import NetworkPromise
from reconciler.model.adoption import Adopt, Adopted, BridgeFact, Found
from reconciler.model.desired import DesiredNetwork
from reconciler.model.identifiers import HOST
from reconciler.model.objects import AdoptedBridge, Key, KvRecord, Seen, Unit
from reconciler.model.wanted import NetworkWanted


def adopted_by(
    network: NetworkWanted, link_name: str, bridges: Iterable[BridgeFact], records: Mapping[str, Found]
) -> Adopted | None:
    """Return the bridge of others that a network takes over; None where there is none, or it may not.

    A record of before counts while the bridge is the one it speaks of: when it was written and the rest was not done.
    """
    bridge = next((bridge for bridge in bridges if bridge.ifname == link_name), None)
    if network.adopt is Adopt.NO or bridge is None:
        return None
    known, found = records.get(link_name), bridge.found
    if found is None:
        return Adopted(bridge=bridge, found=known)
    is_same = known is not None and known.ifindex == found.ifindex and known.network == network.name
    return Adopted(bridge=bridge, found=known if is_same else _taken_by(found, network.name))


def _taken_by(found: Found, network: str) -> Found:
    return replace(found, network=network)


def refusal(network: NetworkWanted, adopted: Adopted | None) -> NameConflict | None:
    """Return why a bridge may not be taken over: a program that runs it would go on to change and delete it."""
    if adopted is None or adopted.bridge.found is None or not adopted.bridge.manager:
        return None
    if network.adopt is Adopt.EVEN_MANAGED:
        return None
    name, manager = adopted.bridge.ifname, adopted.bridge.manager
    return NameConflict(
        f"network {network.name}: bridge {name} belongs to {manager}, which changes and deletes it as it likes: "
        "have that give it up, or insist with `adopt: managed`"
    )


def standing_promises(
    networks: Iterable[NetworkWanted],
    promises: Mapping[str, NetworkPromise],
    bridges: Iterable[BridgeFact],
    records: Mapping[str, Found],
) -> Mapping[str, NetworkPromise]:
    """Return what networks have already: what they were promised, and on a bridge of others what that has.

    Who leaves such a bridge leaves its subnets there: they are the others'.
    """
    if not bridges and not records:
        return promises
    leaving = {found.network: found.ifname for found in records.values()}
    kept = {}
    for network in networks:
        left = leaving.get(network.name)
        if left is not None and (network.adopt is Adopt.NO or network.bridge_options.link_name != left):
            kept[network.name] = NetworkPromise(name=network.name, id="", created="")
    return {**_found_pools(networks, bridges), **promises, **kept}


def _found_pools(networks: Iterable[NetworkWanted], bridges: Iterable[BridgeFact]) -> Mapping[str, NetworkPromise]:
    """Return the subnets of bridges that networks are to take over, with their own addresses as the gateways."""
    by_name = {bridge.ifname: bridge for bridge in bridges if bridge.addresses}
    found = {}
    for network in networks:
        bridge = by_name.get((network.bridge_options.link_name or "") if network.adopt is not Adopt.NO else "")
        if bridge is not None:
            pools = {interface.network: interface.ip for interface in reversed(bridge.addresses)}
            subnets = sorted(pools.items(), key=lambda pool: pool[0].version)
            found[network.name] = NetworkPromise(name=network.name, id="", created="", subnets=tuple(subnets))
    return found


def with_found(seen: Mapping[Key, Seen], records: Mapping[str, Found]) -> dict[Key, Seen]:
    """Return the adopted bridges, each with how it was found."""
    known = {}
    for ifname, found in records.items():
        bridge = seen.get((AdoptedBridge.kind, HOST, ifname))
        if bridge is not None and bridge.is_ours and isinstance(bridge.object, AdoptedBridge):
            known[bridge.object.key] = Seen(replace(bridge.object, found=found), is_ours=True)
    return known


def kept_adoptions(seen: Mapping[Key, Seen], records: Mapping[str, Found]) -> Iterator[KvRecord]:
    """Yield the records of bridges that carry our mark still, whoever wants them: without them none could be given back."""
    for _, _, ifname in with_found(seen, records):
        yield adoption_record(records[ifname])


def given_back(
    networks: Iterable[DesiredNetwork], endpoints: Iterable[tuple[str, str]], seen: Mapping[Key, Seen]
) -> Iterator[Unit]:
    """Yield the networks that no longer may have the bridge that they adopted, and what is on them: all that goes.

    endpoints: by network and attachment.
    """
    ending = set()
    for network in networks:
        found = seen.get((AdoptedBridge.kind, HOST, network.link_name)) if network.adopted is None else None
        if found is not None and found.is_ours:
            ending.add(network.name)
            yield Unit(network=network.name)
    for name, attachment in endpoints if ending else ():
        if name in ending:
            yield Unit(network=name, attachment=attachment)
