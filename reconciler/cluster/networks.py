"""One global network out of the records that are each fine by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, is_

from msgspec.structs import replace

from reconciler.cluster.question import RecordReading
from reconciler.incremental import By, Ordered
from reconciler.model.cluster import ClusterEndpoint, GlobalNetwork, NetworkMember
from reconciler.model.desired import RemoteEndpoint
from reconciler.model.objects import IPAddress, IPInterface
from reconciler.model.subnets import is_reserved


class NetworkFolder:
    """What is below one network: of thousands of endpoints those alone are placed that came, until the network changes.

    network: None where its own record is missing or no good. faults: path and reason of what was left out.
    """

    def __init__(self) -> None:
        self.network: GlobalNetwork | None = None
        self.faults: tuple[tuple[str, str], ...] = ()
        self._given: tuple[object, ...] = (None, None, None)
        self._readings: By[str, RecordReading] = By(attrgetter("path"))
        self._remotes: dict[str, RemoteEndpoint] = {}
        self._forget()

    def take(
        self, declared: GlobalNetwork | None, readings: Sequence[RecordReading], vteps: Mapping[str, IPAddress]
    ) -> bool:
        """Return whether anything is otherwise. vteps: where the other hosts are reached that are alive as far as anybody knows."""
        before, self._given = self._given, (declared, readings, vteps)
        if all(map(is_, before, self._given)):
            return False
        gone, come = self._readings(readings)
        is_other = before[0] is not declared or before[2] is not vteps
        if is_other or self._is_clashing or not self._is_brought_up_to_date(gone, come, declared, vteps):
            self._forget()
            self._place(readings, declared, vteps)
        network = declared and replace(
            declared,
            members=self._members.values(),
            endpoints=self._endpoints.values(),
            remote_endpoints=self._elsewhere.values(),
        )
        self.network = self.network if network == self.network else network
        self.faults = tuple((each.path, reason) for each, reason in self._refused.items())
        return True

    def _forget(self) -> None:
        self._former, self._remotes = self._remotes, {}
        self._elsewhere: Ordered[str, RemoteEndpoint] = Ordered()
        self._members: Ordered[str, NetworkMember] = Ordered()
        self._endpoints: Ordered[str, ClusterEndpoint] = Ordered()
        self._refused: dict[RecordReading, str] = {}
        self._marks: set[str] = set()
        self._is_clashing = False

    def _is_brought_up_to_date(
        self,
        gone: Mapping[str, RecordReading],
        come: Mapping[str, RecordReading],
        declared: GlobalNetwork | None,
        vteps: Mapping[str, IPAddress],
    ) -> bool:
        """Return False where one came that shares something with another: which of them was the first, all together say."""
        for each in gone.values():
            self._take_out(each)
        self._place([come[path] for path in sorted(come)], declared, vteps)
        return not self._is_clashing

    def _place(
        self, readings: Sequence[RecordReading], declared: GlobalNetwork | None, vteps: Mapping[str, IPAddress]
    ) -> None:
        refusal = _refusal_of(declared)
        for each in readings:
            if isinstance(each.content, NetworkMember):
                self._members.put(each.path, each.content)
            if not isinstance(each.content, ClusterEndpoint):
                continue
            reason, vtep = refusal(each.content), vteps.get(each.content.host)
            if not reason and not self._marks.isdisjoint(each.marks):
                reason, self._is_clashing = "another endpoint has its id, MAC address or address", True
            if reason:
                self._refused[each] = reason
                continue
            self._marks |= each.marks
            self._endpoints.put(each.path, each.content)
            if vtep is not None:
                remote = _remote(each.content, vtep)
                former = self._former.get(remote.id)
                self._remotes[remote.id] = remote if former is None or former != remote else former
                self._elsewhere.put(remote.id, self._remotes[remote.id])

    def _take_out(self, reading: RecordReading) -> None:
        content = reading.content
        if self._refused.pop(reading, None) is not None:
            return
        if isinstance(content, NetworkMember):
            self._members.drop(reading.path)
        if isinstance(content, ClusterEndpoint):
            self._marks -= reading.marks
            self._endpoints.drop(reading.path)
            if self._remotes.pop(content.id, None) is not None:
                self._elsewhere.drop(content.id)


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
