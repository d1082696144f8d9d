"""A connection to ZooKeeper through kazoo, whose calls have deadlines and fail in our words. Knows nothing of keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeAlias

from kazoo.client import KazooClient, TransactionRequest  # type: ignore[import-untyped, unused-ignore]  # the library has no types
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
from kazoo.protocol.states import ZnodeStat  # type: ignore[import-untyped, unused-ignore]
from kazoo.security import make_digest_acl  # type: ignore[import-untyped, unused-ignore]

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.backoff import FIRST_S, MAX_S
from reconciler.kv.config import StoreConfig

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


_RESTORED_AFTER_S: Final = 2.0
"""A server refuses whoever has seen later changes than it has ("client must try another server", ZooKeeperServer.java): one that
lags behind others catches up, one that was restored from a backup never does. After so long what was seen no longer counts."""


Stat: TypeAlias = ZnodeStat
Transaction: TypeAlias = TransactionRequest

Answer = Any
"""What a call that is under way gives one day (kazoo.interfaces.IAsyncResult)."""


class Connection:
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
        self._lost_s = 0.0

    def begin(self, method: str, deadline: float, path: str, **options: object) -> Answer:
        """Start a call without waiting for its answer; answers come in the order of calls."""
        self._connect(deadline)
        return getattr(self._client, f"{method}_async")(path, **options)

    def answer(self, call: Answer, deadline: float) -> Any:
        """Wait for an answer. kazoo's errors about nodes pass, the rest are ours."""
        with self._translated():
            return call.get(timeout=max(0.001, deadline - time.monotonic()))

    def found(self, call: Answer, deadline: float) -> Any:
        """Wait for an answer; None if there is no such node."""
        try:
            return self.answer(call, deadline)
        except NoNodeError:
            return None

    def transaction(self) -> Transaction:
        return self._client.transaction()

    def commit(self, transaction: Transaction, deadline: float) -> bool:
        """Return whether all operations were carried out; otherwise none was."""
        self._connect(deadline)
        results = self.answer(transaction.commit_async(), deadline)
        refused = next((result for result in results if isinstance(result, NoAuthError)), None)
        with self._translated():
            if refused is not None:
                raise refused
        return not any(isinstance(result, Exception) for result in results)

    def make_folder(self, folder: str, deadline: float) -> None:
        if folder != "/":
            self._connect(deadline)
            self.answer(self._client.ensure_path_async(folder), deadline)

    def session(self, deadline: float) -> int:
        """Return the id of the session, a new one if the last has ended."""
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
            now = time.monotonic()
            self._lost_s = self._lost_s or now
            if now - self._lost_s > _RESTORED_AFTER_S:
                self._client.last_zxid = 0
            if now >= deadline:
                raise KvUnavailable(f"ZooKeeper at {self._servers} cannot be reached")
            time.sleep(0.005)
        self._lost_s = 0.0

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
