"""What endpoints on other hosts of the cluster have, and so is not for ours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from operator import attrgetter

from msgspec import Struct, field

from reconciler.errors import AddressTaken, NameConflict, PlanError
from reconciler.incremental import By, Table
from reconciler.model.cluster import ClusterEndpoint, ClusterState
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import EndpointWanted


class Elsewhere(Struct, frozen=True, kw_only=True):
    """Other hosts' endpoints by network and name, those of dead hosts too: what they have stays theirs until somebody gives it up.

    addresses: the same by network with address family, and by address. own: networks with endpoints of this host.
    contended: networks on which hosts are after the same addresses; choices there begin at a place that depends on `seed`.
    """

    endpoints: Mapping[str, Mapping[str, ClusterEndpoint]] = field(default_factory=dict)
    addresses: Mapping[tuple[str, int], Mapping[int, ClusterEndpoint]] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
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


class ElsewhereKnown:
    """What the cluster's state says of other hosts, for one who asks again: it costs what has changed of their endpoints."""

    def __init__(self) -> None:
        self._host = ""
        self._networks: dict[str, _Network] = {}

    def __call__(self, cluster: ClusterState) -> Elsewhere:
        if self._host != cluster.host:
            self._host = cluster.host
            self._networks.clear()
        for name, network in cluster.networks.items():
            self._networks.setdefault(name, _Network(cluster.host)).take(network.endpoints)
        for name in self._networks.keys() - cluster.networks.keys():
            del self._networks[name]
        known = self._networks
        return Elsewhere(
            endpoints={name: each.endpoints for name, each in known.items()},
            addresses={(name, version): each.addresses[version] for name, each in known.items() for version in (4, 6)},
            own=frozenset(name for name, each in known.items() if each.own),
            contended=cluster.contended,
            seed=int.from_bytes(sha256(cluster.host.encode()).digest()[:4], "big"),
        )


class _Network:
    """The endpoints of one network. endpoints, addresses: as `Elsewhere` has them; own: the names of this host's."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._by: By[str, ClusterEndpoint] = By(attrgetter("name"))
        self.endpoints: Table[str, ClusterEndpoint] = Table()
        self.addresses: dict[int, Table[int, ClusterEndpoint]] = {4: Table(), 6: Table()}
        self.own: set[str] = set()

    def take(self, endpoints: Sequence[ClusterEndpoint]) -> None:
        gone, come = self._by(endpoints)
        if not gone and not come:
            return
        self.own -= gone.keys()
        self.own.update(name for name, each in come.items() if each.host == self._host)
        old, new = ({name: each for name, each in found.items() if each.host != self._host} for found in (gone, come))
        self.endpoints = self.endpoints.updated(new, gone)
        for version, table in self.addresses.items():
            left = _addresses(old, version).keys()
            self.addresses[version] = table.updated(_addresses(new, version), left)


def _addresses(endpoints: Mapping[str, ClusterEndpoint], version: int) -> Mapping[int, ClusterEndpoint]:
    found = ((each.ipv4 if version == 4 else each.ipv6, each) for each in endpoints.values())
    return {int(interface): each for interface, each in found if interface is not None}
