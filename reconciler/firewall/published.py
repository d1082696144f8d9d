"""What the firewall publishes right now, read back from its elements: `elements` the other way round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from reconciler.firewall.notation import VALUE_SEPARATOR
from reconciler.model.desired import PortBinding
from reconciler.model.objects import FirewallElement, IPAddress, Seen, Unit

_ANY: Final[Mapping[str, IPAddress]] = {"published_any4": IPv4Address(0), "published_any6": IPv6Address(0)}
_HOST: Final = ("published_host4", "published_host6")

Translation = tuple[PortBinding, IPAddress]
"""A published port, and the address that it leads to."""


def translations(seen: Iterable[Seen]) -> Iterator[tuple[Unit, Translation]]:
    """Yield the endpoint of each published port, and where it leads to. Elements of nobody are passed over."""
    for found in seen:
        element = found.object
        if isinstance(element, FirewallElement) and element.value and element.unit.attachment:
            host_ip, rest = _host_ip(element)
            if host_ip is not None:
                protocol, port = rest
                address, target = element.value.split(VALUE_SEPARATOR)
                binding = PortBinding(protocol=protocol, host_ip=host_ip, host_port=int(port), target=int(target))
                yield element.unit, (binding, ip_address(address))


def _host_ip(element: FirewallElement) -> tuple[IPAddress | None, tuple[str, ...]]:
    """Return the address that the port is published on, None for an element of another set, and the rest of the key."""
    if element.set_name in _ANY:
        return _ANY[element.set_name], element.element
    if element.set_name in _HOST:
        return ip_address(element.element[0]), element.element[1:]
    return None, ()


def published_ports(seen: Iterable[Seen]) -> dict[Unit, tuple[PortBinding, ...]]:
    """Return the published ports of each endpoint."""
    found: defaultdict[Unit, list[PortBinding]] = defaultdict(list)
    for unit, (binding, _) in translations(seen):
        found[unit].append(binding)
    return {unit: tuple(bindings) for unit, bindings in found.items()}
