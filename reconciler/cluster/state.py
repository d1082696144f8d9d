"""All records of the cluster's store to what a host knows of the others. Never raises; a bad record harms only itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

from reconciler.cluster.hosts import Hosts
from reconciler.cluster.networks import NetworkFolder
from reconciler.cluster.question import ClusterQuestion, RecordReading, read_record
from reconciler.cluster.records import NETWORKS_FOLDER, network_folder, network_path
from reconciler.incremental import Ordered, Table, changed_keys
from reconciler.model.cluster import ClusterState, GlobalNetwork
from reconciler.model.objects import ClusterRecord, Key, Seen
from reconciler.records.document import Misfit
from reconciler.records.faults import left_out

_SHORT_ID: Final = 12
"""Hex digits of an id that go into names of links and namespaces: two networks that agree in them would share one."""

Readings = tuple[RecordReading, ...]


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
    question = ClusterQuestion(
        host=host,
        instance=instance,
        followed=frozenset(followed),
        now=now,
        grace_s=grace_s,
        nodes_folder=nodes_folder,
    )
    return StateDecoder()(records, question)


class StateDecoder:
    """`decode_state` for one who asks again, with the same folder of nodes: what did not change is the very same value."""

    def __init__(self) -> None:
        self._records: Mapping[str, str] = Table()
        self._readings: Table[str, RecordReading] = Table()
        self._folders: dict[str, Ordered[str, RecordReading]] = {}
        self._networks: dict[str, NetworkFolder] = {}
        self._hosts: Hosts | None = None
        self._view: tuple[object, ...] = ()
        self._seen: Table[Key, Seen] = Table()

    def __call__(self, records: Mapping[str, str], question: ClusterQuestion) -> ClusterState:
        changed = self._read(records, question)
        hosts = self._hosts = self._who_is_there(question)
        declared, faults = _declared(self._readings_in(NETWORKS_FOLDER))
        below = {folder.split("/")[1] for folder in self._folders if folder.startswith("network/")}
        for name in sorted(declared.keys() | below):
            folder = self._networks.setdefault(name, NetworkFolder())
            if folder.take(declared.get(name), self._readings_in(network_folder(name)), hosts.vteps):
                changed.add(network_path(name))
        for name in self._networks.keys() - declared.keys() - below:
            del self._networks[name]
            changed.add(network_path(name))
        misfits = self._readings.index(_misfit).get(True, ())
        faults += [(path, str(self._readings[path].content)) for path in misfits]
        faults += chain.from_iterable(folder.faults for folder in self._networks.values())
        found = ((name, self._networks[name].network) for name in sorted(self._networks))
        return ClusterState(
            host=question.host,
            nodes=hosts.nodes,
            networks={name: network for name, network in found if network is not None},
            seen=self._whose(changed, hosts, question),
            faults=left_out(sorted(faults)),
        )

    def expired(self, nodes: Mapping[str, str], question: ClusterQuestion) -> frozenset[str]:
        """Return the hosts whose records are this one's to delete. nodes: the records of all hosts, none if none was missed."""
        known = self._readings
        readings = [
            known[path]
            if path in known and known[path].text == text
            else read_record(path, text, question.nodes_folder)
            for path, text in sorted(nodes.items())
        ]
        return Hosts(question, readings).expired

    def _read(self, records: Mapping[str, str], question: ClusterQuestion) -> set[str]:
        """Read what is new, and put it into the folders; return the paths that have something else."""
        changed = set(changed_keys(self._records, records))
        self._records = records
        new = {path: read_record(path, records[path], question.nodes_folder) for path in changed if path in records}
        for path in changed:
            if path in self._readings:
                self._put(path, self._readings[path].folder, None)
            if path in new:
                self._put(path, new[path].folder, new[path])
        self._readings = self._readings.updated(new, changed)
        return changed

    def _put(self, path: str, name: str, reading: RecordReading | None) -> None:
        if not name:
            return
        folder = self._folders.setdefault(name, Ordered())
        if reading is not None:
            folder.put(path, reading)
            return
        folder.drop(path)
        if not folder.values():
            del self._folders[name]

    def _readings_in(self, folder: str) -> Readings:
        """Return what stands in a folder, sorted by path."""
        return self._folders[folder].values() if folder in self._folders else ()

    def _who_is_there(self, question: ClusterQuestion) -> Hosts:
        """A host that was missed is judged by the time that went by."""
        readings, before = self._readings_in(question.nodes_folder), self._hosts
        is_same = before is not None and before.readings is readings and not before.has_missed
        return before if is_same and before is not None else Hosts(question, readings)

    def _whose(self, changed: Iterable[str], hosts: Hosts, question: ClusterQuestion) -> Table[Key, Seen]:
        """Bring up to date which records are ours; all of them where that is judged by something else than before."""
        view = (hosts.is_impostor, hosts.is_reaper, hosts.expired, question.followed)
        before, self._view = self._view, view
        paths = tuple(changed) if view == before else tuple({*self._readings, *changed})
        put: dict[Key, Seen] = {}
        for reading in (self._readings[path] for path in paths if path in self._readings):
            is_ours = self._is_ours(reading, hosts, question)
            if is_ours is not None:
                put[reading.key] = reading.ours if is_ours else reading.foreign
        self._seen = self._seen.updated(put, ((ClusterRecord.kind, path) for path in paths))
        return self._seen

    def _is_ours(self, reading: RecordReading, hosts: Hosts, question: ClusterQuestion) -> bool | None:
        """A network is ours where its members are known and no other host is among them, also by a record that was left out.

        None: a record that no pass writes, such as a sign of life.
        """
        if reading.folder == question.nodes_folder:
            kind = reading.path.rpartition("/")[2]
            return hosts.is_mine(reading.host) if kind == "info" else hosts.is_reaper if kind == "left" else None
        if reading.folder == NETWORKS_FOLDER:
            name = reading.path.removeprefix(NETWORKS_FOLDER)
            below = self._readings_in(network_folder(name))
            is_known = name in question.followed and not hosts.is_impostor
            return is_known and not any(each.host not in ("", question.host) for each in below)
        return hosts.is_mine(reading.host) if reading.folder else None


def _misfit(_path: str, reading: RecordReading) -> Iterator[bool]:
    if isinstance(reading.content, Misfit):
        yield True


def _declared(readings: Iterable[RecordReading]) -> tuple[dict[str, GlobalNetwork], list[tuple[str, str]]]:
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
