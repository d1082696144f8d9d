"""The hosts of a cluster as a person lists and removes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct

from reconciler.cluster.reading import endpoint_host, read_life, read_revision
from reconciler.cluster.records import REVISIONS_FOLDER, info_path, left_path, life_path
from reconciler.cluster.state import decode_state
from reconciler.model.objects import ClusterRecord
from reconciler.records.document import Misfit

_MOMENT = "2000-01-01T00:00:00Z"
"""Any will do: what depends on the time is not asked for here."""


class NodeRow(Struct, frozen=True, kw_only=True):
    """One host. address: "" where its own record is missing. alive: yes, no or unwatched. revision: of its specs, "" if unknown."""

    name: str
    address: str
    alive: str
    endpoints: int
    revision: str


def node_rows(records: Mapping[str, str], nodes_folder: str) -> tuple[NodeRow, ...]:
    """Return all hosts that the store's records speak of, sorted by name."""
    networks = {path.split("/")[1] for path in records if path.startswith("networks/")}
    state = decode_state(
        records, host="", instance="", followed=networks, now=_MOMENT, grace_s=0, nodes_folder=nodes_folder
    )
    endpoints = Counter(each.host for network in state.networks.values() for each in network.endpoints)
    members = {member.host for network in state.networks.values() for member in network.members}
    names = state.nodes.keys() | endpoints.keys() | members
    return tuple(
        NodeRow(
            name=name,
            address=str(state.nodes[name].address) if name in state.nodes else "",
            alive=_alive(
                name, records, nodes_folder, is_watched=name not in state.nodes or state.nodes[name].is_watched
            ),
            endpoints=endpoints[name],
            revision=_revision(records.get(f"{REVISIONS_FOLDER}{name}", "")),
        )
        for name in sorted(names)
    )


def is_living(host: str, records: Mapping[str, str], nodes_folder: str) -> bool:
    """Return whether a host gives a sign of life now."""
    try:
        read_life(records.get(life_path(nodes_folder, host), ""))
    except Misfit:
        return False
    return True


def records_of(host: str, records: Mapping[str, str], nodes_folder: str) -> Iterator[ClusterRecord]:
    """Yield all that speaks of a host, in the order in which it goes: what says that there is more comes last.

    With it go networks that no other host has to do with.
    """
    hosts = {path: found for path, text in sorted(records.items()) if (found := _host_of(path, text))}
    own = [path for path, found in hosts.items() if found == host]
    networks = {path.split("/")[1] for path in own}
    used = {path.split("/")[1] for path, found in hosts.items() if found != host}
    paths = [
        *sorted(own, key=lambda path: (path.split("/")[2], path)),
        *(f"networks/{name}" for name in sorted(networks - used)),
        f"{REVISIONS_FOLDER}{host}",
        life_path(nodes_folder, host),
        info_path(nodes_folder, host),
        left_path(nodes_folder, host),
    ]
    return (ClusterRecord(path=path, value=records[path]) for path in paths if path in records)


def _host_of(path: str, text: str) -> str:
    """Return whose a record below a network is, also one that is no good otherwise; "" for other records."""
    match path.split("/"):
        case ["network", _, "members", host]:
            return host
        case ["network", _, "endpoints", _]:
            return endpoint_host(text)
    return ""


def _alive(host: str, records: Mapping[str, str], nodes_folder: str, *, is_watched: bool) -> str:
    if is_living(host, records, nodes_folder):
        return "yes"
    return "no" if is_watched else "unwatched"


def _revision(text: str) -> str:
    """Return a revision as git shows it, "" for none or one that cannot be read."""
    try:
        commit, is_dirty = read_revision(text)
    except Misfit:
        return ""
    return f"{commit[:12]}{'-dirty' if is_dirty else ''}"
