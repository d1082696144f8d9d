"""From what is wanted to what shall be: every open choice made, those of before kept wherever they still stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from operator import attrgetter
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.errors import AddressesAwaited, PlanError, PoolOverlap, ReconcilerError
from reconciler.incremental import Each, Kept, Made, Table, changed_keys, indexed
from reconciler.ipam.addresses import Chosen, Demand, chosen_addresses
from reconciler.ipam.default_routes import ways_out
from reconciler.ipam.elsewhere import Elsewhere, ElsewhereKnown
from reconciler.ipam.ifnames import chosen_ifnames
from reconciler.ipam.leases import NO_LEASES, Leases
from reconciler.ipam.networks import Failures as NetworkFailures
from reconciler.ipam.networks import desired_networks
from reconciler.ipam.parents import passthru_failures
from reconciler.ipam.promises import EndpointKey, EndpointPromise, NetworkPromise, Promises
from reconciler.ipam.reach import reach_remarks
from reconciler.ipam.standing import Standing, stands
from reconciler.ipam.tunnels import tunnels
from reconciler.model.cluster import ALONE, ClusterNode, ClusterState, GlobalNetwork
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    HostFacts,
    RemoteEndpoint,
)
from reconciler.model.identifiers import HOST, NsRef, attachment_id, endpoint_id, veth_link_name
from reconciler.model.objects import Unit
from reconciler.model.plugins import Node
from reconciler.model.wanted import AttachmentWanted, EndpointWanted, NetworkMode, WantedState

T = TypeVar("T")

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
    return Assigner()(wanted, host, promises, cluster, leases)


class _Given(Struct, frozen=True, kw_only=True):
    """What attachments are decided from. attachments: by name. networks, lost: those that can be had, and why others cannot.

    elsewhere: what endpoints of other hosts have, which `networks` say nothing of.
    """

    wanted: WantedState
    attachments: Table[str, AttachmentWanted]
    host: HostFacts
    promises: Promises
    cluster: ClusterState
    leases: Leases
    networks: Mapping[str, DesiredNetwork]
    lost: NetworkFailures
    elsewhere: Elsewhere


class _Decided(Struct, kw_only=True):
    """What came of it, by name. withdrawn: endpoints that another host has."""

    attachments: dict[str, DesiredAttachment] = field(default_factory=dict)
    failures: Mapping[EndpointKey, ReconcilerError] = field(default_factory=dict)
    withdrawn: Mapping[EndpointKey, ReconcilerError] = field(default_factory=dict)


class Assigner:
    """`assign` for one who asks again. What stands is not decided again, and what is decided as before is the very same value."""

    def __init__(self) -> None:
        self._ask, self._known_elsewhere = Kept(), ElsewhereKnown()
        self._attachments: Each[str, AttachmentWanted, AttachmentWanted] = Each(attrgetter("name"))
        self._whole: Made[str, DesiredNetwork] = Made(_with_remote_endpoints)
        self._standing = Standing()
        self._before: _Given | None = None
        self._decided, self._is_sorted = _Decided(), False
        self._open: frozenset[str] = frozenset()
        self._state: DesiredState | None = None

    def __call__(
        self,
        wanted: WantedState,
        host: HostFacts,
        promises: Promises,
        cluster: ClusterState = ALONE,
        leases: Leases = NO_LEASES,
    ) -> DesiredState:
        before, self._before = self._before, None  # were it to raise, all would be decided anew
        networks, lost = self._ask(
            desired_networks,
            wanted.networks,
            _joined_sublinks(wanted),
            host,
            promises.networks,
            self._ask(ClusterState.without_endpoints, cluster),
            leases,
            wanted.has_faults,
            promises.adopted,
        )
        given = _Given(
            wanted=wanted,
            attachments=self._attachments(wanted.attachments, _itself),
            host=host,
            promises=promises,
            cluster=cluster,
            leases=leases,
            networks=_same_where_equal(before.networks if before is not None else {}, networks),
            lost={name: _same_error(before.lost.get(name) if before else None, error) for name, error in lost.items()},
            elsewhere=self._ask(self._known_elsewhere.__call__, cluster),
        )
        self._decide(given, self._in_question(before, given))
        self._before = given
        state = self._put_together(given)
        if self._state is None or state != self._state:
            self._state = state
        return self._state

    def _in_question(self, before: _Given | None, given: _Given) -> set[str]:
        """Return who is to be decided for; nobody of them stands."""
        if before is None or before.host.name != given.host.name:
            self._standing.clear()
            return set(given.attachments)
        others = given.attachments.changed_since(before.attachments)
        again = {name for name in others if name in given.attachments}
        again.update(_on(given.wanted, _changed_networks(before, given)))
        changed = changed_keys(before.promises.endpoints, given.promises.endpoints) | given.leases.endpoints.keys()
        changed |= changed_keys(before.promises.answers, given.promises.answers)
        maybe = self._open.union(attachment for _, attachment in changed) - again
        for name in (*again, *maybe, *others):
            self._standing.discard(name)
        for name in sorted(maybe & given.attachments.keys()):
            decided = self._decided.attachments.get(name)
            if (
                decided is None
                or not stands(decided, given.promises, given.networks, given.leases)
                or not self._standing.add(decided)
            ):
                again.add(name)
        hit = {
            name for name in self._hit_elsewhere(before, given) if name in given.attachments
        }  # of those who stand by now
        for name in hit:
            self._standing.discard(name)
        return again | hit

    def _hit_elsewhere(self, before: _Given, given: _Given) -> Iterator[str]:
        """Yield the names that endpoints came by or gave up elsewhere, and who stands on their addresses.

        Who wants one and has it not does not stand, and so is asked anyway.
        """
        old, new = before.elsewhere, given.elsewhere
        for network in old.endpoints.keys() | new.endpoints.keys():
            yield from changed_keys(old.endpoints.get(network, {}), new.endpoints.get(network, {}))
        for shelf in old.addresses.keys() | new.addresses.keys():
            holders = self._standing.holders.get(shelf, {})
            for address in changed_keys(old.addresses.get(shelf, {}), new.addresses.get(shelf, {})):
                if address in holders:
                    yield holders[address]

    def _decide(self, given: _Given, again: set[str]) -> None:
        """Decide for those that do not stand, and for whoever stands on something that they want."""
        promised = _promises_to(again, given.promises)
        unread = tuple(_unread(given)) if given.wanted.has_faults else ()
        asking, new = [*unread, *promised.values()], set(again)
        while new:
            endpoints = [e for name in new for e in _asked(given.attachments[name], given.leases)]
            new = set(self._standing.in_the_way(endpoints, asking))
            for name in new:
                self._standing.discard(name)
            more = _promises_to(new, given.promises)
            asking, again, promised = [*more.values()], again | new, {**promised, **more}
        found = _choose_for(given, sorted(again), promised, unread, others=given.elsewhere, standing=self._standing)
        known = self._decided.attachments
        left_out = again - found.attachments.keys()
        gone, decided = known.keys() - given.attachments.keys(), _same_where_equal(known, found.attachments)
        self._is_sorted &= not gone and known.keys().isdisjoint(left_out)
        self._is_sorted &= all(known.get(name) is each for name, each in decided.items())
        for name in gone | (left_out & known.keys()):
            del known[name]
        known |= decided
        failures = {key: _same_error(self._decided.failures.get(key), new) for key, new in found.failures.items()}
        withdrawn = {key: _same_error(self._decided.withdrawn.get(key), new) for key, new in found.withdrawn.items()}
        self._decided = _Decided(attachments=known, failures=failures, withdrawn=withdrawn)
        self._open = frozenset(again)

    def _put_together(self, given: _Given) -> DesiredState:
        wanted, host, decided = given.wanted, given.host, self._decided
        known = given.cluster.networks
        whole = self._whole({name: (each, _remote_endpoints(each, known)) for name, each in given.networks.items()})
        networks = tuple(whole[name] for name in sorted(whole))
        if self._is_sorted and self._state is not None:
            attachments = self._state.attachments
        else:
            attachments, self._is_sorted = (
                tuple(map(decided.attachments.__getitem__, sorted(decided.attachments))),
                True,
            )
        if self._state is not None:
            networks = self._state.networks if networks == self._state.networks else networks
            attachments = self._state.attachments if attachments == self._state.attachments else attachments
        joined = frozenset((*_joined(attachments, wanted, given.promises), *given.elsewhere.own))
        named: list[tuple[Unit, ReconcilerError]] = [(Unit(network=name), error) for name, error in given.lost.items()]
        named += _by_unit(decided.failures)
        return DesiredState(
            host=host,
            networks=networks,
            attachments=attachments,
            failures=tuple(sorted(named, key=lambda failure: failure[0])),
            withdrawn=tuple(_by_unit(decided.withdrawn)),
            nodes=self._ask(_nodes, given.cluster.host, given.cluster.nodes, is_known=given.cluster.is_known),
            tunnels=self._ask(
                tunnels, host, wanted.networks, joined, self._ask(ClusterState.without_endpoints, given.cluster)
            ),
            has_faults=wanted.has_faults,
            remarks=self._ask(_remarks, given.networks, given.promises.networks, host),
        )


def _choose_for(
    given: _Given,
    names: Sequence[str],
    promised: Mapping[EndpointKey, EndpointPromise],
    unread: Sequence[EndpointPromise],
    *,
    others: Elsewhere,
    standing: Standing,
) -> _Decided:
    """Decide for some attachments. promised: to them. standing: what others have, which nothing here is in the way of."""
    networks, lost, promises, leases = given.networks, given.lost, given.promises, given.leases
    withdrawn: dict[EndpointKey, ReconcilerError] = {}
    joining = [_joining(given.attachments[name], networks, lost, others, withdrawn) for name in names]
    ifnames, failures = _ifnames(joining, networks, lost, promises, leases)
    failures = {**passthru_failures(given.wanted, promises), **failures}
    demands = [demand for member in joining for demand in _demands(member, given.host, promises, leases)]
    chosen, failures = chosen_addresses(
        demands, networks, promised, others, unread=unread, failures=failures, standing=standing
    )
    left_out = {attachment for _, attachment in failures}
    made = _Made(host=given.host, networks=networks, promises=promises, ifnames=ifnames, chosen=chosen)
    attachments = {m.wanted.name: made.attachment(m) for m in joining if m.wanted.name not in left_out}
    return _Decided(attachments=attachments, failures=failures, withdrawn=withdrawn)


def _joined_sublinks(wanted: WantedState) -> frozenset[str]:
    """Return the networks on links of the host that somebody is on."""
    names = {network.name for network in wanted.networks if network.sublink is not None}
    return frozenset(e.network for each in wanted.attachments for e in each.endpoints) & names if names else frozenset()


def _changed_networks(before: _Given, given: _Given) -> frozenset[str]:
    """Return the networks that are not as they were."""
    pairs = ((before.networks, given.networks), (before.lost, given.lost))
    return frozenset(
        name for was, now in pairs for name in was.keys() | now.keys() if was.get(name, name) is not now.get(name, name)
    )


def _remote_endpoints(network: DesiredNetwork, known: Mapping[str, GlobalNetwork]) -> tuple[RemoteEndpoint, ...]:
    return known[network.name].remote_endpoints if network.wanted.is_shared and network.name in known else ()


def _with_remote_endpoints(network: DesiredNetwork, remote: tuple[RemoteEndpoint, ...]) -> DesiredNetwork:
    return replace(network, remote_endpoints=remote) if remote else network


def _on(wanted: WantedState, networks: frozenset[str]) -> Iterator[str]:
    """Yield the attachments on any of some networks."""
    for attachment in wanted.attachments if networks else ():
        if any(endpoint.network in networks for endpoint in attachment.endpoints):
            yield attachment.name


def _promises_to(names: Set[str], promises: Promises) -> dict[EndpointKey, EndpointPromise]:
    of = indexed(promises.endpoints, _attachment) if names else {}
    return {key: promises.endpoints[key] for name in sorted(names) for key in sorted(of.get(name, ()))}


def _attachment(key: EndpointKey, _: EndpointPromise) -> tuple[str]:
    return (key[1],)


def _itself(attachment: AttachmentWanted) -> AttachmentWanted:
    return attachment


def _asked(attachment: AttachmentWanted, leases: Leases) -> Iterator[EndpointWanted]:
    return (leases.endpoints.get((e.network, attachment.name), e) for e in attachment.endpoints)


def _same_where_equal(before: Mapping[str, T], now: Mapping[str, T]) -> dict[str, T]:
    """Return the values of now, those of before where they are equal."""
    return {name: old if (old := before.get(name)) == new and old is not None else new for name, new in now.items()}


def _same_error(before: ReconcilerError | None, now: ReconcilerError) -> ReconcilerError:
    """Errors are told apart by what they are and say."""
    return before if before is not None and type(before) is type(now) and str(before) == str(now) else now


def _remarks(
    networks: Mapping[str, DesiredNetwork], promises: Mapping[str, NetworkPromise], host: HostFacts
) -> tuple[tuple[Unit, str], ...]:
    pools = {name: frozenset(pool for pool, _ in promise.subnets) for name, promise in promises.items()}
    return tuple(reach_remarks([networks[name] for name in sorted(networks)], pools, host))


def _joined(attachments: Sequence[DesiredAttachment], wanted: WantedState, promises: Promises) -> Iterator[str]:
    """Yield the networks that attachments are on here, or stay on as nothing could be decided for them."""
    yield from (endpoint.network for attachment in attachments for endpoint in attachment.endpoints)
    declared, decided = {each.name for each in wanted.attachments}, {each.name for each in attachments}
    for network, attachment in promises.endpoints:
        if attachment not in decided and (wanted.has_faults or attachment in declared):
            yield network


def _nodes(host: str, known: Mapping[str, ClusterNode], *, is_known: bool) -> tuple[Node, ...] | None:
    """Return the hosts that are alive as plugins are told of them, None while the cluster's store never answered.

    This one is alive whatever its own sign of life says, which a watcher that was started anew has yet to give.
    """
    if host != ALONE.host and not is_known:
        return None
    alive = (node for _, node in sorted(known.items()) if node.is_alive or node.name == host)
    nodes = (Node(address=str(node.address), is_self=node.name == host) for node in alive)
    return tuple(sorted(nodes, key=lambda node: node.is_self))


def _by_unit(errors: Mapping[EndpointKey, ReconcilerError]) -> list[tuple[Unit, ReconcilerError]]:
    return [(Unit(network=network, attachment=attachment), error) for (network, attachment), error in errors.items()]


def _unread(given: _Given) -> Iterator[EndpointPromise]:
    """Yield what was promised to endpoints that may still be wanted by specs that could not be read.

    A declared attachment says completely which networks it is on: what it left goes in this pass, as in `plan`.
    """
    promises = given.promises.endpoints.values()
    return (promise for promise in promises if promise.attachment not in given.attachments)


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
