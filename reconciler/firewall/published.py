"""What the firewall publishes right now, read back from its elements: `elements` the other way round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from reconciler.firewall.notation import VALUE_SEPARATOR
from reconciler.incremental import Made, indexed
from reconciler.model.desired import PortBinding
from reconciler.model.objects import FirewallElement, IPAddress, Key, Seen, Unit

_ANY: Final[Mapping[str, IPAddress]] = {"published_any4": IPv4Address(0), "published_any6": IPv6Address(0)}
_HOST: Final = ("published_host4", "published_host6")
_SETS: Final = frozenset((*_ANY, *_HOST))

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


class PublishedPorts:
    """The published ports of each endpoint. Elements that are as before are not read again."""

    def __init__(self) -> None:
        self._made: Made[Unit, tuple[PortBinding, ...]] = Made(_bindings)

    def __call__(self, seen: Mapping[Key, Seen]) -> Mapping[Unit, tuple[PortBinding, ...]]:
        by_endpoint = indexed(seen, _endpoint)
        return self._made({unit: tuple(seen[key] for key in keys) for unit, keys in by_endpoint.items()})


def _endpoint(_: Key, seen: Seen) -> Iterator[Unit]:
    """Yield whose port an element publishes, if it does."""
    element = seen.object
    if isinstance(element, FirewallElement) and element.set_name in _SETS and element.value and element.unit.attachment:
        yield element.unit


def _bindings(*seen: Seen) -> tuple[PortBinding, ...]:
    return tuple(sorted((binding for _, (binding, _) in translations(seen)), key=_order))


def _order(binding: PortBinding) -> tuple[str, int, int, int]:
    return binding.protocol, binding.host_ip.version, int(binding.host_ip), binding.host_port
