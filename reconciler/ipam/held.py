"""What stays as it runs although nothing was decided for it: everything that is derived counts it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from operator import attrgetter

from msgspec.structs import replace

from reconciler.errors import PlanError, ReconcilerError
from reconciler.ipam.promises import EndpointPromise, NetworkPromise, Promises
from reconciler.model.desired import (
    DesiredAttachment,
    DesiredEndpoint,
    DesiredNetwork,
    DesiredState,
    DesiredSubnet,
    PortBinding,
)
from reconciler.model.identifiers import GATEWAY_NETWORK, NsRef, attachment_id, is_own_parent_name
from reconciler.model.objects import Unit
from reconciler.model.wanted import (
    AttachmentWanted,
    EndpointWanted,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    WantedState,
)

_NOWHERE = NsRef("?")

Published = Mapping[Unit, tuple[PortBinding, ...]]
"""What is published at each endpoint."""


def of_attachments(published: Published) -> dict[str, tuple[PortBinding, ...]]:
    """Return the same by the attachments' names."""
    found: defaultdict[str, tuple[PortBinding, ...]] = defaultdict(tuple)
    for unit, bindings in published.items():
        found[unit.attachment] += bindings
    return dict(found)


def with_held(
    desired: DesiredState,
    wanted: WantedState,
    promises: Promises,
    published: Published,
    promised: Mapping[str, tuple[PortBinding, ...]],
) -> DesiredState:
    """Add the members and networks that failed, or may stand in specs that cannot be read, as they were promised.

    A network that is no longer declared stays with the members that do. published: by the firewall right now. promised: by the
    store, to attachments of which the firewall knows nothing. Safe to repeat. Gives `desired` itself when nothing is held.
    """
    unread = _unread(wanted, promises) if desired.has_faults else frozenset()
    names = {unit.attachment for unit, _ in desired.failures if unit.attachment} | unread
    lost = {unit.network for unit, _ in desired.failures if unit.network and not unit.attachment}
    if not names and not lost and not desired.has_faults:
        return desired
    holding = _Holding(desired=desired, wanted=wanted, promises=promises, published=published, promised=promised)
    held = tuple(holding.attachment(name) for name in sorted(names))
    stranded = () if desired.has_faults else tuple(holding.stranded(held, lost))
    known = {network.name for network in desired.networks}
    staying = (
        lost | {unit.network for unit, _ in stranded} | (promises.networks.keys() if desired.has_faults else set())
    )
    return replace(
        desired,
        held=held,
        held_networks=tuple(holding.network(name) for name in sorted((staying & promises.networks.keys()) - known)),
        failures=tuple(sorted((*desired.failures, *stranded), key=lambda failure: failure[0])),
    )


def _unread(wanted: WantedState, promises: Promises) -> frozenset[str]:
    declared = {attachment.name for attachment in wanted.attachments}
    return frozenset(attachment for _, attachment in promises.endpoints) - declared


class _Holding:
    def __init__(
        self,
        *,
        desired: DesiredState,
        wanted: WantedState,
        promises: Promises,
        published: Published,
        promised: Mapping[str, tuple[PortBinding, ...]],
    ) -> None:
        self._host = desired.host
        self._known = {network.name for network in desired.networks}
        self._declared = {attachment.name: attachment for attachment in wanted.attachments}
        self._networks = {network.name: network for network in wanted.networks}
        self._promises, self._published, self._promised = promises, published, promised
        self._is_published = {unit.attachment for unit in published}
        self._endpoints: dict[str, list[EndpointPromise]] = {}
        for promise in promises.endpoints.values():
            self._endpoints.setdefault(promise.attachment, []).append(promise)

    def attachment(self, name: str) -> DesiredAttachment:
        wanted = self._declared.get(name)
        ns = _NOWHERE if wanted is None else wanted.sandbox.ns
        promised = sorted(self._endpoints.get(name, ()), key=attrgetter("network"))
        known = wanted or AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.NETNS, name))
        return DesiredAttachment(
            wanted=known,
            id=attachment_id(self._host.name, name),
            ns=ns,
            endpoints=tuple(self._endpoint(known, ns, promise) for promise in promised),
            is_declared=wanted is not None,
        )

    def _endpoint(self, attachment: AttachmentWanted, ns: NsRef, promise: EndpointPromise) -> DesiredEndpoint:
        declared = next((each for each in attachment.endpoints if each.network == promise.network), None)
        is_gateway = promise.network == GATEWAY_NETWORK
        return DesiredEndpoint(
            wanted=declared or EndpointWanted(network=promise.network, is_gateway=is_gateway),
            attachment=promise.attachment,
            id=promise.id,
            ns=ns,
            ifname=promise.ifname,
            link_name=promise.link_name,
            ipv4=promise.ipv4,
            ipv6=promise.ipv6,
            mac=promise.mac,
            ports=tuple(self._ports(promise)),
        )

    def _ports(self, promise: EndpointPromise) -> Iterator[PortBinding]:
        unit = Unit(network=promise.network, attachment=promise.attachment)
        is_forgotten = promise.attachment not in self._is_published
        found = self._promised.get(promise.attachment, ()) if is_forgotten else self._published.get(unit, ())
        addresses = {4: promise.ipv4, 6: promise.ipv6}
        return (binding for binding in found if addresses[binding.host_ip.version] is not None)

    def stranded(self, held: tuple[DesiredAttachment, ...], lost: set[str]) -> Iterator[tuple[Unit, ReconcilerError]]:
        """Yield the networks that nobody declares any more, but a member stays on."""
        members: dict[str, str] = {}
        for endpoint in chain.from_iterable(attachment.endpoints for attachment in held):
            members.setdefault(endpoint.network, endpoint.attachment)
        for name in sorted(members.keys() - self._known - lost - self._networks.keys()):
            text = f"network {name} is no longer declared, but attachment {members[name]} stays on it as it is, so it stays too"
            yield Unit(network=name), PlanError(text)

    def network(self, name: str) -> DesiredNetwork:
        promise = self._promises.networks[name]
        is_dead_end = is_own_parent_name(promise.link_name)
        return DesiredNetwork(
            wanted=self._networks.get(name) or NetworkWanted(name=name),
            id=promise.id,
            created=promise.created,
            subnets=tuple(_subnets(promise)),
            link_name="" if is_dead_end else promise.link_name,
        )


def _subnets(promise: NetworkPromise) -> Iterator[DesiredSubnet]:
    for subnet, gateway in promise.subnets:
        yield DesiredSubnet(subnet=subnet, gateway=gateway, default_gateway=gateway, vni=promise.vnis.get(subnet))
