"""This host's sign of life in the cluster's store, by which others know that it is watched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from reconciler.cluster.reading import read_info, read_life
from reconciler.cluster.records import info_path, info_record, life_path, life_value
from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kv.address import Discovery
from reconciler.kv.backoff import Backoff
from reconciler.kv.protocol import MUST_NOT_EXIST, Check, KvEntry, KvStore, Put, Session
from reconciler.model.cluster import ClusterNode
from reconciler.records.document import Misfit

log = logging.getLogger(__name__)

_CLOSE_S: Final = 3.0
_REST_S: Final = 0.1
"""Between two looks after the sign, however often somebody asks for one."""

_HAND_OVER_ATTEMPTS: Final = 3


class Presence:
    """Keeps the sign from a thread of its own: bound to a session that is renewed, opened anew when it has ended.

    When the process is killed, the sign vanishes with the session's TTL and others count the host as dead. When it ends in order
    (`close`), the host's record says before that nobody watches any more: its networks stay up, so it must not look dead.
    The sign of another host under our name is never taken over.
    """

    def __init__(self, kv: KvStore, host: str, instance: str, discovery: Discovery) -> None:
        self._kv = kv
        self._host = host
        self._instance = instance
        self._discovery = discovery
        self._path = life_path(discovery.path, host)
        self._session: Session | None = None
        self._backoff = Backoff()
        self._closing = threading.Event()
        self._waking = threading.Event()
        self._complaint = ""
        self._is_established = False
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self._thread.start()

    @property
    def is_established(self) -> bool:
        """Return whether the sign has ever stood since we began: from then on this host's record may say that it is watched."""
        return self._is_established

    def wake(self) -> None:
        """Look after the sign now: it was seen missing."""
        self._waking.set()

    def close(self) -> None:
        """Hand over to nobody: the host counts as alive and unwatched from now on.

        Waits a few seconds at most. Where no store is reached in that time, the session's TTL ends the sign.
        """
        self._closing.set()
        self._waking.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            wait_s = self._step()
            self._closing.wait(min(_REST_S, wait_s))
            self._waking.wait(max(0.0, wait_s - _REST_S))
            self._waking.clear()
        if self._session is not None and _is_done(self._hand_over):
            self._session.close()

    def _step(self) -> float:
        """Do what is due; give how long to wait before the next time."""
        try:
            self._keep()
        except KvConflict:
            self._give_up_session()  # it has ended, or somebody wrote at the same time: look again
            self._backoff.failed()
            return self._backoff.delay_s()
        except KvUnavailable as error:
            self._complain(f"the sign of life of this host cannot be given, trying again: {error}")
            self._backoff.failed()
            return self._backoff.delay_s()
        except KvError as error:
            self._complain(f"the sign of life of this host cannot be given: {error}")
            return self._discovery.heartbeat_s
        self._backoff.succeeded()
        return self._discovery.heartbeat_s

    def _keep(self) -> None:
        if self._session is not None:
            self._session.renew()
        entry = self._kv.get(self._path)
        other = _other_instance(entry, self._instance)
        if other:
            self._complain(self._described(other))
            self._give_up_session()
            return
        if self._session is None or entry is None:
            self._session = self._session or self._kv.session(self._discovery.ttl_s)
            self._put(self._session, entry)
        self._is_established, self._complaint = True, ""

    def _put(self, session: Session, entry: KvEntry | None) -> None:
        """Write the sign, or take over one that an earlier process of ours left."""
        version = MUST_NOT_EXIST if entry is None else entry.version
        put = Put(key=self._path, value=life_value(self._instance).encode(), session=session)
        try:
            self._kv.transact([Check(key=self._path, version=version)], [put])
        except KvError:
            self._give_up_session()
            raise

    def _give_up_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _hand_over(self) -> None:
        """Let this host's record say that nobody watches."""
        path = info_path(self._discovery.path, self._host)
        entry = self._kv.get(path)
        info = None if entry is None else read_info(entry.value.decode(errors="replace"))
        if entry is None or info is None or not info.is_watched or info.instance != self._instance:
            return
        node = ClusterNode(name=self._host, address=info.address, instance=info.instance)
        record = info_record(node, self._discovery.path)
        self._kv.compare_and_swap(path, record.value.encode(), entry.version)

    def _described(self, instance: str) -> str:
        return (
            f"another host lives in the cluster under the name {self._host} (instance {instance}, this one is {self._instance}): "
            "give one of them another --host"
        )

    def _complain(self, message: str) -> None:
        """Log what is the matter, once for as long as it is."""
        if message != self._complaint:
            log.warning("%s", message)
        self._complaint = message


def _other_instance(entry: KvEntry | None, mine: str) -> str:
    """Return whose sign it is that stands, "" if it is ours or says nothing that can be read."""
    if entry is None:
        return ""
    try:
        found = read_life(entry.value.decode(errors="replace"))
    except Misfit:
        return ""
    return "" if found == mine else found


def _is_done(work: Callable[[], None]) -> bool:
    """Try a few times against others who write at the same time; say whether it succeeded or there was nothing to do."""
    for _ in range(_HAND_OVER_ATTEMPTS):
        try:
            work()
        except KvConflict:
            continue
        except KvError:
            return False
        except Misfit:
            return True
        return True
    return False
