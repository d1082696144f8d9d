"""The driver of networks that are a plugin's: calls to it as objects, and what it answered carried out in the sandbox.

An endpoint comes in two rounds of a pass: the plugin is told of it, and what it answers says which link is moved into the sandbox
and which routes lead through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reconciler.drivers.remote_told import plugin_network, plugin_ports
from reconciler.drivers.sandbox_side import sandbox_side
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.identifiers import short_id
from reconciler.model.objects import Object, PluginLink, Route
from reconciler.model.plugins import JoinAnswer


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Return what the plugin is told of the network."""
    yield plugin_network(network)


def compile_endpoint(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterable[Object]:
    """Return what the plugin is told of it and, where it answered, the link with addresses and routes."""
    if endpoint.told is None:
        return
    yield endpoint.told
    if endpoint.answer is not None:
        yield from plugin_ports(network, endpoint, endpoint.told)
        yield from _sandbox_side(network, endpoint, endpoint.answer, host)


def _sandbox_side(
    network: DesiredNetwork, endpoint: DesiredEndpoint, answer: JoinAnswer, host: HostFacts
) -> Iterator[Object]:
    """A plugin that made no link reaches the sandbox in its own way."""
    if not answer.src_name:
        return
    yield PluginLink(
        unit=endpoint.unit,
        ns=endpoint.ns,
        ifname=endpoint.ifname,
        mac=endpoint.mac,
        src_name=answer.src_name,
        src_index=answer.src_index,
        endpoint=short_id(endpoint.id),
    )
    yield from sandbox_side(endpoint, host, network.mtu)
    for route in answer.routes:
        yield Route(
            unit=endpoint.unit,
            ns=endpoint.ns,
            destination=route.destination,
            gateway=route.next_hop,
            ifname=endpoint.ifname,
        )
