"""A `.network` unit -> the JSON that Podman would have made of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Final

from msgspec import Struct

from reconciler.importing.unit_files import UnitFile, expanded
from reconciler.importing.values import NotCarried

_SECTION: Final = "Network"
_READ: Final = frozenset(
    (
        "NetworkName",
        "Driver",
        "Subnet",
        "Gateway",
        "IPRange",
        "IPv6",
        "Internal",
        "IPAMDriver",
        "Options",
        "Label",
        "DNS",
    )
)
_NO_MATTER: Final = frozenset(
    ("InterfaceName", "ServiceName", "NetworkDeleteOnStop", "ContainersConfModule", "GlobalArgs")
)
"""Keys that say nothing of a network, or are read elsewhere."""
_TOLD: Final = {
    "DisableDNS": "names are served on every network here: nothing need be done",
    "PodmanArgs": "options of `podman network create` are not read: write the keys that quadlet has for them",
}


class DeclaredNetwork(Struct, frozen=True, kw_only=True):
    """document: as `importing.netavark` reads it. unit: its name, by which containers refer to it."""

    document: Mapping[str, object]
    unit: str
    file: str
    not_carried: tuple[NotCarried, ...] = ()


def specifiers(unit: UnitFile, section: str, suffix: str, host: str) -> Mapping[str, str]:
    """Return what systemd's specifiers stand for in the service of a unit. suffix: of the service's name."""
    stem = unit.name.rpartition(".")[0]
    service = unit.last(section, "ServiceName") or f"{stem}{suffix}"
    prefix, _, instance = service.partition("@")
    known = {"N": service, "n": f"{service}.service", "p": prefix, "P": prefix, "i": instance, "I": instance}
    last = prefix.rpartition("-")[2]
    return {**known, "j": last, "J": last, **({"H": host, "l": host.partition(".")[0]} if host else {})}


def network_document(unit: UnitFile, file: str, host: str) -> DeclaredNetwork | NotCarried:
    """Return what the unit declares, or why it cannot be had."""
    try:
        return _declared(unit, file, specifiers(unit, _SECTION, "-network", host))
    except ValueError as error:
        return NotCarried(
            where=f"network ({file})", what="the network", why=f"{error}: mend it, or write out what it stands for"
        )


def _declared(unit: UnitFile, file: str, known: Mapping[str, str]) -> DeclaredNetwork:
    def last(key: str) -> str:
        return expanded(unit.last(_SECTION, key), known)

    def values(key: str) -> list[str]:
        return [expanded(value, known) for value in unit.all(_SECTION, key)]

    stem = unit.name.rpartition(".")[0]
    name = last("NetworkName") or f"systemd-{stem}"
    return DeclaredNetwork(
        document={
            "name": name,
            "driver": last("Driver") or "bridge",
            "network_interface": last("InterfaceName"),
            "subnets": _subnets(values("Subnet"), values("Gateway"), values("IPRange")),
            "ipv6_enabled": unit.is_on(_SECTION, "IPv6"),
            "internal": unit.is_on(_SECTION, "Internal"),
            "options": _pairs(unit, "Options", known),
            "labels": _pairs(unit, "Label", known),
            "network_dns_servers": values("DNS"),
            "ipam_options": {"driver": last("IPAMDriver")},
        },
        unit=unit.name,
        file=file,
        not_carried=tuple(
            NotCarried(where=f"network {name} ({file})", what=f"{key}={unit.last(_SECTION, key)}", why=why)
            for key, why in ((key, _TOLD.get(key, "no such key is known here")) for key in unit.keys(_SECTION))
            if key not in _READ | _NO_MATTER
        ),
    )


def _subnets(subnets: Sequence[str], gateways: Sequence[str], ranges: Sequence[str]) -> list[Mapping[str, object]]:
    """Return them in the order of their lines: the first gateway and range belong to the first subnet."""
    if max(len(gateways), len(ranges)) > len(subnets):
        raise ValueError("there are more gateways or ranges than subnets")
    found: list[Mapping[str, object]] = []
    for at, subnet in enumerate(subnets):
        gateway = gateways[at] if at < len(gateways) else ""
        found.append(
            {"subnet": subnet, "gateway": gateway, "lease_range": _lease_range(ranges[at]) if at < len(ranges) else {}}
        )
    return found


def _lease_range(text: str) -> Mapping[str, str]:
    """Read a block, or FIRST-LAST."""
    first, dash, last = text.partition("-")
    if dash:
        return {"start_ip": first, "end_ip": last}
    block = ip_network(text, strict=False)
    return {"start_ip": str(block[0]), "end_ip": str(block[-1])}


def _pairs(unit: UnitFile, key: str, known: Mapping[str, str]) -> Mapping[str, str]:
    words = (expanded(word, known) for word in unit.words(_SECTION, key))
    return {name: value for name, _, value in (word.partition("=") for word in words)}
