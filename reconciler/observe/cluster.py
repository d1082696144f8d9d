"""What the cluster's store holds, as it was seen last: listed where nobody watches, kept up to date by watches elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from msgspec.structs import replace

from reconciler.cluster.aliveness import is_reaper
from reconciler.cluster.question import ClusterQuestion
from reconciler.cluster.records import (
    NETWORKS_FOLDER,
    REVISIONS_FOLDER,
    life_path,
    members_folder,
    network_folder,
    network_path,
)
from reconciler.cluster.state import StateDecoder
from reconciler.errors import KvError
from reconciler.incremental import Table
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import MUST_NOT_EXIST, Batch, KvEntry, KvStore
from reconciler.model.cluster import ClusterState

_ALL_NETWORKS: Final = "network/"

_CONTENDED_S: Final = 30.0
"""How long after a lost claim others are still expected to be choosing at the same time."""


class _Mirror:
    """One folder, or one key that nobody but us writes.

    changed: keys that have something else than was looked at last. batches: what a watch told while a listing was under way.
    """

    def __init__(self) -> None:
        self.entries: dict[str, KvEntry] = {}
        self.changed: set[str] = set()
        self.is_known = False
        self.is_watched = False
        self.is_forgotten = False
        self.batches: list[Batch] | None = None

    @property
    def needs_listing(self) -> bool:
        return not self.is_watched or self.is_forgotten

    def list_anew(self) -> None:
        self.batches = []
        self.is_forgotten = False

    def take_listing(self, entries: Iterable[KvEntry]) -> bool:
        """Return whether anything is different. What a watch told meanwhile is newer where its version is."""
        listed = {entry.key: entry for entry in entries}
        for batch in self.batches or ():
            for key in batch.deleted:
                listed.pop(key, None)
            for entry in batch.entries:
                if entry.version > _version(listed, entry.key):
                    listed[entry.key] = entry
        self.batches = None
        return self._take(listed, self.entries.keys() - listed.keys())

    def take_batch(self, batch: Batch) -> bool:
        """Return whether the next look may show something different.

        An older version than the known one is told by a watch that lags behind a listing, or by a store that was restored from a
        backup: to know which, it is listed anew.
        """
        self.is_watched = True
        if self.batches is not None:
            self.batches.append(batch)
        written = {entry.key: entry for entry in batch.entries}
        if batch.is_resync:
            return self._take(written, self.entries.keys() - written.keys())
        newer = {key: entry for key, entry in written.items() if entry.version >= _version(self.entries, key)}
        is_older = len(newer) < len(written)
        self.is_forgotten |= is_older
        return self._take(newer, batch.deleted) or is_older

    def _take(self, written: Mapping[str, KvEntry], gone: Iterable[str]) -> bool:
        changed = {key for key, entry in written.items() if self.entries.get(key) != entry}
        changed.update(key for key in gone if key in self.entries)
        is_different = bool(changed) or not self.is_known
        for key in changed:
            self.entries.pop(key, None)
        self.entries |= {key: written[key] for key in changed if key in written}
        self.changed |= changed
        self.is_known = True
        return is_different


def _version(entries: Mapping[str, KvEntry], key: str) -> int:
    return entries[key].version if key in entries else MUST_NOT_EXIST


class ClusterStore:
    """Looks at the cluster's store for one host. Watches may feed it from threads of their own.

    kv: the store itself, for whoever writes. instance: tells this host from others of its name. is_watched: this process gives
    signs of life for the host. seed: what VNIs are drawn by.
    """

    def __init__(self, kv: KvStore, *, host: str, instance: str, discovery: Discovery, seed: str = "") -> None:
        self.kv = kv
        self.is_watched = False
        self._host = host
        self.instance = instance
        self.discovery = discovery
        self._followed: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._mirrors: dict[str, _Mirror] = {}
        self._failing: dict[str, KvError] = {}
        self._contended: dict[str, float] = {}
        self._generation = 0
        self._outage: KvError | None = None
        self._decoder = StateDecoder()
        self._basis: tuple[object, ...] = ()
        self._seed = seed
        self._state = ClusterState(host=host, is_known=False)
        self._given = self._state
        self._folders: tuple[str, ...] = ()
        self._looked_at: Table[str, KvEntry] = Table()
        self._texts: Table[str, str] = Table()
        self._cleared: dict[str, tuple[int, bool]] = {}

    @property
    def followed(self) -> frozenset[str]:
        """Return the networks that the last look was for."""
        return self._followed

    @property
    def outage(self) -> KvError | None:
        """Return why the store could not be asked at the last look, or a watch of it fails now."""
        with self._lock:
            return next(iter(self._failing.values()), self._outage)

    @property
    def has_sign_of_life(self) -> bool:
        """Return whether this host's own sign stands there, as far as was seen or told."""
        with self._lock:
            mirror = self._mirrors.get(self.discovery.path)
            return mirror is not None and life_path(self.discovery.path, self._host) in mirror.entries

    def folders(self, networks: Collection[str]) -> tuple[str, ...]:
        """Return what has to be watched for these networks."""
        return (self.discovery.path, NETWORKS_FOLDER, *map(network_folder, sorted(networks)))

    def look(self, networks: Collection[str], now: str) -> ClusterState:
        """Return what is there; never raises. Nothing new gives the same value again.

        networks: those whose members and endpoints matter here. now: RFC 3339.
        """
        self._followed = frozenset(networks)
        folders = (*self.folders(networks), f"{REVISIONS_FOLDER}{self._host}")
        outage = self._read(folders)
        question = self._question(networks, now)
        expired = self._decoder.expired(self._missed_hosts(), question)
        if expired:
            folders = (*folders, _ALL_NETWORKS, REVISIONS_FOLDER)
            outage = outage or self._read((_ALL_NETWORKS, REVISIONS_FOLDER))
        self._decode(folders, question, expired)
        left = self._left_behind(question) if outage is None else ()
        if left:
            folders = (*folders, *map(network_folder, left))
            outage = self._read(folders)
            self._decode(folders, replace(question, followed=question.followed.union(left)), expired)
        return self._answer(outage)

    def version(self, path: str) -> int:
        """Return the version that a record had at the last look."""
        return _version(self._looked_at, path)

    def forget(self, paths: Iterable[str]) -> None:
        """List the folders of these paths anew at the next look: they were written, or may have been."""
        written = tuple(paths)
        with self._lock:
            for folder, mirror in self._mirrors.items():
                mirror.is_forgotten |= any(path.startswith(folder) for path in written)

    def contend(self, network: str) -> None:
        """Note that a claim for this network was lost to another host."""
        self._contended[network] = time.monotonic()

    def suffer(self, outage: KvError) -> None:
        """Note that the store did not answer a write: each further one before the next look would cost a call's time."""
        self._outage = outage

    def follow(self, folder: str, batch: Batch) -> bool:
        """Take in what a watch tells; say whether it is news. From now on the folder is not listed unless forgotten.

        One that begins anew may be told by a store that lost its data: then what nobody watches is read again too.
        """
        with self._lock:
            mirror = self._mirrors.setdefault(folder, _Mirror())
            is_news = self._failing.pop(folder, None) is not None
            is_news |= batch.is_resync and mirror.is_watched and self._doubt_own()
            is_news |= mirror.take_batch(batch)
            self._generation += is_news
            return is_news

    def watch_failed(self, folder: str, error: KvError) -> bool:
        """Note that a watch cannot reach the store; say whether that is news."""
        with self._lock:
            is_news = not self._failing
            self._failing.setdefault(folder, error)
            return is_news

    def watch_recovered(self, folder: str) -> bool:
        """Note that a watch reached the store; say whether all do now that did not before."""
        with self._lock:
            return self._failing.pop(folder, None) is not None and not self._failing

    def doubt(self) -> None:
        """Ask anew for networks with something left behind, and for the key that nobody but us writes."""
        with self._lock:
            self._doubt_own()

    def _doubt_own(self) -> bool:
        """Return whether there is something to be read again for it."""
        self._cleared.clear()
        own = [mirror for key, mirror in self._mirrors.items() if not key.endswith("/")]
        for mirror in own:
            mirror.is_forgotten = True
        return bool(own)

    def unfollow(self, folder: str) -> bool:
        """Note that a folder is not watched any more; say whether that is the end of an outage, as nothing else fails."""
        with self._lock:
            was_failing = self._failing.pop(folder, None) is not None
            if folder in self._mirrors:
                self._mirrors[folder].is_watched = False
            return was_failing and not self._failing

    def _read(self, folders: Sequence[str]) -> KvError | None:
        """List what no watch keeps up to date; the first failure ends it, as each costs the time that a call may take."""
        with self._lock:
            failing = next(iter(self._failing.values()), None)
            if failing is not None:
                return failing
            waiting = [each for each in folders if self._is_due(each)]
        for folder in waiting:
            try:
                self._list(folder)
            except KvError as error:
                return error
        return None

    def _left_behind(self, question: ClusterQuestion) -> tuple[str, ...]:
        """Return the networks that this host has nothing to do with, and has to remove something of.

        That is what it had there itself, which came back with an old backup of the store; whoever tidies up for the others removes
        networks without members. It is asked once for each network, and again when its record has changed. An answer that fails
        is none.
        """
        is_tidying = is_reaper(self._state.nodes, self._host)
        found = []
        for name in sorted(self._state.networks.keys() - question.followed):
            cleared = (_version(self._looked_at, network_path(name)), is_tidying)
            if self._cleared.get(name) == cleared:
                continue
            own = f"{members_folder(name)}{self._host}"
            try:
                members = self.kv.list(members_folder(name)) if is_tidying else self._one(own)
            except KvError:
                break
            if any(entry.key == own for entry in members) or (is_tidying and not members):
                found.append(name)
            else:
                self._cleared[name] = cleared
        return tuple(found)

    def _is_due(self, folder: str) -> bool:
        """A single key is our own: while we watch the others, it needs no looking after, unless in doubt."""
        mirror = self._mirrors.setdefault(folder, _Mirror())
        if folder.endswith("/") or not mirror.is_known or mirror.is_forgotten:
            return mirror.needs_listing
        return self._mirrors[NETWORKS_FOLDER].needs_listing

    def _list(self, folder: str) -> None:
        with self._lock:
            mirror = self._mirrors[folder]
            mirror.list_anew()
        try:
            entries = self.kv.list(folder) if folder.endswith("/") else self._one(folder)
        except KvError:
            with self._lock:
                mirror.batches, mirror.is_forgotten = None, True
            raise
        with self._lock:
            self._generation += mirror.take_listing(entries)

    def _one(self, key: str) -> tuple[KvEntry, ...]:
        entry = self.kv.get(key)
        return () if entry is None else (entry,)

    def _decode(self, folders: tuple[str, ...], question: ClusterQuestion, expired: frozenset[str]) -> None:
        with self._lock:
            unused = [each for each in self._mirrors if each not in folders and not self._mirrors[each].is_watched]
            for folder in unused:
                del self._mirrors[folder]
            basis = (self._generation, folders, expired)
        if basis == self._basis:
            return
        self._take_news(folders)
        self._state = self._decoder(self._texts, question)
        self._basis = basis

    def _take_news(self, folders: tuple[str, ...]) -> None:
        """Look at what has changed; of a key in two folders, at what the narrower one has."""
        with self._lock:
            mirrors = [self._mirrors[folder] for folder in sorted(folders, key=len) if folder in self._mirrors]
            is_same = folders == self._folders
            keys = set(chain.from_iterable(mirror.changed if is_same else mirror.entries for mirror in mirrors))
            found = {key: mirror.entries[key] for mirror in mirrors for key in keys if key in mirror.entries}
            for mirror in mirrors:
                mirror.changed.clear()
        if not is_same:
            keys.update(self._looked_at)
        self._folders = folders
        self._looked_at = self._looked_at.updated(found, keys)
        self._texts = self._texts.updated({key: _text(entry) for key, entry in found.items()}, keys)

    def _missed_hosts(self) -> Mapping[str, str]:
        """Return the records of all hosts where some host was missed."""
        with self._lock:
            mirror = self._mirrors.get(self.discovery.path, _Mirror())
            entries = mirror.entries
            is_missed = any(path.endswith("/left") for path in entries)
            return {path: _text(entry) for path, entry in entries.items()} if is_missed else {}

    def _question(self, networks: Collection[str], now: str) -> ClusterQuestion:
        return ClusterQuestion(
            host=self._host,
            instance=self.instance,
            followed=frozenset(networks),
            now=now,
            grace_s=self.discovery.grace_s,
            nodes_folder=self.discovery.path,
        )

    def _answer(self, outage: KvError | None) -> ClusterState:
        """Complete what was decoded by what is the matter now; an outage that goes on is the same one."""
        if outage is None or self._outage is None or str(outage) != str(self._outage):
            self._outage = outage
        recent = time.monotonic() - _CONTENDED_S
        self._contended = {network: at for network, at in self._contended.items() if at > recent}
        with self._lock:
            is_known = NETWORKS_FOLDER in self._mirrors and self._mirrors[NETWORKS_FOLDER].is_known
        contended = frozenset(self._contended)
        answer = replace(self._state, outage=self._outage, contended=contended, is_known=is_known, seed=self._seed)
        if answer != self._given:
            self._given = answer
        return self._given


def _text(entry: KvEntry) -> str:
    return entry.value.decode(errors="replace")
