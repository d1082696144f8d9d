"""The way out for attachments on overlay networks: a local bridge network that exists while somebody needs it.

docs/design/docker.md#docker_gwbridge: containers there reach the world, and are reached by published ports, but not each other.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from reconciler.incremental import Made
from reconciler.model.identifiers import GATEWAY_NETWORK
from reconciler.model.plugins import JoinAnswer
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    GatewayMode,
    NetworkMode,
    NetworkWanted,
    WantedState,
)

_LAST: Final = -(1 << 31)
"""Below every priority that a spec gives: other networks' interfaces are numbered first."""

_NO_ANSWERS: Final[Mapping[tuple[str, str], JoinAnswer]] = {}

_OPTIONS: Final = (
    ("com.docker.network.bridge.enable_icc", "false"),
    ("com.docker.network.bridge.enable_ip_masquerade", "true"),
    ("com.docker.network.bridge.name", GATEWAY_NETWORK),
)

_IMPLIED: Final = NetworkWanted(
    name=GATEWAY_NETWORK,
    options=_OPTIONS,
    bridge=BridgeOptions(link_name=GATEWAY_NETWORK, is_icc_enabled=False),
)


Answers = Mapping[tuple[str, str], JoinAnswer]


def with_gateway_network(wanted: WantedState, answers: Answers = _NO_ANSWERS) -> WantedState:
    """Join each attachment that has no other way out than an overlay network to the gateway network, declared or implied.

    So too one on a network of a plugin that gave it no way out, and did not say that it needs none.

    answers: of plugins, by network and attachment. Safe to repeat. Gives `wanted` itself when nobody needs it, or has it already.
    """
    return GatewayJoiner()(wanted, answers)


class GatewayJoiner:
    """`with_gateway_network` for one who asks again: who is joined as before is the very same attachment."""

    def __init__(self) -> None:
        self._joined: Made[str, AttachmentWanted] = Made(_joined)

    def __call__(self, wanted: WantedState, answers: Answers) -> WantedState:
        networks = {network.name: network for network in wanted.networks}
        without = {network.name for network in wanted.networks if network.traits.is_vxlan}
        without |= {network for (network, _), answer in answers.items() if answer.needs_way_out}
        inputs = {
            attachment.name: (attachment, *((networks.get(n), answers.get((n, attachment.name))) for n in on))
            for attachment in (wanted.attachments if without else ())
            if not without.isdisjoint(on := [endpoint.network for endpoint in attachment.endpoints])
        }
        joined = self._joined(inputs)
        if not joined:
            return wanted
        attachments = tuple(joined.get(attachment.name, attachment) for attachment in wanted.attachments)
        if all(map(operator.is_, attachments, wanted.attachments)):
            return wanted
        networks.setdefault(GATEWAY_NETWORK, _IMPLIED)
        return replace(wanted, networks=tuple(networks[name] for name in sorted(networks)), attachments=attachments)


def _joined(attachment: AttachmentWanted, *joined: tuple[NetworkWanted | None, JoinAnswer | None]) -> AttachmentWanted:
    """joined: its networks that are declared, with what their plugins answered."""
    is_there = any(endpoint.network == GATEWAY_NETWORK for endpoint in attachment.endpoints)
    if attachment.mode is not NetworkMode.NETWORKS or is_there:
        return attachment
    known = [(network, answer) for network, answer in joined if network is not None]
    if not any(_needs_a_way_out(*each) for each in known) or any(_is_way_out(*each) for each in known):
        return attachment
    way_out = EndpointWanted(network=GATEWAY_NETWORK, priority=_LAST, is_gateway=True)
    return replace(attachment, endpoints=(*attachment.endpoints, way_out))


def _needs_a_way_out(network: NetworkWanted, answer: JoinAnswer | None) -> bool:
    is_without = network.traits.is_vxlan or (answer is not None and answer.needs_way_out)
    return is_without and not network.is_internal


def _is_way_out(network: NetworkWanted, answer: JoinAnswer | None) -> bool:
    """Return whether a network gives its sandboxes a default route for IPv4, as the gateway network would."""
    if network.sublink is not None:
        has_gateway = any(entry.gateway is not None and entry.subnet.version == 4 for entry in network.subnets)
        return network.is_ipv4_enabled and network.leads_outside and has_gateway
    if answer is not None:
        return answer.leads_outside and not network.is_internal
    is_isolated = network.bridge_options.gateway_mode_ipv4 is GatewayMode.ISOLATED
    return network.traits.has_host_bridge and network.is_ipv4_enabled and not network.is_internal and not is_isolated
