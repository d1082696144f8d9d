"""Which device a bridge network gets."""

from __future__ import annotations

from typing import Final

from reconciler.model.identifiers import bridge_link_name
from reconciler.model.wanted import NetworkWanted

DEFAULT_BRIDGE_LINK: Final = "docker0"


def link_name(network: NetworkWanted, network_id: str) -> str:
    """Give the bridge device's name: as declared, docker0 for the network `bridge`, else derived; "" for other drivers."""
    if network.driver != "bridge":
        return ""
    if network.bridge is not None and network.bridge.link_name:
        return network.bridge.link_name
    return DEFAULT_BRIDGE_LINK if network.name == "bridge" else bridge_link_name(network_id)
