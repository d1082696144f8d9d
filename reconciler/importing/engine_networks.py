"""A network as Docker's API describes it -> as specs say it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from reconciler.importing.names import renamed
from reconciler.importing.values import ImportedNetwork, NotCarried
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.subnets import usable_in_range
from reconciler.records.lenient import items_of, mapping_of, text_of, texts_of

_BRIDGE: Final = BUILTIN_NETWORKS[0]
_PREDEFINED: Final = ("host", "null")
"""Drivers of networks that are always there."""

_PREFIX: Final = "com.docker.network"
_AS_EVER: Final = {
    f"{_PREFIX}.bridge.default_bridge": "true",
    f"{_PREFIX}.bridge.enable_icc": "true",
    f"{_PREFIX}.bridge.enable_ip_masquerade": "true",
    f"{_PREFIX}.bridge.host_binding_ipv4": "0.0.0.0",
    f"{_PREFIX}.bridge.name": "docker0",
    f"{_PREFIX}.driver.mtu": "1500",
}
"""What engines say of `bridge` without being told to."""


def read_network(document: Mapping[str, object], name: str) -> ImportedNetwork | NotCarried | None:
    """Return the network, why it cannot be had, or None for one that is always there. name: in the specs."""
    before, driver = text_of(document, "Name"), text_of(document, "Driver")
    where = f"network {before}"
    if driver in _PREDEFINED:
        return None
    why = _refusal(document)
    if why:
        return NotCarried(where=where, what="the network", why=why)
    return ImportedNetwork(
        name=name,
        body=dict(_body(document, is_bridge=before == _BRIDGE)),
        source=f"network {before}, {driver} driver",
        not_carried=(*renamed(where, before, name), *_told(document, where)),
    )


def _refusal(document: Mapping[str, object]) -> str:
    if document.get("Ingress") is True:
        return "Swarm's routing mesh is the engine's own; publish the ports of attachments instead"
    if document.get("ConfigOnly") is True:
        return "it holds settings for others, which are imported with them"
    if text_of(document, "Driver") == "overlay" and "encrypted" in mapping_of(document, "Options"):
        return (
            "it is encrypted, which networks here are not: lay the hosts' underlay into a VPN, then declare it by hand"
        )
    return ""


def _told(document: Mapping[str, object], where: str) -> Iterator[NotCarried]:
    if text_of(document, "Scope") == "swarm":
        why = "hosts share a network through a key-value store here: give every one of them --cluster-store"
        yield NotCarried(where=where, what="Swarm, which shares it", why=why)


def _body(document: Mapping[str, object], *, is_bridge: bool) -> Iterator[tuple[str, object]]:
    driver, options = text_of(document, "Driver"), dict(texts_of(document, "Options"))
    if is_bridge:
        options = {key: value for key, value in options.items() if _AS_EVER.get(key) != value}
    if driver != "bridge":
        yield "driver", driver
    if options:
        yield "driver_opts", options
    for key, field in (("internal", "Internal"), ("attachable", "Attachable"), ("enable_ipv6", "EnableIPv6")):
        if document.get(field) is True:
            yield key, True
    if document.get("EnableIPv4") is False:
        yield "enable_ipv4", False
    ipam = dict(_ipam(mapping_of(document, "IPAM")))
    if ipam:
        yield "ipam", ipam
    labels = texts_of(document, "Labels")
    if labels:
        yield "labels", dict(labels)


def _ipam(ipam: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    driver, options = text_of(ipam, "Driver"), texts_of(ipam, "Options")
    if driver not in ("", "default"):
        yield "driver", driver
    if options:
        yield "options", dict(options)
    config = [dict(_pool(entry)) for entry in items_of(ipam, "Config") if isinstance(entry, Mapping)]
    if config:
        yield "config", config


def _pool(entry: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    yield "subnet", text_of(entry, "Subnet")
    if text_of(entry, "IPRange"):
        yield "ip_range", text_of(entry, "IPRange")
    if text_of(entry, "Gateway"):
        yield "gateway", text_of(entry, "Gateway").partition("/")[0]  # old engines give it with the prefix length
    reserved = texts_of(entry, "AuxiliaryAddresses") or texts_of(entry, "AuxAddress")
    if reserved:
        yield "aux_addresses", dict(reserved)


def ipv4_pools(document: Mapping[str, object]) -> Iterator[Iterator[IPv4Address]]:
    """Yield for each IPv4 subnet of a network what members are given, one after the other."""
    for entry in items_of(mapping_of(document, "IPAM"), "Config"):
        pool = dict(_pool(entry)) if isinstance(entry, Mapping) else {}
        try:
            subnet = IPv4Network(pool.get("subnet", ""))
            block = IPv4Network(pool.get("ip_range", subnet))
            gateway = IPv4Address(pool.get("gateway", subnet[1]))
        except (ValueError, IndexError):
            continue
        first, last = usable_in_range(subnet, block)
        yield (address for number in range(first, last + 1) if (address := IPv4Address(number)) != gateway)
