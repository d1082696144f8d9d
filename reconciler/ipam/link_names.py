"""Which device of its own a network gets on the host."""

from __future__ import annotations

from typing import Final

from reconciler.model.identifiers import bridge_link_name, own_parent_name
from reconciler.model.wanted import NetworkWanted

DEFAULT_BRIDGE_LINK: Final = "docker0"


def link_name(network: NetworkWanted, network_id: str) -> str:
    """Return the bridge device's name: as declared, docker0 for the network `bridge`, else derived.

    A macvlan or ipvlan network without a parent gets one; "" for other drivers.
    """
    if network.sublink is not None:
        return "" if network.sublink.parent else own_parent_name(network.driver, network_id)
    if not network.traits.has_host_bridge:
        return ""
    if network.bridge is not None and network.bridge.link_name:
        return network.bridge.link_name
    return DEFAULT_BRIDGE_LINK if network.name == "bridge" else bridge_link_name(network_id)
