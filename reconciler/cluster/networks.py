"""One global network out of the records that are each fine by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import is_

from msgspec.structs import replace

from reconciler.cluster.question import Reading
from reconciler.incremental import Made
from reconciler.model.cluster import ClusterEndpoint, GlobalNetwork, Member
from reconciler.model.desired import RemoteEndpoint
from reconciler.model.objects import IPAddress, IPInterface
from reconciler.model.subnets import is_reserved


class NetworkFolder:
    """What is below one network, put together again where something in it has changed.

    network: None where its own record is missing or no good. faults: path and reason of what was left out.
    """

    def __init__(self) -> None:
        self.network: GlobalNetwork | None = None
        self.faults: tuple[tuple[str, str], ...] = ()
        self._given: tuple[object, ...] = (None, None, None)
        self._refusals: dict[Reading, str] = {}
        self._remotes: Made[str, RemoteEndpoint] = Made(_remote)

    def take(self, declared: GlobalNetwork | None, readings: Sequence[Reading], vteps: Mapping[str, IPAddress]) -> bool:
        """Return whether anything is otherwise. Whether an endpoint fits in is asked once, until its network changes.

        vteps: where the other hosts are reached that are alive as far as anybody knows.
        """
        before, self._given = self._given, (declared, readings, vteps)
        if all(map(is_, before, self._given)):
            return False
        known, refusal = self._refusals if before[0] is declared else {}, _refusal_of(declared)
        endpoints = {each: each.content for each in readings if isinstance(each.content, ClusterEndpoint)}
        self._refusals = {each: known[each] if each in known else refusal(one) for each, one in endpoints.items()}
        clashing = frozenset(_clashing([each for each in endpoints if not self._refusals[each]]))
        clash = "another endpoint has its id, MAC address or address"
        refused = {each: reason or clash for each, reason in self._refusals.items() if reason or each in clashing}
        self.faults = tuple((each.path, reason) for each, reason in refused.items())
        placed = tuple(one for each, one in endpoints.items() if each not in refused)
        remotes = self._remotes({one.id: (one, vteps[one.host]) for one in placed if one.host in vteps})
        network = declared and replace(
            declared,
            members=tuple(each.content for each in readings if isinstance(each.content, Member)),
            endpoints=placed,
            remote_endpoints=tuple(map(remotes.__getitem__, sorted(remotes))),
        )
        self.network = self.network if network == self.network else network
        return True


def _remote(endpoint: ClusterEndpoint, vtep: IPAddress) -> RemoteEndpoint:
    return RemoteEndpoint(
        network=endpoint.network,
        id=endpoint.id,
        name=endpoint.name,
        host=endpoint.host,
        vtep=vtep,
        mac=endpoint.mac,
        ipv4=endpoint.ipv4,
        ipv6=endpoint.ipv6,
        names=endpoint.names,
    )


def _clashing(readings: Sequence[Reading]) -> Iterator[Reading]:
    """Yield those that share a mark with one before them."""
    if len(frozenset().union(*(each.marks for each in readings))) == sum(len(each.marks) for each in readings):
        return
    used: set[str] = set()
    for reading in readings:
        if used.isdisjoint(reading.marks):
            used |= reading.marks
        else:
            yield reading


def _refusal_of(declared: GlobalNetwork | None) -> Callable[[ClusterEndpoint], str]:
    """Return what says why an endpoint by itself cannot be on a network, "" if it can."""
    if declared is None:
        return lambda _: "its network is not known"
    subnets = {subnet.subnet: subnet for subnet in declared.subnets}
    has_macs = declared.wanted.traits.is_vxlan

    def holds(interface: IPInterface) -> bool:
        subnet = subnets.get(interface.network)
        if subnet is None or is_reserved(interface.ip, subnet.subnet):
            return False
        return interface.ip not in (subnet.gateway, subnet.default_gateway, *(a for _, a in subnet.aux_addresses))

    def refusal(endpoint: ClusterEndpoint) -> str:
        if not all(holds(each) for each in (endpoint.ipv4, endpoint.ipv6) if each is not None):
            return "an address is none for endpoints of its network"
        return "without a MAC address" if has_macs and not endpoint.mac else ""

    return refusal
