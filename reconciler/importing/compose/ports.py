"""`ports:` of a service in the one form that specs write: `[HOST_IP:][HOST[-END]:]PORT[-END][/PROTO]`, each once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.importing.compose.tree import Node, Place, text
from reconciler.model.wanted import PortWanted
from reconciler.model.words import before_port
from reconciler.spec.attachment import PORTS_MAX, LongPort, parse_short_port

_LONG_KEYS: Final = ("target", "published", "protocol", "host_ip")


class PublishedPort(Struct, frozen=True, kw_only=True):
    """is_fixed: it takes a port of the host that nobody else can have."""

    text: str
    place: Place
    is_fixed: bool


def port_texts(nodes: tuple[Node, ...], what: str) -> list[PublishedPort]:
    """Return the ports, each once; one that is no port stays as it was typed, for the specs to refuse. Raises SpecError."""
    unique: dict[object, tuple[Node, PortWanted | None]] = {}
    for node in nodes:
        wanted = _wanted(node)
        unique[wanted or _typed(node, what)] = (node, wanted)
    total = sum(port.target[1] - port.target[0] + 1 for _, port in unique.values() if port is not None)
    found: list[PublishedPort] = []
    seen: set[PortWanted] = set()
    for node, port in unique.values():
        if port is None:
            found.append(PublishedPort(text=_typed(node, what), place=node.place, is_fixed=True))
            continue
        singles = [*_singles(port)] if total <= PORTS_MAX else []
        if singles and all(single in seen for single in singles):
            continue
        kept = [port] if not seen.intersection(singles) else [single for single in singles if single not in seen]
        seen |= {*singles}
        found += [PublishedPort(text=_short(each), place=node.place, is_fixed=_is_fixed(each)) for each in kept]
    return found


def _wanted(node: Node) -> PortWanted | None:
    """Return what the port means, None where it is none."""
    try:
        if isinstance(node.value, Mapping):
            given = {
                key: inner.value
                for key, inner in node.value.items()
                if key in _LONG_KEYS and inner.value not in (None, "")
            }
            return LongPort.model_validate(given).wanted()
        return parse_short_port(node.value) if isinstance(node.value, str | int) else None
    except ValueError:
        return None


def _typed(node: Node, what: str) -> str:
    if not isinstance(node.value, Mapping):
        return text(node, what)
    return ", ".join(
        f"{key} {inner.value}" for key, inner in node.value.items() if not isinstance(inner.value, Mapping | tuple)
    )


def _is_fixed(port: PortWanted) -> bool:
    return port.published != (0, 0) and port.published[1] - port.published[0] == port.target[1] - port.target[0]


def _singles(port: PortWanted) -> Iterator[PortWanted]:
    """Yield the mappings of single ports that a range stands for; nothing where the host's port is chosen later."""
    if not _is_fixed(port):
        return
    for offset in range(port.target[1] - port.target[0] + 1):
        target, published = port.target[0] + offset, port.published[0] + offset
        yield PortWanted(
            target=(target, target), published=(published, published), protocol=port.protocol, host_ip=port.host_ip
        )


def _short(port: PortWanted) -> str:
    host = _range(port.published) if port.published != (0, 0) else ""
    address = f"{before_port(port.host_ip)}:" if port.host_ip is not None else ""
    protocol = "" if port.protocol == "tcp" else f"/{port.protocol}"
    return f"{address}{host}{':' if host or address else ''}{_range(port.target)}{protocol}"


def _range(ports: tuple[int, int]) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"
