"""What packets leave by, go through and are led by, in words."""

from __future__ import annotations

from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, PortBinding
from reconciler.model.words import before_port
from reconciler.reach.site import Site, interface_of, way_out
from reconciler.reach.stand_ins import OF_HOST, OUTSIDE
from reconciler.reach.values import Packet


def left_by(site: Site, packet: Packet) -> DesiredEndpoint | None:
    """Return the endpoint by which an attachment sends a packet."""
    attachment = site.members[packet.client.name]
    for endpoint in attachment.endpoints:
        interface = interface_of(endpoint, packet.version)
        if interface is not None and packet.address in interface.network:
            return endpoint
    return way_out(attachment, site.networks, packet.version)


def medium(network: DesiredNetwork) -> str:
    """Return what joins the members of a network that are on one host."""
    sublink = network.wanted.sublink
    if sublink is not None:
        return f"links of the driver {network.wanted.driver} on {sublink.parent or network.link_name}"
    if network.wanted.traits.is_vxlan:
        return "a bridge in the network's own namespace"
    return f"bridge {network.link_name}" if network.link_name else f"driver {network.wanted.driver}"


def said(packet: Packet) -> str:
    """Return what a packet asks. Addresses that stand for what no spec names are told as that."""
    if packet.address in OF_HOST.values():
        name = "an address of the host"
    elif packet.address in OUTSIDE.values():
        name = "an address outside"
    else:
        return f"{before_port(packet.address)}:{packet.port}" if packet.port else str(packet.address)
    return f"{name}, port {packet.port}/{packet.protocol}" if packet.port else name


def sets_of(binding: PortBinding) -> str:
    """Return the sets and maps of the firewall by which a port is published."""
    version = binding.host_ip.version
    if not binding.host_port:
        return f"set published_routed{version}"
    by = "published_any" if binding.host_ip.is_unspecified else "published_host"
    return f"maps {by}{version}, set published{version}"
