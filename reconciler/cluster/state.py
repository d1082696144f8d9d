"""All records of the cluster's store to what a host knows of the others. Never raises; a bad record harms only itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from reconciler.cluster.hosts import Hosts
from reconciler.cluster.networks import Folder, folder, with_seen
from reconciler.cluster.question import Question, Reading, read_record
from reconciler.model.cluster import ClusterState, GlobalNetwork
from reconciler.model.objects import Key, Seen
from reconciler.records.document import Misfit
from reconciler.records.faults import left_out

_SHORT_ID: Final = 12
"""Hex digits of an id that go into names of links and namespaces: two networks that agree in them would share one."""


def decode_state(
    records: Mapping[str, str],
    *,
    host: str,
    instance: str,
    followed: Collection[str],
    now: str,
    grace_s: float,
    nodes_folder: str,
) -> ClusterState:
    """Read records (path to text). Of two that cannot both hold, the first by path does; the other is left out and told.

    followed: networks whose folder is among the records. nodes_folder: where the hosts' own records are.
    """
    question = Question(
        host=host,
        instance=instance,
        followed=frozenset(followed),
        now=now,
        grace_s=grace_s,
        nodes_folder=nodes_folder,
    )
    return StateDecoder()(records, question)


class StateDecoder:
    """Remembers what records and networks came to: of many a change touches few, the others are not read again."""

    def __init__(self) -> None:
        self._readings: dict[str, Reading] = {}
        self._folders: dict[str, Folder] = {}

    def __call__(self, records: Mapping[str, str], question: Question) -> ClusterState:
        readings = self._read(records, question)
        hosts = Hosts(question, readings)
        below: defaultdict[str, list[Reading]] = defaultdict(list)
        for reading in readings:
            if reading.network:
                below[reading.network].append(reading)
        declared, faults = _declared(readings)
        view = (question.host, hosts.is_impostor, hosts.expired)
        before, self._folders = self._folders, {}
        for name in sorted(declared.keys() | below.keys()):
            found = folder(declared.get(name), below[name], before.get(name))
            self._folders[name] = with_seen(found, view, hosts.is_mine)
        faults += [(each.path, str(each.content)) for each in readings if isinstance(each.content, Misfit)]
        faults += chain.from_iterable(each.faults for each in self._folders.values())
        heads = _heads(readings, hosts, question, below)
        return ClusterState(
            host=question.host,
            nodes=hosts.nodes,
            networks={name: each.network for name, each in self._folders.items() if each.network is not None},
            seen=(*hosts.seen(), *heads, *chain.from_iterable(each.seen for each in self._folders.values())),
            faults=left_out(sorted(faults)),
        )

    def expired(self, nodes: Mapping[str, str], question: Question) -> frozenset[str]:
        """Return the hosts whose records are this one's to delete. nodes: the records of hosts."""
        if not any(path.endswith("/left") for path in nodes):
            return frozenset()
        known = self._readings
        readings = [
            known[path]
            if path in known and known[path].text == text
            else read_record(path, text, question.nodes_folder)
            for path, text in sorted(nodes.items())
        ]
        return Hosts(question, readings).expired

    def _read(self, records: Mapping[str, str], question: Question) -> Sequence[Reading]:
        known, self._readings = self._readings, {}
        for path in sorted(records):
            text, before = records[path], known.get(path)
            is_same = before is not None and before.text == text
            self._readings[path] = before if is_same and before else read_record(path, text, question.nodes_folder)
        return tuple(self._readings.values())


def _declared(readings: Iterable[Reading]) -> tuple[dict[str, GlobalNetwork], list[tuple[str, str]]]:
    """Return the networks by name, and why some were left out."""
    networks: dict[str, GlobalNetwork] = {}
    faults: list[tuple[str, str]] = []
    ids: set[str] = set()
    vnis: set[int] = set()
    for reading in readings:
        network = reading.content
        if not isinstance(network, GlobalNetwork):
            continue
        own_vnis = {subnet.vni for subnet in network.subnets if subnet.vni is not None}
        if network.id[:_SHORT_ID] in ids:
            faults.append((reading.path, "another network has its id"))
        elif own_vnis & vnis:
            faults.append((reading.path, "another network has one of its VNIs"))
        else:
            networks[network.name] = network
            ids.add(network.id[:_SHORT_ID])
            vnis |= own_vnis
    return networks, faults


def _heads(
    readings: Iterable[Reading], hosts: Hosts, question: Question, below: Mapping[str, Sequence[Reading]]
) -> Iterator[tuple[Key, Seen]]:
    """Yield the records of networks themselves and of revisions.

    A network is ours where its members are known and no other host is among them, also by a record that was left out.
    """
    for reading in readings:
        match reading.path.split("/") if not reading.network else ():
            case ["networks", name]:
                is_known = name in question.followed and not hosts.is_impostor
                others = (each.host for each in below.get(name, ()) if each.host != question.host)
                yield reading.seen(is_ours=is_known and not any(others))
            case ["revisions", host]:
                yield reading.seen(is_ours=hosts.is_mine(host))
