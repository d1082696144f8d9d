"""Ports, one by one, as engines list them -> as people write them: neighbours become a range. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_PROTOCOL = "tcp"


class _Port(NamedTuple):
    """published: 0 for any; text: what is no number, a range of which one is taken."""

    host_ip: str
    protocol: str
    target: int
    published: int
    text: str


def published(bindings: Mapping[str, object]) -> list[str]:
    """Return what stands below `ports`. bindings: `{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`."""
    ports = sorted({port for key, value in bindings.items() for port in _bound(key, value)})
    return [_published_text(first, last) for first, last in _runs(ports)]


def exposed(ports: Iterable[str]) -> list[str]:
    """Return what stands below `expose`. ports: as `9000/tcp`."""
    found = sorted({_Port("", protocol, target, 0, "") for target, protocol in map(_target, ports)})
    return [f"{_range(first.target, last.target)}{_suffix(first)}" for first, last in _runs(found)]


def _bound(key: str, value: object) -> Iterator[_Port]:
    target, protocol = _target(key)
    for binding in value if isinstance(value, list) else ():
        if not isinstance(binding, Mapping):
            continue
        text, host_ip = str(binding.get("HostPort") or ""), str(binding.get("HostIp") or "")
        is_number = text.isdecimal() and len(text) < 6
        yield _Port(host_ip, protocol, target, int(text) if is_number else 0, "" if is_number else text)


def _target(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number) if number.isdecimal() and len(number) < 6 else 0, protocol or _PROTOCOL


def _runs(ports: list[_Port]) -> Iterator[tuple[_Port, _Port]]:
    """Yield first and last of those that follow each other, inside and outside."""
    run: list[_Port] = []
    for port in ports:
        if run and not _follows(run[-1], port):
            yield run[0], run[-1]
            run.clear()
        run.append(port)
    if run:
        yield run[0], run[-1]


def _follows(before: _Port, port: _Port) -> bool:
    step = 1 if before.published else 0
    return before._replace(target=before.target + 1, published=before.published + step) == port and not port.text


def _published_text(first: _Port, last: _Port) -> str:
    host = first.text or (_range(first.published, last.published) if first.published else "")
    host_ip = f"[{first.host_ip}]" if ":" in first.host_ip else first.host_ip
    outside = f"{host_ip}:{host}:" if host_ip else f"{host}:" if host else ""
    return f"{outside}{_range(first.target, last.target)}{_suffix(first)}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _suffix(port: _Port) -> str:
    return "" if port.protocol == _PROTOCOL else f"/{port.protocol}"
