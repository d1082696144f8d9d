"""From what is wanted to what shall be: every open choice made, those of before kept wherever they still stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from reconciler.errors import AddressesAwaited, PlanError, PoolOverlap, ReconcilerError
from reconciler.ipam.addresses import Chosen, Demand, EndpointKey, chosen_addresses
from reconciler.ipam.default_routes import ways_out
from reconciler.ipam.elsewhere import Elsewhere, elsewhere
from reconciler.ipam.ifnames import chosen_ifnames
from reconciler.ipam.leases import NO_LEASES, Leases
from reconciler.ipam.networks import Failures as NetworkFailures
from reconciler.ipam.networks import desired_networks
from reconciler.ipam.parents import passthru_failures
from reconciler.ipam.promises import Promises
from reconciler.ipam.reach import reach_remarks
from reconciler.ipam.tunnels import tunnels
from reconciler.model.cluster import ALONE, ClusterState
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredState, HostFacts
from reconciler.model.identifiers import HOST, NsRef, attachment_id, endpoint_id, veth_link_name
from reconciler.model.objects import IPNetwork, Unit
from reconciler.model.plugins import Node
from reconciler.model.wanted import AttachmentWanted, EndpointWanted, NetworkMode, WantedState

_DEFAULT_NETWORK = "bridge"
"""Switched off by `--bridge none`; attachments on it then have no network."""


def assign(
    wanted: WantedState,
    host: HostFacts,
    promises: Promises,
    cluster: ClusterState = ALONE,
    leases: Leases = NO_LEASES,
) -> DesiredState:
    """Choose pools, addresses, MACs, interface names and default routes; never raises for what one unit cannot have.

    Such units stand in `failures` and are left out; an attachment is left out as a whole. What they were promised stays
    reserved, as they stay as they run. What another host of the cluster has is not for us: such endpoints are `withdrawn`.
    The order of anything in the input does not matter.
    """
    networks, lost = desired_networks(wanted, host, promises.networks, cluster, leases)
    others = elsewhere(cluster)
    withdrawn: dict[EndpointKey, ReconcilerError] = {}
    joining = [
        _joining(attachment, networks, lost, others, withdrawn)
        for attachment in sorted(wanted.attachments, key=lambda a: a.name)
    ]
    ifnames, failures = _ifnames(joining, networks, lost, promises, leases)
    failures = {**passthru_failures(wanted, promises), **failures}
    demands = [demand for member in joining for demand in _demands(member, host, promises, leases)]
    unread = _unread(wanted, promises) if wanted.has_faults else ()
    chosen, failures = chosen_addresses(demands, networks, promises.endpoints, others, unread=unread, failures=failures)
    left_out = {attachment for _, attachment in failures}
    shown = tuple(networks[name] for name in sorted(networks))
    made = _Made(host=host, networks=networks, promises=promises, ifnames=ifnames, chosen=chosen)
    named: list[tuple[Unit, ReconcilerError]] = [(Unit(network=name), error) for name, error in lost.items()]
    named += _by_unit(failures)
    attachments = tuple(made.attachment(member) for member in joining if member.wanted.name not in left_out)
    return DesiredState(
        host=host,
        networks=shown,
        attachments=attachments,
        failures=tuple(sorted(named, key=lambda failure: failure[0])),
        withdrawn=tuple(_by_unit(withdrawn)),
        nodes=_nodes(cluster),
        tunnels=tunnels(host, wanted.networks, _joined(attachments, wanted, promises), cluster),
        has_faults=wanted.has_faults,
        remarks=tuple(reach_remarks(shown, _pools_before(promises), host)),
    )


def _pools_before(promises: Promises) -> Mapping[str, frozenset[IPNetwork]]:
    return {name: frozenset(pool for pool, _ in promise.subnets) for name, promise in promises.networks.items()}


def _joined(attachments: Sequence[DesiredAttachment], wanted: WantedState, promises: Promises) -> Iterator[str]:
    """Yield the networks that attachments are on here, or stay on as nothing could be decided for them."""
    yield from (endpoint.network for attachment in attachments for endpoint in attachment.endpoints)
    declared, decided = {each.name for each in wanted.attachments}, {each.name for each in attachments}
    for network, attachment in promises.endpoints:
        if attachment not in decided and (wanted.has_faults or attachment in declared):
            yield network


def _nodes(cluster: ClusterState) -> tuple[Node, ...] | None:
    """Return the hosts that are alive as plugins are told of them, None while the cluster's store never answered.

    This one is alive whatever its own sign of life says, which a watcher that was started anew has yet to give.
    """
    if cluster.host != ALONE.host and not cluster.is_known:
        return None
    alive = (node for _, node in sorted(cluster.nodes.items()) if node.is_alive or node.name == cluster.host)
    nodes = (Node(address=str(node.address), is_self=node.name == cluster.host) for node in alive)
    return tuple(sorted(nodes, key=lambda node: node.is_self))


def _by_unit(errors: Mapping[EndpointKey, ReconcilerError]) -> list[tuple[Unit, ReconcilerError]]:
    return [(Unit(network=network, attachment=attachment), error) for (network, attachment), error in errors.items()]


def _unread(wanted: WantedState, promises: Promises) -> Iterator[EndpointKey]:
    """Yield promised endpoints that may still be wanted by specs that could not be read.

    A declared attachment says completely which networks it is on: what it left goes in this pass, as in `plan`.
    """
    declared = {attachment.name for attachment in wanted.attachments}
    return (key for key, promise in promises.endpoints.items() if promise.attachment not in declared)


class _JoiningAttachment(Struct, frozen=True, kw_only=True):
    """An attachment, and those of its endpoints that need choices."""

    wanted: AttachmentWanted
    endpoints: tuple[EndpointWanted, ...]


def _joining(
    attachment: AttachmentWanted,
    networks: Mapping[str, DesiredNetwork],
    lost: NetworkFailures,
    others: Elsewhere,
    withdrawn: dict[EndpointKey, ReconcilerError],
) -> _JoiningAttachment:
    """Return the attachment with the endpoints that it may have here; the others are added to `withdrawn`."""
    if attachment.mode is not NetworkMode.NETWORKS:
        return _JoiningAttachment(wanted=attachment, endpoints=())
    is_bridge_off = _DEFAULT_NETWORK not in networks and _DEFAULT_NETWORK not in lost
    endpoints = [e for e in attachment.endpoints if not (is_bridge_off and e.network == _DEFAULT_NETWORK)]
    for endpoint in tuple(endpoints):
        claim = others.claim_on(endpoint, attachment.name)
        if claim is not None:
            withdrawn[endpoint.network, attachment.name] = claim
            endpoints.remove(endpoint)
    return _JoiningAttachment(wanted=attachment, endpoints=tuple(endpoints))


def _demands(member: _JoiningAttachment, host: HostFacts, promises: Promises, leases: Leases) -> Iterator[Demand]:
    name = member.wanted.name
    for endpoint in member.endpoints:
        asking = leases.endpoints.get((endpoint.network, name), endpoint)
        yield Demand(wanted=asking, attachment=name, id=_endpoint_id(endpoint.network, name, host, promises))


def _endpoint_id(network: str, attachment: str, host: HostFacts, promises: Promises) -> str:
    """Return the promised id, which outlives a change of the host's name: the link is named after it."""
    promise = promises.endpoints.get((network, attachment))
    return promise.id if promise else endpoint_id(host.name, network, attachment)


def _ifnames(
    joining: Sequence[_JoiningAttachment],
    networks: Mapping[str, DesiredNetwork],
    lost: NetworkFailures,
    promises: Promises,
    leases: Leases,
) -> tuple[Mapping[EndpointKey, str], Mapping[EndpointKey, PlanError]]:
    """Return interface names by endpoint, and the endpoints that fail before any address is chosen."""
    names: dict[EndpointKey, str] = {}
    failures: dict[EndpointKey, PlanError] = {}
    for member in joining:
        attachment = member.wanted.name
        missing = [e.network for e in member.endpoints if e.network not in networks]
        if missing:
            failures |= {(network, attachment): _without_network(attachment, network, lost) for network in missing}
            continue
        overlap = _overlap(attachment, [networks[e.network] for e in member.endpoints])
        if overlap is not None:
            failures["", attachment] = overlap
            continue
        on = [endpoint.network for endpoint in member.endpoints]
        if awaiting := [name for name in on if Unit(network=name, attachment=attachment) in leases.awaiting]:
            failures |= {(network, attachment): _awaited_address(attachment, network) for network in awaiting}
            continue
        promised = {
            e.network: promise.ifname
            for e in member.endpoints
            if (promise := promises.endpoints.get((e.network, attachment))) is not None
        }
        try:
            answers = {e.network: a for e in member.endpoints if (a := promises.answers.get((e.network, attachment)))}
            chosen = chosen_ifnames(attachment, member.endpoints, networks, promised, answers)
        except PlanError as error:
            failures["", attachment] = error
        else:
            names |= {(network, attachment): ifname for network, ifname in chosen.items()}
    return names, failures


def _overlap(attachment: str, networks: Sequence[DesiredNetwork]) -> PoolOverlap | None:
    """Networks of different worlds may have one subnet, but no sandbox can tell two of them apart."""
    if all(network.scope == "local" for network in networks):
        return None
    pools = [(subnet.subnet, network.name) for network in networks for subnet in network.subnets]
    for index, (pool, name) in enumerate(pools):
        for other, of in pools[:index]:
            if of != name and other.version == pool.version and other.overlaps(pool):
                return PoolOverlap(
                    f"attachment {attachment}: is on networks {of} and {name}, whose subnets {other} and {pool} overlap; "
                    "leave one of them, or give one of them another subnet"
                )
    return None


def _without_network(attachment: str, network: str, lost: NetworkFailures) -> PlanError:
    if isinstance(lost.get(network), AddressesAwaited):
        return AddressesAwaited(f"attachment {attachment}: stays as it is until network {network} has its pools")
    if network in lost:
        return PlanError(f"attachment {attachment}: stays as it is until network {network} can be had")
    return PlanError(f"attachment {attachment}: network {network} is not declared")


def _awaited_address(attachment: str, network: str) -> AddressesAwaited:
    return AddressesAwaited(f"attachment {attachment}: its address on network {network} is to come from a plugin")


class _Made(Struct, frozen=True, kw_only=True):
    """All choices, put together into attachments."""

    host: HostFacts
    networks: Mapping[str, DesiredNetwork]
    promises: Promises
    ifnames: Mapping[EndpointKey, str]
    chosen: Mapping[EndpointKey, Chosen]

    def attachment(self, member: _JoiningAttachment) -> DesiredAttachment:
        wanted = member.wanted
        ns = HOST if wanted.mode is NetworkMode.HOST else wanted.sandbox.ns
        if wanted.mode is NetworkMode.NETWORKS:
            endpoints = tuple(self._endpoints(member, ns))
        else:
            endpoints = (self._bare_endpoint(wanted, ns),)
        id_ = attachment_id(self.host.name, wanted.name)
        return DesiredAttachment(wanted=wanted, id=id_, ns=ns, endpoints=endpoints)

    def _endpoints(self, member: _JoiningAttachment, ns: NsRef) -> Iterator[DesiredEndpoint]:
        name = member.wanted.name
        answers = {e.network: a for e in member.endpoints if (a := self.promises.answers.get((e.network, name)))}
        ways = ways_out(((e, self.chosen[e.network, name]) for e in member.endpoints), self.networks, answers)
        best_ipv4 = next((way for way in ways if way.leads(4)), None)
        best_ipv6 = next((way for way in ways if way.leads(6)), None)
        for way in ways:
            key = (way.wanted.network, name)
            id_ = _endpoint_id(*key, self.host, self.promises)
            chosen = self.chosen[key]
            yield DesiredEndpoint(
                wanted=way.wanted,
                attachment=name,
                id=id_,
                ns=ns,
                ifname=self.ifnames[key],
                link_name=veth_link_name(id_),
                ipv4=chosen.ipv4,
                ipv6=chosen.ipv6,
                mac=chosen.mac,
                gateway_ipv4=way.ipv4,
                gateway_ipv6=way.ipv6,
                is_default_ipv4=way is best_ipv4,
                is_default_ipv6=way is best_ipv6,
            )

    def _bare_endpoint(self, attachment: AttachmentWanted, ns: NsRef) -> DesiredEndpoint:
        """Return the endpoint of mode none or host, which exists for inspect only: networks of these names."""
        wanted = EndpointWanted(network=attachment.mode.value)
        id_ = _endpoint_id(wanted.network, attachment.name, self.host, self.promises)
        return DesiredEndpoint(wanted=wanted, attachment=attachment.name, id=id_, ns=ns)
