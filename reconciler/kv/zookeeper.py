"""ZooKeeper, through kazoo.

A key `a/b/c` is the node `/a/b/:c`: folders are nodes without data, keys are marked by a colon, so that a key may bear
the name of a folder. Folders are made when needed and stay.

An entry's version is its mzxid, which never comes twice. ZooKeeper itself checks another number when it writes, the
data version, and that one starts anew when a node is deleted and made again. So whoever makes a key also touches its
folder in the same transaction, and whoever changes a key by its version has the folder checked: if the key was made
anew in between, the folder's version is another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote, unquote

from kazoo.client import (  # type: ignore[import-untyped, unused-ignore]  # the library has no types
    KazooClient,
    TransactionRequest,
)
from kazoo.exceptions import (  # type: ignore[import-untyped, unused-ignore]
    AuthFailedError,
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
    SessionMovedError,
)
from kazoo.handlers.threading import KazooTimeoutError  # type: ignore[import-untyped, unused-ignore]
from kazoo.security import make_digest_acl  # type: ignore[import-untyped, unused-ignore]

from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kv.backoff import FIRST_S, MAX_S, Backoff
from reconciler.kv.config import StoreConfig
from reconciler.kv.protocol import (
    MUST_NOT_EXIST,
    Batch,
    Check,
    Delete,
    Entry,
    Put,
    Session,
    Step,
    Write,
    checked_key,
    checked_prefix,
    checked_steps,
    checked_value,
    is_key,
)
from reconciler.kv.snapshot import Snapshot

_ATTEMPTS_MAX: Final = 50
"""Of one transaction while others make keys in the same folders; each failure means that somebody else succeeded."""

_RECONNECTION: Final[Mapping[str, float]] = {"max_tries": -1, "delay": FIRST_S, "backoff": 2, "max_delay": MAX_S}
"""For ever, like our own watches; kazoo's own choice would let up to a minute pass."""

_NOT_REACHED: Final = (
    ConnectionLoss,
    ConnectionClosedError,
    SessionExpiredError,
    SessionMovedError,
    OperationTimeoutError,
    KazooTimeoutError,
)


class _Stat(Protocol):
    @property
    def mzxid(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def ephemeralOwner(self) -> int: ...  # noqa: N802  # kazoo's name


class ZooKeeperStore:
    """See `reconciler.kv.protocol.KvStore`."""

    def __init__(self, config: StoreConfig) -> None:
        self._config = config
        self._root = "/" + config.prefix.rstrip("/")
        self._connection = _Connection(config, config.timeout_s)
        self._made_folders: set[str] = set()

    def get(self, key: str) -> Entry | None:
        deadline = self._deadline()
        found = self._connection.found(self._connection.begin("get", deadline, self._leaf(checked_key(key))), deadline)
        return None if found is None else _entry(key, found)

    def list(self, prefix: str) -> tuple[Entry, ...]:
        tree = _Tree(self._connection, self._config.timeout_s)
        return tree.read(self._folder(checked_prefix(prefix)), checked_prefix(prefix))

    def put(self, key: str, value: bytes, session: Session | None = None) -> None:
        checked_value(key, value)
        self._transact((Step(key=checked_key(key), version=None, write=Put(key=key, value=value, session=session)),))

    def delete(self, key: str) -> None:
        self._transact((Step(key=checked_key(key), version=None, write=Delete(key=key)),))

    def compare_and_swap(self, key: str, value: bytes | None, version: int) -> None:
        self._transact((Step.swap(key, value, version),))

    def transact(self, checks: Sequence[Check], writes: Sequence[Write]) -> None:
        self._transact(checked_steps(checks, writes))

    def watch(self, prefix: str) -> ZooKeeperWatch:
        folder = self._folder(checked_prefix(prefix))
        return ZooKeeperWatch(self._connection, folder, prefix, self._config.timeout_s)

    def session(self, ttl_s: float) -> ZooKeeperSession:
        return ZooKeeperSession(_Connection(self._config, ttl_s), ttl_s, self._config.timeout_s)

    def close(self) -> None:
        self._connection.close(self._config.timeout_s)

    def _transact(self, steps: Sequence[Step]) -> None:
        deadline = self._deadline()
        session = next(
            (step.write.session for step in steps if isinstance(step.write, Put) and step.write.session), None
        )
        if session is not None and not isinstance(session, ZooKeeperSession):
            raise ValueError("the session is another store's")
        connection = self._connection if session is None else session.live_connection(deadline)
        owner = 0 if session is None else session.identity
        for _ in range(_ATTEMPTS_MAX):
            if self._attempt(steps, connection, owner, deadline):
                return
        raise KvConflict(f"{steps[0].key}: too many others write there at the same time")

    def _attempt(self, steps: Sequence[Step], connection: _Connection, owner: int, deadline: float) -> bool:
        """Look, compare, write. Gives False when something moved between looking and writing."""
        folders = sorted({self._parent(step.key) for step in steps if step.version or isinstance(step.write, Put)})
        for folder in folders:
            if folder not in self._made_folders:
                connection.make_folder(folder, deadline)
                self._made_folders.add(folder)
        # In this order: what is made anew after we looked at its folder is noticed by the folder's version.
        asked = [connection.begin("exists", deadline, path) for path in [*folders, *(self._leaf(s.key) for s in steps)]]
        stats: list[_Stat | None] = [connection.found(answer, deadline) for answer in asked]
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
        return "/".join([self._root.rstrip("/"), *map(_quoted, prefix.split("/")[:-1])]) or "/"

    def _parent(self, key: str) -> str:
        return self._folder(key[: key.rfind("/") + 1])

    def _leaf(self, key: str) -> str:
        return f"{self._parent(key).rstrip('/')}/:{_quoted(key.rpartition('/')[2])}"


class ZooKeeperSession:
    """See `reconciler.kv.protocol.Session`: a connection of its own, whose ephemeral nodes the keys are.

    kazoo keeps it alive for as long as the process runs, renewed or not.
    """

    def __init__(self, connection: _Connection, ttl_s: float, timeout_s: float) -> None:
        self._connection = connection
        self._is_closed = False
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        try:
            self.identity = connection.session(time.monotonic() + timeout_s)
        except KvError:
            connection.close(timeout_s)
            raise

    @property
    def ttl_s(self) -> float:
        return self._ttl_s

    def renew(self) -> None:
        self.live_connection(time.monotonic() + self._timeout_s)

    def live_connection(self, deadline: float) -> _Connection:
        """Give the connection that holds the session. Raises KvConflict when kazoo had to begin another session."""
        if self._is_closed or self._connection.session(deadline) != self.identity:
            raise KvConflict("the session has ended")
        return self._connection

    def close(self) -> None:
        self._is_closed = True
        self._connection.close(self._timeout_s)


class ZooKeeperWatch:
    """See `reconciler.kv.protocol.Watch`: a watch on each node of the folder, set again whenever it went off."""

    def __init__(self, connection: _Connection, folder: str, prefix: str, timeout_s: float) -> None:
        self._connection = connection
        self._folder = folder
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._tree = _Tree(connection, timeout_s, self._went_off)
        self._known = Snapshot()
        self._backoff = Backoff()
        self._lock = threading.Lock()
        self._stale: set[str] = set()
        self._wake = threading.Event()
        self._wake.set()
        self._is_stale_throughout = True
        self._closed = threading.Event()

    def poll(self, timeout_s: float) -> Batch | None:
        deadline = time.monotonic() + timeout_s
        self._closed.wait(min(timeout_s, self._backoff.delay_s()))
        while not self._closed.is_set():
            if not self._wake.wait(max(0.0, deadline - time.monotonic())):
                return None
            batch = None if self._closed.is_set() else self._look()
            if batch is not None or time.monotonic() >= deadline:
                return batch
        return None

    def close(self) -> None:
        self._closed.set()
        self._wake.set()

    def _look(self) -> Batch | None:
        with self._lock:
            self._wake.clear()
            stale, self._stale = self._stale, set()
            throughout, self._is_stale_throughout = self._is_stale_throughout, False
        try:
            if throughout:
                self._connection.make_folder(self._folder, time.monotonic() + self._timeout_s)
                self._tree.read(self._folder, self._prefix)
            else:
                self._tree.read_again(stale)
        except KvUnavailable:
            self._went_off(None)
            self._backoff.failed()
            raise
        self._backoff.succeeded()
        return self._known.take(self._tree.entries())

    def _went_off(self, path: str | None) -> None:
        """Note that a node changed; None: the connection was lost and all watches with it. On kazoo's thread."""
        with self._lock:
            if path is None:
                self._is_stale_throughout = True
            else:
                self._stale.add(path)
            self._wake.set()


@dataclass(frozen=True, slots=True)
class _Answer:
    """A call under way."""

    result: Any


class _Connection:
    """A kazoo client whose calls have deadlines. Connects when first used.

    session_s: after so long without an answer kazoo looks for another server; each gets its share of it to be reached.
    """

    def __init__(self, config: StoreConfig, session_s: float) -> None:
        options: dict[str, Any] = {"timeout": session_s, "connection_retry": _RECONNECTION}
        if config.secret:
            user, _, password = config.secret.partition(":")
            options["auth_data"] = [("digest", config.secret)]
            options["default_acl"] = [make_digest_acl(user, password, all=True)]
        if config.tls is not None:
            config.tls.context()  # says in our words which file is no good
            options |= {"use_ssl": True, "verify_certs": True, "check_hostname": True}
            options |= {"ca": config.tls.ca, "certfile": config.tls.certificate, "keyfile": config.tls.key}
        self._servers = ",".join(map(str, config.endpoints))
        self._client = KazooClient(self._servers, **options)
        self._lock = threading.Lock()
        self._is_started = False

    def begin(self, method: str, deadline: float, path: str, **options: object) -> _Answer:
        """Start a call without waiting for its answer; answers come in the order of calls."""
        self._connect(deadline)
        return _Answer(getattr(self._client, f"{method}_async")(path, **options))

    def answer(self, call: _Answer, deadline: float) -> Any:
        """Wait for an answer. kazoo's errors about nodes pass, the rest are ours."""
        with self._translated():
            return call.result.get(timeout=max(0.001, deadline - time.monotonic()))

    def found(self, call: _Answer, deadline: float) -> Any:
        """Wait for an answer; None if there is no such node."""
        try:
            return self.answer(call, deadline)
        except NoNodeError:
            return None

    def transaction(self) -> TransactionRequest:
        return self._client.transaction()

    def commit(self, transaction: TransactionRequest, deadline: float) -> bool:
        """Say whether all operations were carried out; otherwise none was."""
        self._connect(deadline)
        results = self.answer(_Answer(transaction.commit_async()), deadline)
        refused = next((result for result in results if isinstance(result, NoAuthError)), None)
        with self._translated():
            if refused is not None:
                raise refused
        return not any(isinstance(result, Exception) for result in results)

    def make_folder(self, folder: str, deadline: float) -> None:
        if folder != "/":
            self._connect(deadline)
            self.answer(_Answer(self._client.ensure_path_async(folder)), deadline)

    def session(self, deadline: float) -> int:
        """Give the id of the session, a new one if the last has ended."""
        self._connect(deadline)
        identity = self._client.client_id
        if identity is None:
            raise KvUnavailable(f"ZooKeeper at {self._servers}: no session")
        return int(identity[0])

    def close(self, timeout_s: float) -> None:
        """Give the server at most `timeout_s` to say goodbye; kazoo would wait longer for one that hangs."""
        with self._lock:
            if not self._is_started:
                return
        ending = threading.Thread(target=self._end, daemon=True)
        ending.start()
        ending.join(timeout_s)

    def _end(self) -> None:
        with suppress(KazooException):
            self._client.stop()
            self._client.close()

    def _connect(self, deadline: float) -> None:
        with self._lock:
            if not self._is_started:
                self._client.start_async()
                self._is_started = True
        while not self._client.connected:
            if time.monotonic() >= deadline:
                raise KvUnavailable(f"ZooKeeper at {self._servers} cannot be reached")
            time.sleep(0.005)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _NOT_REACHED as error:
            raise KvUnavailable(f"ZooKeeper at {self._servers}: {type(error).__name__} {error}".rstrip()) from error
        except (NoAuthError, AuthFailedError) as error:
            raise KvError("ZooKeeper refused access (do user and password match those that made the nodes?)") from error
        except (NoNodeError, NodeExistsError):
            raise
        except KazooException as error:
            raise KvError(f"ZooKeeper: {type(error).__name__} {error}".rstrip()) from error


class _Transaction:
    """Turns steps into ZooKeeper's operations. owner: the session that writes, 0 for none."""

    def __init__(self, request: TransactionRequest, owner: int) -> None:
        self._request = request
        self._owner = owner
        self._guarded: set[str] = set()
        self._touched: set[str] = set()

    def add(self, step: Step, leaf: str, folder: str, stat: _Stat | None) -> None:
        if stat is None:
            self._add_to_absent(step, leaf, folder)
        else:
            self._add_to_present(step, leaf, folder, stat)

    def commit(self, guards: Mapping[str, _Stat | None], connection: _Connection, deadline: float) -> bool:
        for folder in sorted(self._guarded | self._touched):
            guard = guards[folder]
            version = guard.version if guard is not None and folder in self._guarded else -1
            if folder in self._touched:
                self._request.set_data(folder, b"", version=version)
            else:
                self._request.check(folder, version)
        return not self._request.operations or connection.commit(self._request, deadline)

    def _add_to_absent(self, step: Step, leaf: str, folder: str) -> None:
        if isinstance(step.write, Put):
            self._request.create(leaf, step.write.value, ephemeral=step.write.session is not None)
            self._touched.add(folder)
        elif step.version == MUST_NOT_EXIST:  # there is no check for absence but this one
            self._request.create(leaf, b"")
            self._request.delete(leaf)

    def _add_to_present(self, step: Step, leaf: str, folder: str, stat: _Stat) -> None:
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


class _Tree:
    """The keys of a folder and those below, read node by node. went_off: told of changes after the reading, by path."""

    def __init__(
        self, connection: _Connection, timeout_s: float, went_off: Callable[[str | None], None] | None = None
    ) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._watch = {} if went_off is None else {"watch": lambda event: went_off(event.path)}
        self._keys: dict[str, str] = {}
        self._entries: dict[str, Entry] = {}

    def read(self, folder: str, prefix: str) -> tuple[Entry, ...]:
        """Read all of it."""
        self._keys = {folder: prefix}
        self._entries = {}
        self._read_folders([folder])
        return self.entries()

    def entries(self) -> tuple[Entry, ...]:
        return tuple(sorted(self._entries.values(), key=lambda entry: entry.key))

    def read_again(self, paths: set[str]) -> None:
        """Read these nodes again, folders first: a key made anew shows in its folder, watched again by then."""
        known = paths & self._keys.keys()
        self._read_folders(sorted(path for path in known if not _is_leaf(path)))
        self._read_leaves(sorted(path for path in known if _is_leaf(path) and path in self._keys))

    def _read_folders(self, folders: Sequence[str]) -> None:
        while folders:
            leaves: list[str] = []
            below: list[str] = []
            for folder, children in self._answers("get_children", folders):
                for path in self._new_children(folder, children):
                    (leaves if _is_leaf(path) else below).append(path)
            self._read_leaves(leaves)
            folders = below

    def _new_children(self, folder: str, children: Sequence[str] | None) -> Iterator[str]:
        """Note which nodes a folder has that it had not; whose watches are set, needs no reading."""
        if children is None:
            self._keys.pop(folder, None)
            return
        prefix = self._keys[folder]
        for child in children:
            path = f"{folder.rstrip('/')}/{child}"
            name = unquote(child.removeprefix(":"), errors="surrogateescape")
            is_ours = "/" not in name and child.removeprefix(":") == _quoted(name) and is_key(prefix + name)
            if is_ours and path not in self._keys:
                self._keys[path] = prefix + name + ("" if _is_leaf(path) else "/")
                yield path

    def _read_leaves(self, leaves: Sequence[str]) -> None:
        for path, found in self._answers("get", leaves):
            if found is None:
                self._entries.pop(path, None)
                self._keys.pop(path, None)
            else:
                self._entries[path] = _entry(self._keys[path], found)

    def _answers(self, method: str, paths: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Ask for all, then wait for each; the deadline counts from one answer to the next."""
        calls = [self._connection.begin(method, self._deadline(), path, **self._watch) for path in paths]
        for path, call in zip(paths, calls, strict=True):
            yield path, self._connection.found(call, self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s


def _entry(key: str, found: tuple[bytes, _Stat]) -> Entry:
    value, stat = found
    return Entry(key=key, value=value, version=stat.mzxid)


def _is_leaf(path: str) -> bool:
    return path.rpartition("/")[2].startswith(":")


def _quoted(segment: str) -> str:
    return quote(segment, safe="", errors="surrogateescape")
