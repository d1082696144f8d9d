"""What endpoints on other hosts of the cluster have, and so is not for ours. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256

from msgspec import Struct, field

from reconciler.errors import AddressTaken, NameConflict, PlanError
from reconciler.model.cluster import ClusterEndpoint, ClusterState
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import EndpointWanted


class Elsewhere(Struct, frozen=True, kw_only=True):
    """Other hosts' endpoints by network and name, those of dead hosts too: what they have stays theirs until somebody gives it up.

    contended: networks on which hosts are after the same addresses; choices there begin at a place that depends on `seed`.
    """

    endpoints: Mapping[str, Mapping[str, ClusterEndpoint]] = field(default_factory=dict)
    contended: frozenset[str] = frozenset()
    seed: int = 0

    def addresses(self, network: str) -> Iterator[tuple[IPAddress, str]]:
        """Yield each address in use, and whose it is in words."""
        for endpoint in self.endpoints.get(network, {}).values():
            for interface in (endpoint.ipv4, endpoint.ipv6):
                if interface is not None:
                    yield interface.ip, f"attachment {endpoint.name} on host {endpoint.host} has it"

    def claim_on(self, wanted: EndpointWanted, attachment: str) -> PlanError | None:
        """Return why an endpoint of ours cannot be, because another host has its name or the address that it declares."""
        there = self.endpoints.get(wanted.network)
        if not there:
            return None
        where = f"attachment {attachment}: network {wanted.network}"
        if attachment in there:
            return NameConflict(
                f"{where}: service endpoint with name {attachment} already exists on host {there[attachment].host}; "
                "say with `hosts:` where it shall be, or give it another name"
            )
        declared = {address for address in (wanted.ipv4_address, wanted.ipv6_address) if address is not None}
        taken = next(((a, holder) for a, holder in self.addresses(wanted.network) if a in declared), None)
        if taken is None:
            return None
        return AddressTaken(f"{where}: {taken[0]}: Address already in use: {taken[1]}; choose another address")


def elsewhere(cluster: ClusterState) -> Elsewhere:
    """Return what the cluster's state says of other hosts."""
    endpoints = {
        name: {endpoint.name: endpoint for endpoint in network.endpoints if endpoint.host != cluster.host}
        for name, network in cluster.networks.items()
    }
    seed = int.from_bytes(sha256(cluster.host.encode()).digest()[:4], "big")
    return Elsewhere(endpoints=endpoints, contended=cluster.contended, seed=seed)
