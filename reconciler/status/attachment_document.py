"""What `attachment inspect` shows, in docker's words. Pure.

Keys, order and types are those that a 20.10 engine printed, with the fields that newer engines have added, so that scripts which
read docker's JSON read ours; `shape` takes the new fields out. `EndpointOperInfo`, what a plugin says of an endpoint of its own,
is added where one says something: the engine asks for it and shows it nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork
from reconciler.model.identifiers import BUILTIN_NETWORKS, derived_id, short_id
from reconciler.model.objects import IPInterface
from reconciler.model.wanted import NetworkMode, PortWanted, SandboxKind
from reconciler.status.json_text import Json

HOST_SANDBOX: Final = ""
"""No path: the namespace that the reconciler itself is started in plays the host."""


def attachment_document(
    attachment: DesiredAttachment,
    networks: Mapping[str, DesiredNetwork],
    *,
    netns_dir: Path,
    host_hostname: str,
    host_sandbox: str = HOST_SANDBOX,
) -> dict[str, Json]:
    """Return one item of the array that `docker container inspect` prints, as far as it speaks of names and networks.

    networks: by name. netns_dir: where named namespaces are. host_hostname: what those on the host's stack are called.
    host_sandbox: path of the namespace that plays the host.
    """
    wanted = attachment.wanted
    own_name = host_hostname if wanted.mode is NetworkMode.HOST else short_id(attachment.id)
    return {
        "Id": attachment.id,
        "Name": f"/{attachment.name}",
        "HostConfig": _host_config(attachment),
        "Config": {"Hostname": wanted.hostname or own_name, "Domainname": wanted.domainname or ""},
        "NetworkSettings": _network_settings(attachment, networks, _sandbox_key(attachment, netns_dir, host_sandbox)),
    }


def _network_mode(attachment: DesiredAttachment) -> str:
    """Return the network that Compose makes a container with: of the highest priority, then the first by name."""
    if attachment.wanted.mode is not NetworkMode.NETWORKS:
        return str(attachment.wanted.mode)
    shown = [endpoint.wanted for endpoint in attachment.endpoints if not endpoint.wanted.is_gateway]
    return min(((-one.priority, one.network) for one in shown), default=(0, str(NetworkMode.NONE)))[1]


def _sandbox_key(attachment: DesiredAttachment, netns_dir: Path, host_sandbox: str) -> str:
    """Return the path of the namespace; for a pidfile or container its reference, as the process may be another one by now."""
    sandbox = attachment.wanted.sandbox
    if attachment.wanted.mode is NetworkMode.HOST:
        return host_sandbox
    match sandbox.kind:
        case SandboxKind.NETNS:
            return str(netns_dir / sandbox.value)
        case SandboxKind.PATH:
            return sandbox.value
        case SandboxKind.PID:
            return f"/proc/{sandbox.value}/ns/net"
    return str(sandbox.ns)


def _network_settings(
    attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork], sandbox_key: str
) -> dict[str, Json]:
    on_default_bridge = [endpoint for endpoint in attachment.endpoints if endpoint.network == "bridge"]
    return {
        "Bridge": "",
        "SandboxID": derived_id("sandbox", attachment.id),
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": _ports(attachment, networks),
        "SandboxKey": sandbox_key,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **_default_bridge_settings(on_default_bridge[0] if on_default_bridge else None),
        "Networks": {
            endpoint.network: _endpoint_settings(endpoint, attachment, networks)
            for endpoint in sorted(attachment.endpoints, key=lambda endpoint: endpoint.network)
            if not endpoint.wanted.is_gateway
        },
    }


def _ports(attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork]) -> dict[str, Json]:
    """Return what is published where; exposed ports that are not show as null.

    The engine has it from the bridge driver, which is told of ports where the default route leads through one of its networks.
    """
    wanted = attachment.wanted
    if not any(_is_way_out(endpoint, networks.get(endpoint.network)) for endpoint in attachment.endpoints):
        return {}
    targets = [(*port.target, port.protocol) for port in wanted.ports]
    exposed = (
        (port, protocol) for first, last, protocol in (*wanted.expose, *targets) for port in range(first, last + 1)
    )
    bindings: dict[str, list[Json]] = {f"{port}/{protocol}": [] for port, protocol in exposed}
    for endpoint in attachment.endpoints:
        for binding in endpoint.ports:
            shown: dict[str, Json] = {"HostIp": str(binding.host_ip), "HostPort": str(binding.host_port or "")}
            bindings[f"{binding.target}/{binding.protocol}"].append(shown)
    return {port: bindings[port] or None for port in sorted(bindings)}


def _is_way_out(endpoint: DesiredEndpoint, network: DesiredNetwork | None) -> bool:
    is_bridge = network is not None and network.wanted.traits.has_host_bridge
    return is_bridge and (endpoint.is_default_ipv4 or endpoint.is_default_ipv6)


def _host_config(attachment: DesiredAttachment) -> dict[str, Json]:
    """Return what was asked for; links are shown here when they are of the default bridge, else with their network."""
    asked: dict[str, list[Json]] = {}
    for port in attachment.wanted.ports:
        first, last = port.target
        for offset in range(last - first + 1):
            shown: dict[str, Json] = {"HostIp": str(port.host_ip or ""), "HostPort": _asked_host_port(port, offset)}
            asked.setdefault(f"{first + offset}/{port.protocol}", []).append(shown)
    links: list[Json] = [f"/{link.target}:/{attachment.name}/{link.alias}" for link in attachment.links]
    return {
        "NetworkMode": _network_mode(attachment),
        "PortBindings": {port: asked[port] for port in sorted(asked)},
        "Links": links or None,
    }


def _asked_host_port(port: PortWanted, offset: int) -> str:
    """An ephemeral one is "", a range for a single port as it was written."""
    first, last = port.published
    if not first:
        return ""
    return f"{first}-{last}" if first != last and port.target[0] == port.target[1] else str(first + offset)


def _default_bridge_settings(endpoint: DesiredEndpoint | None) -> dict[str, Json]:
    """The old view of the one network there was: empty for whoever is not on the default bridge."""
    if endpoint is None:
        return {
            "EndpointID": "",
            "Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "IPAddress": "",
            "IPPrefixLen": 0,
            "IPv6Gateway": "",
            "MacAddress": "",
        }
    return {
        "EndpointID": endpoint.id,
        "Gateway": str(endpoint.gateway_ipv4 or ""),
        "GlobalIPv6Address": _address(endpoint.ipv6),
        "GlobalIPv6PrefixLen": _prefix_length(endpoint.ipv6),
        "IPAddress": _address(endpoint.ipv4),
        "IPPrefixLen": _prefix_length(endpoint.ipv4),
        "IPv6Gateway": str(endpoint.gateway_ipv6 or ""),
        "MacAddress": endpoint.mac,
    }


def _endpoint_settings(
    endpoint: DesiredEndpoint, attachment: DesiredAttachment, networks: Mapping[str, DesiredNetwork]
) -> dict[str, Json]:
    network = networks.get(endpoint.network)
    is_user_defined = endpoint.network not in BUILTIN_NETWORKS
    info: dict[str, Json] = dict(endpoint.answer.info) if endpoint.answer is not None else {}
    return {
        "IPAMConfig": _ipam_config(endpoint),
        "Links": [_link(*link) for link in attachment.wanted.links] or None if is_user_defined else None,
        "Aliases": _aliases(endpoint, attachment) if is_user_defined else None,
        "NetworkID": network.id if network is not None else "",
        "EndpointID": endpoint.id,
        "Gateway": str(endpoint.gateway_ipv4 or ""),
        "IPAddress": _address(endpoint.ipv4),
        "IPPrefixLen": _prefix_length(endpoint.ipv4),
        "IPv6Gateway": str(endpoint.gateway_ipv6 or ""),
        "GlobalIPv6Address": _address(endpoint.ipv6),
        "GlobalIPv6PrefixLen": _prefix_length(endpoint.ipv6),
        "MacAddress": endpoint.mac,
        "DriverOpts": dict(endpoint.wanted.options) or None,
        "GwPriority": endpoint.wanted.gw_priority,
        "DNSNames": _dns_names(endpoint, attachment) if is_user_defined else None,
        **({"EndpointOperInfo": info} if info else {}),
    }


def _link(target: str, alias: str) -> str:
    return target if alias == target else f"{target}:{alias}"


def _aliases(endpoint: DesiredEndpoint, attachment: DesiredAttachment) -> list[Json]:
    """Return what the engine adds as well: the short id and the hostname, each once."""
    short = short_id(attachment.id)
    return list(dict.fromkeys((*endpoint.wanted.aliases, short, attachment.wanted.hostname or short)))


def _dns_names(endpoint: DesiredEndpoint, attachment: DesiredAttachment) -> list[Json]:
    """Return all that it answers to on the network, as written: name, aliases, short id and hostname, each once."""
    return list(dict.fromkeys((attachment.name, *_aliases(endpoint, attachment))))


def _ipam_config(endpoint: DesiredEndpoint) -> Json:
    """What was asked for, not what was chosen; null when nothing was."""
    wanted = endpoint.wanted
    config: dict[str, Json] = {}
    if wanted.ipv4_address is not None:
        config["IPv4Address"] = str(wanted.ipv4_address)
    if wanted.ipv6_address is not None:
        config["IPv6Address"] = str(wanted.ipv6_address)
    if wanted.link_local_ips:
        config["LinkLocalIPs"] = [str(address) for address in wanted.link_local_ips]
    return config or None


def _address(interface: IPInterface | None) -> str:
    return "" if interface is None else str(interface.ip)


def _prefix_length(interface: IPInterface | None) -> int:
    return 0 if interface is None else interface.network.prefixlen
