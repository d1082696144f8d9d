"""What endpoints on other hosts of the cluster have, and so is not for ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from msgspec import Struct, field

from reconciler.errors import AddressTaken, NameConflict, PlanError
from reconciler.model.cluster import ClusterEndpoint, ClusterState
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import EndpointWanted


class Elsewhere(Struct, frozen=True, kw_only=True):
    """Other hosts' endpoints by network and name, those of dead hosts too: what they have stays theirs until somebody gives it up.

    addresses: the same by network with address family, and by address.
    contended: networks on which hosts are after the same addresses; choices there begin at a place that depends on `seed`.
    """

    endpoints: Mapping[str, Mapping[str, ClusterEndpoint]] = field(default_factory=dict)
    addresses: Mapping[tuple[str, int], Mapping[int, ClusterEndpoint]] = field(default_factory=dict)
    contended: frozenset[str] = frozenset()
    seed: int = 0

    def holder(self, network: str, address: IPAddress) -> str | None:
        """Return in words whose an address is, None if it is nobody's elsewhere."""
        endpoint = self.addresses.get((network, address.version), {}).get(int(address))
        return None if endpoint is None else has_it(endpoint)

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
        for address in (wanted.ipv4_address, wanted.ipv6_address):
            holder = None if address is None else self.holder(wanted.network, address)
            if holder is not None:
                return AddressTaken(f"{where}: {address}: Address already in use: {holder}; choose another address")
        return None


def has_it(endpoint: ClusterEndpoint) -> str:
    return f"attachment {endpoint.name} on host {endpoint.host} has it"


def elsewhere(cluster: ClusterState) -> Elsewhere:
    """Return what the cluster's state says of other hosts."""
    endpoints = {
        name: {endpoint.name: endpoint for endpoint in network.endpoints if endpoint.host != cluster.host}
        for name, network in cluster.networks.items()
    }
    addresses = {(name, 4): {int(e.ipv4): e for e in there.values() if e.ipv4} for name, there in endpoints.items()}
    addresses |= {(name, 6): {int(e.ipv6): e for e in there.values() if e.ipv6} for name, there in endpoints.items()}
    seed = int.from_bytes(sha256(cluster.host.encode()).digest()[:4], "big")
    return Elsewhere(endpoints=endpoints, addresses=addresses, contended=cluster.contended, seed=seed)
