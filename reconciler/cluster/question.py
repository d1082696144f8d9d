"""From whose point of view, and when, the records of the cluster's store are read; and one record that was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from reconciler.cluster.reading import (
    Info,
    endpoint_host,
    read_endpoint,
    read_info,
    read_left,
    read_life,
    read_member,
    read_network,
)
from reconciler.cluster.records import network_folder
from reconciler.model.cluster import ClusterEndpoint, GlobalNetwork, NetworkMember
from reconciler.model.objects import ClusterRecord, Key, Seen
from reconciler.records.document import Misfit
from reconciler.records.fields import checked_name

Content = Info | NetworkMember | GlobalNetwork | ClusterEndpoint | str | Misfit


class ClusterQuestion(Struct, frozen=True, kw_only=True):
    """host, instance: who asks. followed: networks whose folder is among the records. nodes_folder: where records of hosts are."""

    host: str
    instance: str
    followed: frozenset[str]
    now: str
    grace_s: float
    nodes_folder: str


class RecordReading(Struct, frozen=True, kw_only=True, eq=False):
    """What one record says; a Misfit is kept, not raised. Two readings are the same only if nothing was read anew.

    folder: which it is read in, "" for none. host: whose it is, by its path or by what it says, else "". marks: what no two
    endpoints of a network may share.
    """

    path: str
    text: str
    content: Content
    folder: str
    host: str
    marks: frozenset[str]
    key: Key
    ours: Seen
    foreign: Seen


def read_record(path: str, text: str, nodes_folder: str) -> RecordReading:
    """Read one record by itself."""
    content = _content(path, text, nodes_folder)
    record = ClusterRecord(path=path, value=text)
    return RecordReading(
        path=path,
        text=text,
        content=content,
        folder=_folder(path, nodes_folder),
        host=_host(path, text, content, nodes_folder),
        marks=_marks(content),
        key=record.key,
        ours=Seen(record, is_ours=True),
        foreign=Seen(record, is_ours=False),
    )


def _content(path: str, text: str, nodes_folder: str) -> Content:
    """Return what a record says, "" for one that is not read here."""
    try:
        if path.startswith(nodes_folder):
            return _node_content(path.removeprefix(nodes_folder).split("/"), text)
        match path.split("/"):
            case ["networks", name]:
                return read_network(name, text)
            case ["network", network, "members", host]:
                checked_name(network)
                return read_member(host, text)
            case ["network", network, "endpoints", name]:
                return read_endpoint(network, name, text)
    except Misfit as misfit:
        return Misfit(str(misfit))  # without the traceback, which would keep the record's text
    return ""


_OF_NODES: Final[Mapping[str, Callable[[str], Info | str]]] = {"info": read_info, "life": read_life, "left": read_left}


def _node_content(segments: list[str], text: str) -> Info | str:
    match segments:
        case [host, kind] if kind in _OF_NODES:
            checked_name(host)
            return _OF_NODES[kind](text)
    return ""


def _folder(path: str, nodes_folder: str) -> str:
    if path.startswith(nodes_folder):
        return nodes_folder
    match path.split("/"):
        case ["networks" | "revisions" as folder, _]:
            return f"{folder}/"
        case ["network", network, _, _]:
            return network_folder(network)
    return ""


def _host(path: str, text: str, content: Content, nodes_folder: str) -> str:
    if path.startswith(nodes_folder):
        return path.removeprefix(nodes_folder).partition("/")[0]
    match path.split("/"):
        case ["network", _, "members", host] | ["revisions", host]:
            return host
        case ["network", _, "endpoints", _]:
            return content.host if isinstance(content, ClusterEndpoint) else endpoint_host(text)
    return ""


def _marks(content: Content) -> frozenset[str]:
    if not isinstance(content, ClusterEndpoint):
        return frozenset()
    addresses = (str(interface.ip) for interface in (content.ipv4, content.ipv6) if interface is not None)
    return frozenset((content.id, *addresses, *([content.mac] if content.mac else ())))
