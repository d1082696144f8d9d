"""One global network out of the records that are each fine by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reconciler.cluster.question import Reading
from reconciler.model.cluster import ClusterEndpoint, GlobalNetwork, Member
from reconciler.model.objects import IPInterface, Key, Seen
from reconciler.model.subnets import is_reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What is below one network, as it was put together last: out of which readings, for whom.

    network: None where its own record is missing or no good. faults: path and reason of what was left out.
    """

    declared: GlobalNetwork | None
    readings: Sequence[Reading]
    network: GlobalNetwork | None
    faults: tuple[tuple[str, str], ...]
    view: object = None
    seen: tuple[tuple[Key, Seen], ...] = ()


def folder(declared: GlobalNetwork | None, readings: Sequence[Reading], before: Folder | None) -> Folder:
    """Put a network together, or give what was put together before out of the same."""
    if before is not None and before.declared is declared and before.readings == readings:
        return before
    if declared is None:
        lost = [each for each in readings if isinstance(each.content, ClusterEndpoint)]
        faults = tuple((each.path, "its network is not known") for each in lost)
        return Folder(declared=None, readings=readings, network=None, faults=faults)
    places = _Places(declared, before)
    refused = [(each.path, places.refusal(each)) for each in readings]
    members = tuple(each.content for each in readings if isinstance(each.content, Member))
    return Folder(
        declared=declared,
        readings=readings,
        network=replace(declared, members=members, endpoints=tuple(places.taken)),
        faults=tuple((path, reason) for path, reason in refused if reason),
    )


def with_seen(found: Folder, view: object, is_mine: Callable[[str], bool]) -> Folder:
    """Complete a folder by whose its records are. view: what `is_mine` depends on."""
    if found.view == view:
        return found
    seen = tuple(each.seen(is_ours=is_mine(each.host)) for each in found.readings)
    return replace(found, view=view, seen=seen)


class _Places:
    """The addresses of one network: what fits in and is nobody else's. What was found to fit before is not asked again."""

    def __init__(self, declared: GlobalNetwork, before: Folder | None) -> None:
        subnets = declared.subnets
        self._subnets = {subnet.subnet: subnet for subnet in subnets}
        self._has_macs = declared.wanted.driver == "overlay"
        is_same = before is not None and before.network is not None and before.network.subnets == subnets
        known = before.network.endpoints if is_same and before is not None and before.network is not None else ()
        self._known = frozenset(map(id, known))
        self._used: set[str] = set()
        self.taken: list[ClusterEndpoint] = []

    def refusal(self, reading: Reading) -> str:
        """Take an endpoint in, or say why not; "" for other records."""
        endpoint = reading.content
        if not isinstance(endpoint, ClusterEndpoint):
            return ""
        if id(endpoint) not in self._known and not self._is_place(endpoint):
            return "an address is none for endpoints of its network"
        if self._has_macs and not endpoint.mac:
            return "without a MAC address"
        if not self._used.isdisjoint(reading.marks):
            return "another endpoint has its id, MAC address or address"
        self._used |= reading.marks
        self.taken.append(endpoint)
        return ""

    def _is_place(self, endpoint: ClusterEndpoint) -> bool:
        return all(self._holds(each) for each in (endpoint.ipv4, endpoint.ipv6) if each is not None)

    def _holds(self, interface: IPInterface) -> bool:
        subnet = self._subnets.get(interface.network)
        if subnet is None or is_reserved(interface.ip, subnet.subnet):
            return False
        return interface.ip not in (subnet.gateway, subnet.default_gateway, *(a for _, a in subnet.aux_addresses))
