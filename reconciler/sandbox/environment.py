"""The environment variables of links on the default bridge, as the engine makes them (moby:daemon/links/links.go)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from reconciler.model.desired import DesiredAttachment, DesiredLink
from reconciler.model.objects import IPAddress
from reconciler.model.words import before_port

_Port = tuple[int, str]


def environment_text(attachment: DesiredAttachment) -> str:
    """Return the variables of all links, one NAME=value a line; "" without a link."""
    return "".join(f"{line}\n" for link in attachment.links for line in _variables(attachment, link))


def _variables(attachment: DesiredAttachment, link: DesiredLink) -> Iterator[str]:
    alias = link.alias.upper().replace("-", "_")
    address, ports = link.ipv4 or link.ipv6, _ports(link)
    if address is not None and ports:
        yield f"{alias}_PORT={_url(ports[0], address)}"
        for port in ports:
            yield from _port_variables(_prefix(alias, port), port, address)
        for first, last in _ranges(ports):
            yield from _range_variables(_prefix(alias, first), first, last, address)
    yield f"{alias}_NAME=/{attachment.name}/{link.alias}"


def _prefix(alias: str, port: _Port) -> str:
    return f"{alias}_PORT_{port[0]}_{port[1].upper()}"


def _ports(link: DesiredLink) -> list[_Port]:
    """Return single ports, those of TCP first, each protocol's in order."""
    ports = {(port, protocol) for first, last, protocol in link.ports for port in range(first, last + 1)}
    return sorted(ports, key=lambda port: (port[1] != "tcp", port[1], port[0]))


def _ranges(ports: Sequence[_Port]) -> Iterator[tuple[_Port, _Port]]:
    """Yield the ends of runs of two ports and more (engines before 28 count from three)."""
    start = 0
    for index, (before, after) in enumerate(pairwise([*ports, (0, "")]), 1):
        if after != (before[0] + 1, before[1]):
            if index - start > 1:
                yield ports[start], before
            start = index


def _range_variables(name: str, first: _Port, last: _Port, address: IPAddress) -> Iterator[str]:
    """All of a range is named by its first port."""
    yield f"{name}_START={_url(first, address)}"
    yield f"{name}_PORT_START={first[0]}"
    yield f"{name}_END={_url(last, address)}"
    yield f"{name}_PORT_END={last[0]}"


def _port_variables(name: str, port: _Port, address: IPAddress) -> Iterator[str]:
    yield f"{name}={_url(port, address)}"
    yield f"{name}_ADDR={address}"
    yield f"{name}_PORT={port[0]}"
    yield f"{name}_PROTO={port[1]}"


def _url(port: _Port, address: IPAddress) -> str:
    host = before_port(address)
    return f"{port[1]}://{host}:{port[0]}"
