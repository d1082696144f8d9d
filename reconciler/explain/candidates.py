"""Edits that may let one reach another, those first that open the least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from reconciler.explain.edits import Edit, at
from reconciler.explain.target import HOST, OUTSIDE, TypedTarget
from reconciler.spec.document import Document, Tree

_DEFAULT: Final = "bridge"
_WAYS_OUT_MAX: Final = 3
_OPTIONS: Final = {
    "com.docker.network.bridge.enable_icc": "true",
    "macvlan_mode": "bridge",
    "ipvlan_flag": "bridge",
    "com.docker.network.bridge.gateway_mode_ipv4": "nat",
    "com.docker.network.bridge.gateway_mode_ipv6": "nat",
    "com.docker.network.bridge.inhibit_ipv4": "false",
}
"""Options that keep members apart or from the host, with the value that does not."""
_GATEWAYS: Final = ("DefaultGatewayIPv4", "DefaultGatewayIPv6")


class Asked(Struct, frozen=True, kw_only=True):
    """Who asks whom, as typed. server: the attachment that is meant, "" for none. absent: those of the two that no host has."""

    documents: tuple[Document, ...]
    client: str
    server: str
    target: TypedTarget
    absent: frozenset[str] = frozenset()


def candidates(asked: Asked) -> Iterator[Edit]:
    """Yield single edits."""
    members = [name for name in (asked.client, asked.server) if name and name not in (HOST, OUTSIDE)]
    networks = [*dict.fromkeys(key for name in members for key in keys_of(asked.documents, name))]
    for name in members:
        if name in asked.absent:
            yield from _mended(asked.documents, name)
    if asked.server:
        if asked.client not in (HOST, OUTSIDE):
            yield from _named(asked)
            yield from _joined(asked.documents, asked.client, asked.server)
            yield from _joined(asked.documents, asked.server, asked.client)
        yield from _published(asked)
    for key in networks:
        yield from _opened(asked.documents, key)
    if asked.target.name in (HOST, OUTSIDE):
        yield from _out(asked.documents, asked.client)
    if asked.client == HOST:
        yield from _out(asked.documents, asked.server)
    for key in networks:
        if at(asked.documents, ("networks", key, "internal")) is True:
            yield Edit(path=("networks", key, "internal"), value=False)
    yield from _moved(asked)


def keys_of(documents: Sequence[Document], attachment: str) -> list[str]:
    """Return the keys of the networks that an attachment joins."""
    entry = at(documents, ("attachments", attachment))
    networks = entry.get("networks") if isinstance(entry, dict) else None
    if isinstance(networks, dict | list):
        return [str(key) for key in networks]
    has_mode = isinstance(entry, dict) and entry.get("network_mode") is not None
    return [] if has_mode else [_DEFAULT]


def _with(documents: Sequence[Document], attachment: str, key: str) -> Edit:
    """Return the edit that lets an attachment join a network."""
    path = ("attachments", attachment, "networks")
    before = at(documents, path)
    if isinstance(before, dict):
        return Edit(path=path, value={**before, key: None})
    return Edit(path=path, value=[*(before if isinstance(before, list) else [_DEFAULT]), key])


def _joined(documents: Sequence[Document], attachment: str, other: str) -> Iterator[Edit]:
    own = keys_of(documents, attachment)
    if own:
        for key in keys_of(documents, other):
            if key not in own and key != _DEFAULT:
                yield _with(documents, attachment, key)


def _named(asked: Asked) -> Iterator[Edit]:
    """Yield the name that is asked for as an alias, on networks that both are on."""
    name = asked.target.name
    shared = [key for key in keys_of(asked.documents, asked.server) if key in keys_of(asked.documents, asked.client)]
    for key in shared if name != asked.server and asked.target.address is None else ():
        path = ("attachments", asked.server, "networks", key, "aliases")
        before = at(asked.documents, path)
        if isinstance(at(asked.documents, path[:3]), dict):
            yield Edit(path=path, value=[*(before if isinstance(before, list) else []), name])


def _published(asked: Asked) -> Iterator[Edit]:
    """Yield the port as published: at all addresses where it is at some, else under its own number, else under any."""
    port, protocol = asked.target.at.port, asked.target.at.protocol
    path = ("attachments", asked.server, "ports")
    before = at(asked.documents, path)
    ports: list[Tree] = before if isinstance(before, list) else []
    is_of_host = any(_host_port(each) == str(port) for each in ports)
    if not port or is_of_host or not keys_of(asked.documents, asked.server):
        return
    for index, each in enumerate(ports):
        wider = _at_all_addresses(each)
        if wider is not None and wider.partition("/")[0].endswith(f":{port}"):
            yield Edit(path=(*path, index), value=wider)
    suffix = "" if protocol == "tcp" else f"/{protocol}"
    yield Edit(path=path, value=[*ports, f"{port}:{port}{suffix}"])
    yield Edit(path=path, value=[*ports, f"{port}{suffix}"])


def _host_port(port: Tree) -> str | None:
    """Return the host's port where it leads to another one."""
    parts = port.partition("/")[0].rsplit(":", 2) if isinstance(port, str) else []
    return parts[-2] if len(parts) > 1 and parts[-2] != parts[-1] else None


def _at_all_addresses(port: Tree) -> str | None:
    """Return a port in the short form without the address that it is published at."""
    text = port if isinstance(port, str) else ""
    parts = text.rsplit(":", 2)
    return ":".join(parts[1:]) if len(parts) == 3 else None


def _opened(documents: Sequence[Document], key: str) -> Iterator[Edit]:
    """Yield a network without the options that keep its members apart, or from the host."""
    entry = at(documents, ("networks", key))
    if not isinstance(entry, dict):
        return
    options = entry.get("driver_opts")
    for name, value in _OPTIONS.items():
        found = options.get(name) if isinstance(options, dict) else None
        if found is not None and str(found).lower() != value:
            yield Edit(path=("networks", key, "driver_opts", name), value=value)
    config = at(documents, ("networks", key, "ipam", "config"))
    for index in range(len(config) if isinstance(config, list) else 0):
        for name in _GATEWAYS:
            if at(documents, ("networks", key, "ipam", "config", index, "aux_addresses", name)) is not None:
                yield Edit(path=("networks", key, "ipam", "config", index, "aux_addresses", name), value=None)


def _out(documents: Sequence[Document], attachment: str) -> Iterator[Edit]:
    """Yield an attachment on a further network that is not internal."""
    own = keys_of(documents, attachment)
    known = [
        (bool(entry.get("driver_opts")) if isinstance(entry, dict) else False, key)
        for document in documents
        for key, entry in document.entries("networks")
        if not (isinstance(entry, dict) and (entry.get("internal") or entry.get("driver") or entry.get("external")))
    ]
    keys = [key for _, key in sorted(known, key=lambda one: one[0])]
    for key in [key for key in dict.fromkeys(keys) if key not in own][:_WAYS_OUT_MAX] if own else ():
        yield _with(documents, attachment, key)


def _mended(documents: Sequence[Document], attachment: str) -> Iterator[Edit]:
    """Yield an attachment without what it may be left out for: an address, the number of a host's port, a network's name."""
    declared = {key for document in documents for key, _ in document.entries("networks")}
    path = ("attachments", attachment, "networks")
    for key in keys_of(documents, attachment):
        for field in ("ipv4_address", "ipv6_address"):
            if isinstance(at(documents, path), dict) and at(documents, (*path, key, field)) is not None:
                yield Edit(path=(*path, key, field), value=None)
        near = get_close_matches(key, declared, n=1) if key not in (*declared, _DEFAULT) else []
        before = at(documents, path)
        if near and isinstance(before, dict):
            yield Edit(path=path, value={(near[0] if one == key else one): value for one, value in before.items()})
        elif near and isinstance(before, list):
            yield Edit(path=path, value=[near[0] if one == key else one for one in before])
    ports = at(documents, ("attachments", attachment, "ports"))
    for index, port in enumerate(ports if isinstance(ports, list) else ()):
        if isinstance(port, str) and ":" in port:
            yield Edit(path=("attachments", attachment, "ports", index), value=port.rpartition(":")[2])


def _moved(asked: Asked) -> Iterator[Edit]:
    """Yield one on the hosts of the other."""
    for one, other in ((asked.client, asked.server), (asked.server, asked.client)):
        there = at(asked.documents, ("attachments", other, "hosts")) if other else None
        if there is not None and one and one not in (HOST, OUTSIDE):
            yield Edit(path=("attachments", one, "hosts"), value=there)
