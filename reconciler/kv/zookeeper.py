"""ZooKeeper, through kazoo: see `zookeeper_connection`; how keys become nodes, see `zookeeper_tree`.

Folders are made when needed and stay.

An entry's version is its mzxid, which never comes twice. ZooKeeper itself checks another number when it writes, the
data version, and that one starts anew when a node is deleted and made again. So whoever makes a key also touches its
folder in the same transaction, and whoever changes a key by its version has the folder checked: if the key was made
anew in between, the folder's version is another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final
from weakref import WeakSet

from reconciler.errors import KvConflict, KvError
from reconciler.kv.config import StoreConfig
from reconciler.kv.polling import PollingWatch
from reconciler.kv.protocol import MUST_NOT_EXIST, Batch, Delete, KvEntry, Put, checked_key, checked_prefix
from reconciler.kv.steps import KeyStep, StepStore, own_session
from reconciler.kv.zookeeper_connection import Connection, Stat, Transaction
from reconciler.kv.zookeeper_tree import Tree, entry_of, folder_path, leaf_path

_ATTEMPTS_MAX: Final = 50
"""Of one transaction while others make keys in the same folders; each failure means that somebody else succeeded."""


class ZooKeeperStore(StepStore):
    """See `reconciler.kv.protocol.KvStore`."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._root = "/" + config.prefix.rstrip("/")
        self._connection = Connection(config, config.timeout_s)
        self._made_folders: set[str] = set()
        self._sessions: WeakSet[ZooKeeperSession] = WeakSet()

    def get(self, key: str) -> KvEntry | None:
        deadline = self._deadline()
        found = self._connection.found(self._connection.begin("get", deadline, self._leaf(checked_key(key))), deadline)
        return None if found is None else entry_of(key, found)

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        self._catch_up(self._deadline())
        tree = Tree(self._connection, self._config.timeout_s)
        return tree.read(self._folder(checked_prefix(prefix)), checked_prefix(prefix))

    def watch(self, prefix: str) -> ZooKeeperWatch:
        folder = self._folder(checked_prefix(prefix))
        return ZooKeeperWatch(self._connection, folder, prefix, self._config.timeout_s)

    def confirm(self, timeout_s: float) -> None:
        """Have the server catch up with the leader. One that lost it hangs up by itself, which is when kazoo looks for another."""
        self._catch_up(time.monotonic() + timeout_s)

    def _catch_up(self, deadline: float) -> None:
        """Have what is read next be no older than now: after a fail-over the server may not even have what we wrote ourselves."""
        self._connection.answer(self._connection.begin("sync", deadline, "/"), deadline)

    def session(self, ttl_s: float) -> ZooKeeperSession:
        made = ZooKeeperSession(Connection(self._config, ttl_s), ttl_s, self._config.timeout_s)
        self._sessions.add(made)
        return made

    def close(self) -> None:
        for session in tuple(self._sessions):
            session.close()  # one that nobody ended would keep kazoo's threads for as long as the process runs
        self._connection.close(self._config.timeout_s)

    def carry_out(self, steps: Sequence[KeyStep]) -> None:
        deadline = self._deadline()
        session = own_session(next((step.session for step in steps if step.session), None), ZooKeeperSession)
        connection = self._connection if session is None else session.live_connection(deadline)
        owner = 0 if session is None else session.identity
        for _ in range(_ATTEMPTS_MAX):
            if self._attempt(steps, connection, owner, deadline):
                return
        raise KvConflict(f"{steps[0].key}: too many others write there at the same time")

    def _attempt(self, steps: Sequence[KeyStep], connection: Connection, owner: int, deadline: float) -> bool:
        """Look, compare, write. Gives False when something moved between looking and writing."""
        needed = [step for step in steps if step.version is not None or isinstance(step.write, Put)]
        folders = sorted({self._parent(step.key) for step in needed})
        for folder in folders:
            if folder not in self._made_folders:
                connection.make_folder(folder, deadline)
                self._made_folders.add(folder)
        # In this order: what is made anew after we looked at its folder is noticed by the folder's version.
        asked = [connection.begin("exists", deadline, path) for path in [*folders, *(self._leaf(s.key) for s in steps)]]
        stats: list[Stat | None] = [connection.found(answer, deadline) for answer in asked]
        guards = dict(zip(folders, stats[: len(folders)], strict=True))
        self._made_folders -= {folder for folder, stat in guards.items() if stat is None}
        transaction = _Transaction(connection.transaction(), owner)
        for step, stat in zip(steps, stats[len(folders) :], strict=True):
            step.check(stat.mzxid if stat else MUST_NOT_EXIST)
            transaction.add(step, self._leaf(step.key), self._parent(step.key), stat)
        return transaction.commit(guards, connection, deadline)

    def _deadline(self) -> float:
        return time.monotonic() + self._config.timeout_s

    def _folder(self, prefix: str) -> str:
        return folder_path(self._root, prefix)

    def _parent(self, key: str) -> str:
        return folder_path(self._root, key[: key.rfind("/") + 1])

    def _leaf(self, key: str) -> str:
        return leaf_path(self._root, key)


class ZooKeeperSession:
    """See `reconciler.kv.protocol.Session`: a connection of its own, whose ephemeral nodes the keys are.

    kazoo keeps it alive for as long as the process runs, renewed or not.
    """

    def __init__(self, connection: Connection, ttl_s: float, timeout_s: float) -> None:
        self._connection = connection
        self._is_closed = False
        self.ttl_s = ttl_s
        self._timeout_s = timeout_s
        try:
            self.identity = connection.session(time.monotonic() + timeout_s)
        except KvError:
            connection.close(timeout_s)
            raise

    def renew(self) -> None:
        self.live_connection(time.monotonic() + self._timeout_s)

    def live_connection(self, deadline: float) -> Connection:
        """Return the connection that holds the session. Raises KvConflict when kazoo had to begin another session."""
        if self._is_closed or self._connection.session(deadline) != self.identity:
            raise KvConflict("the session has ended")
        return self._connection

    def close(self) -> None:
        self._is_closed = True
        self._connection.close(self._timeout_s)


class ZooKeeperWatch(PollingWatch):
    """See `reconciler.kv.protocol.Watch`: a watch on each node of the folder, set again whenever it went off."""

    def __init__(self, connection: Connection, folder: str, prefix: str, timeout_s: float) -> None:
        super().__init__(prefix)
        self._connection = connection
        self._folder = folder
        self._timeout_s = timeout_s
        self._tree = Tree(connection, timeout_s, self._went_off)
        self._lock = threading.Lock()
        self._stale: set[str] = set()
        self._wake = threading.Event()
        self._wake.set()
        self._is_stale_throughout = True

    def close(self) -> None:
        super().close()
        self._wake.set()

    def look(self, deadline: float) -> Batch | None:
        if not self._wake.wait(max(0.0, deadline - time.monotonic())) or self._closed.is_set():
            return None
        with self._lock:
            self._wake.clear()
            stale, self._stale = self._stale, set()
            throughout, self._is_stale_throughout = self._is_stale_throughout, False
        if throughout:
            super().begin_anew()
            self._connection.make_folder(self._folder, time.monotonic() + self._timeout_s)
            self._tree.read(self._folder, self._prefix)
        else:
            self._tree.read_again(stale)
        return self.compared(self._tree.entries())

    def begin_anew(self) -> None:
        self._went_off(None)

    def _went_off(self, path: str | None) -> None:
        """Note that a node changed; None: the connection was lost and all watches with it. On kazoo's thread."""
        with self._lock:
            if path is None:
                self._is_stale_throughout = True
            else:
                self._stale.add(path)
            self._wake.set()


class _Transaction:
    """Turns steps into ZooKeeper's operations. owner: the session that writes, 0 for none."""

    def __init__(self, request: Transaction, owner: int) -> None:
        self._request = request
        self._owner = owner
        self._guarded: set[str] = set()
        self._touched: set[str] = set()

    def add(self, step: KeyStep, leaf: str, folder: str, stat: Stat | None) -> None:
        if stat is None:
            self._add_to_absent(step, leaf, folder)
        else:
            self._add_to_present(step, leaf, folder, stat)

    def commit(self, guards: Mapping[str, Stat | None], connection: Connection, deadline: float) -> bool:
        for folder in sorted(self._guarded | self._touched):
            guard = guards[folder]
            version = guard.version if guard is not None and folder in self._guarded else -1
            if folder in self._touched:
                self._request.set_data(folder, b"", version=version)
            else:
                self._request.check(folder, version)
        return not self._request.operations or connection.commit(self._request, deadline)

    def _add_to_absent(self, step: KeyStep, leaf: str, folder: str) -> None:
        if isinstance(step.write, Put):
            self._request.create(leaf, step.write.value, ephemeral=step.write.session is not None)
            self._touched.add(folder)
        elif step.version == MUST_NOT_EXIST:  # there is no check for absence but this one
            self._request.create(leaf, b"")
            self._request.delete(leaf)

    def _add_to_present(self, step: KeyStep, leaf: str, folder: str, stat: Stat) -> None:
        version = -1
        if step.version is not None:
            version = stat.version
            self._guarded.add(folder)
        match step.write:
            case None:
                self._request.check(leaf, version)
            case Delete():
                self._request.delete(leaf, version=version)
            case Put(value=value, session=session) if session is None or stat.ephemeralOwner == self._owner:
                self._request.set_data(leaf, value, version=version)
            case Put(value=value):  # a node cannot change hands
                self._request.delete(leaf, version=version)
                self._request.create(leaf, value, ephemeral=True)
                self._touched.add(folder)
