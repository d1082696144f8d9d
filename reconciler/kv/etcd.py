"""etcd, by the JSON form of its v3 interface (under /v3 since 3.4), over our own HTTP client.

Why no client library: etcd3gw knows one host only, reads a watch as if each piece of the stream were one message, and
overlooks compaction; the grpc clients bring megabytes and threads. What is needed is six calls and a stream of lines.

An entry's version is its mod_revision. Numbers of 64 bits travel as strings, keys and values as base64
(etcd: api/etcdserverpb/rpc.proto). Through this gateway etcd does not take a client certificate's name as a user.
"""

from __future__ import annotations

import base64
import http
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kv.config import StoreConfig
from reconciler.kv.fail_over import REPLY_BYTES_MAX, Cancellation, HttpClient, LineStream, StoreRequest, StoreResponse
from reconciler.kv.polling import PollingWatch
from reconciler.kv.protocol import (
    Batch,
    Delete,
    KvEntry,
    Put,
    Session,
    Write,
    checked_key,
    checked_prefix,
    is_key,
    keys_sorted,
)
from reconciler.kv.steps import KeyStep, StepStore, conflict, own_session
from reconciler.records.document import Misfit, json_object
from reconciler.records.faults import shown

SILENCE_MAX_S: Final = 20.0
"""After so long without a word a watch is opened anew, from where it was: a stream can go dead (etcd issue 8980)."""

_UNAUTHENTICATED: Final = 16
_PERMISSION_DENIED: Final = 7
"""Status codes of grpc, which the gateway puts into its errors."""

_TOKEN_TROUBLE: Final = ("invalid auth token", "user name is empty", "revision of auth store is old")

Json = Mapping[str, Any]


class EtcdStore(StepStore):
    """See `reconciler.kv.protocol.KvStore`."""

    def __init__(self, config: StoreConfig) -> None:
        self._http = HttpClient(config.endpoints, config.tls, config.timeout_s)
        self._secret = config.secret
        self._prefix = config.prefix
        self._token = ""
        self._token_lock = threading.Lock()

    def get(self, key: str) -> KvEntry | None:
        whole = self._encoded(checked_key(key))
        with _translated():
            found = self.call("kv/range", {"key": whole}, is_repeatable=True)
            return next((self.entry(item) for item in found.get("kvs", ())), None)

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        return self.folder(checked_prefix(prefix))[1]

    def watch(self, prefix: str) -> EtcdWatch:
        return EtcdWatch(self, checked_prefix(prefix))

    def confirm(self, timeout_s: float) -> None:
        """Read one key, linearizably as all reads here."""
        message = {"key": self._encoded("nodes"), "count_only": True}
        with _translated():
            reply = self._http.confirm(
                _request("kv/range", message, self._signed_in(""), is_repeatable=True), timeout_s
            )
            if self._secret and _is_token_trouble(reply):
                self.forget_token()
                return
            _answer(reply)

    def session(self, ttl_s: float) -> EtcdSession:
        with _translated():
            lease = self.call("lease/grant", {"TTL": str(max(1, round(ttl_s)))})
            return EtcdSession(self, str(lease["ID"]), float(lease["TTL"]))

    def close(self) -> None:
        self._http.close()

    def folder(self, prefix: str) -> tuple[int, tuple[KvEntry, ...]]:
        """Return the store's revision and all below the prefix at that revision, sorted by key."""
        with _translated():
            found = self.call("kv/range", self.range_of(prefix), is_repeatable=True)
            return int(found["header"]["revision"]), keys_sorted(map(self.entry, found.get("kvs", ())))

    def call(self, method: str, message: Json, *, is_repeatable: bool = False) -> Json:
        """Return the answer to one call. Raises KvUnavailable, KvError; signs in again when the server forgot us."""
        token = self._signed_in("")
        reply = self._http.send(_request(method, message, token, is_repeatable=is_repeatable))
        if self._secret and _is_token_trouble(reply):
            token = self._signed_in(token)
            reply = self._http.send(_request(method, message, token, is_repeatable=is_repeatable))
        return _answer(reply)

    def stream(self, method: str, message: Json, cancellation: Cancellation) -> LineStream:
        """Open a call that answers line by line."""
        return self._http.stream(_request(method, message, self._signed_in(""), is_repeatable=True), cancellation)

    def forget_token(self) -> None:
        with self._token_lock:
            self._token = ""

    def range_of(self, prefix: str) -> dict[str, str]:
        """Return the range of keys that the folder is; "" with no prefix is all there is."""
        whole = self._prefix + prefix
        if not whole:
            return {"key": _NUL, "range_end": _NUL}
        return {"key": _base64(whole), "range_end": _base64(whole[:-1] + chr(ord("/") + 1))}

    def entry(self, item: Json) -> KvEntry:
        return KvEntry(
            key=self.key_of(item),
            value=base64.b64decode(item.get("value", "")),
            version=int(item["mod_revision"]),
        )

    def key_of(self, item: Json) -> str:
        return base64.b64decode(item["key"]).decode(errors="surrogateescape").removeprefix(self._prefix)

    def _encoded(self, key: str) -> str:
        return _base64(self._prefix + key)

    def carry_out(self, steps: Sequence[KeyStep]) -> None:
        compare = [
            {"key": self._encoded(step.key), "target": "MOD", "result": "EQUAL", "mod_revision": str(step.version)}
            for step in steps
            if step.version is not None
        ]
        success = [self._operation(step.write) for step in steps if step.write is not None]
        if not compare and not success:
            return
        with _translated():
            answer = self.call("kv/txn", {"compare": compare, "success": success})
        if not answer.get("succeeded", False):
            raise conflict(", ".join(step.key for step in steps if step.version is not None))

    def _operation(self, write: Write) -> Json:
        match write:
            case Delete(key=key):
                return {"request_delete_range": {"key": self._encoded(key)}}
            case Put(key=key, value=value, session=session):
                put = {"key": self._encoded(key), "value": base64.b64encode(value).decode()}
                return {"request_put": put | _lease(session)}

    def _signed_in(self, refused: str) -> str:
        """Return the token to use; a new one if the present one is `refused`. "" without a user."""
        if not self._secret:
            return ""
        with self._token_lock:
            if self._token == refused:
                user, _, password = self._secret.partition(":")
                message = {"name": user, "password": password}
                request = _request("auth/authenticate", message, "", is_repeatable=True, secrets=(password,))
                with _translated():
                    token = str(_answer(self._http.send(request))["token"])
                    if not (token.isascii() and token.isprintable()):
                        raise ValueError("a token that cannot be sent")
                    self._token = token
            return self._token


class EtcdSession:
    """See `reconciler.kv.protocol.Session`: a lease."""

    def __init__(self, store: EtcdStore, lease: str, ttl_s: float) -> None:
        self._store = store
        self.lease = lease
        self.ttl_s = ttl_s

    def renew(self) -> None:
        with _translated():
            answer = self._store.call("lease/keepalive", {"ID": self.lease}, is_repeatable=True)
            if int(answer["result"].get("TTL", 0)) <= 0:
                raise KvConflict("the session has ended")

    def close(self) -> None:
        with suppress(KvError):
            self._store.call("lease/revoke", {"ID": self.lease})


class EtcdWatch(PollingWatch):
    """See `reconciler.kv.protocol.Watch`: a stream, opened anew where it was when it breaks or goes silent."""

    def __init__(self, store: EtcdStore, prefix: str) -> None:
        self._cancellation = Cancellation()
        super().__init__(prefix, self._cancellation.event)
        self._store = store
        self._next_revision = 0
        self._in_use = threading.Lock()
        self._stream: LineStream | None = None
        self._heard_s = 0.0

    def poll(self, timeout_s: float) -> Batch | None:
        with self._in_use:
            return super().poll(timeout_s)

    def close(self) -> None:
        self._cancellation.cancel()
        with self._in_use:
            self._hang_up()

    def look(self, deadline: float) -> Batch | None:
        return self._resync() if self._next_revision == 0 else self._next_batch(deadline)

    def begin_anew(self) -> None:
        self._hang_up()
        self._next_revision = 0

    def _resync(self) -> Batch:
        revision, entries = self._store.folder(self._prefix)
        self._next_revision = revision + 1
        return Batch(is_resync=True, entries=entries)

    def _next_batch(self, deadline: float) -> Batch | None:
        stream = self._opened_stream()
        silence_ends = self._heard_s + SILENCE_MAX_S
        line = stream.line(max(0.0, min(deadline, silence_ends) - time.monotonic()))
        if line is None:
            if time.monotonic() >= silence_ends:
                self._hang_up()
            return None
        self._heard_s = time.monotonic()
        with _translated():
            return self._understood(_object(line))

    def _understood(self, message: Json) -> Batch | None:
        """Take in one message of the stream: events, or that the watch was ended by the server."""
        if "error" in message:
            self._store.forget_token()
            raise KvUnavailable(f"etcd: {_reason(message)}")
        result = message["result"]
        if result.get("created", False) and int(result["header"]["revision"]) < self._next_revision - 1:
            self.begin_anew()  # the store was restored from a backup: what comes next is not what we wait for
            return None
        if result.get("canceled", False):
            self.begin_anew()
            if int(result.get("compact_revision", 0)) == 0:  # else what lies between is gone
                self._store.forget_token()
                raise KvUnavailable(f"etcd ended the watch: {result.get('cancel_reason', 'without a reason')}")
            return None
        events = result.get("events", ())
        if not events:
            return None
        # Not the header's revision: that is the store's, and events up to it may still be on their way.
        self._next_revision = max(int(event["kv"]["mod_revision"]) for event in events) + 1
        return self._batch(events)

    def _batch(self, events: Sequence[Json]) -> Batch | None:
        named = ((self._store.key_of(event["kv"]), event) for event in events)
        last = {key: event for key, event in named if is_key(key)}
        if not last:
            return None
        gone = {key for key, event in last.items() if event.get("type", "PUT") == "DELETE"}
        entries = tuple(self._store.entry(last[key]["kv"]) for key in sorted(last.keys() - gone))
        return Batch(is_resync=False, entries=entries, deleted=tuple(sorted(gone)))

    def _opened_stream(self) -> LineStream:
        if self._stream is None:
            range_ = self._store.range_of(self._prefix)
            create = {**range_, "start_revision": str(self._next_revision)}
            self._stream = self._store.stream("watch", {"create_request": create}, self._cancellation)
            self._heard_s = time.monotonic()
            if self._stream.status != http.HTTPStatus.OK:
                self._store.forget_token()
                raise KvUnavailable(f"etcd answered {self._stream.status} to a watch")
        return self._stream

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _request(
    method: str, message: Json, token: str, *, is_repeatable: bool, secrets: Sequence[str] = ()
) -> StoreRequest:
    return StoreRequest(
        method="POST",
        target=f"/v3/{method}",
        body=json.dumps(message).encode(),
        headers={"Content-Type": "application/json"} | ({"Authorization": token} if token else {}),
        is_repeatable=is_repeatable,
        secrets=(token, *secrets),
    )


def _answer(reply: StoreResponse) -> Json:
    try:
        content = _object(reply.body)
    except Misfit:
        raise reply.foreign("etcd") from None
    with _translated():
        if reply.status == 200 and "error" not in content:
            return content
        reason = _reason(content)
        if content.get("code") == _PERMISSION_DENIED:
            raise KvError(f"etcd refused access: {reason} (may the user read and write below the prefix?)")
        if content.get("code") == _UNAUTHENTICATED or "authentication failed" in reason:
            raise KvError(f"etcd refused access: {reason}")
        if "lease not found" in reason:
            raise KvConflict("the session has ended")
        raise (KvUnavailable if reply.is_server_trouble else KvError)(f"etcd: {reason}")


def _object(text: bytes | bytearray) -> Json:
    return cast("Json", json_object(text, REPLY_BYTES_MAX))


def _reason(content: Json) -> str:
    error = content.get("error", content)
    return str(error.get("message", error) if isinstance(error, dict) else error)[:200]


def _is_token_trouble(reply: StoreResponse) -> bool:
    return reply.status != 200 and any(text in reply.body.decode(errors="replace") for text in _TOKEN_TROUBLE)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate what decoding makes of answers that are not etcd's."""
    try:
        yield
    except (Misfit, LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise KvUnavailable(f"the server's answer is not etcd's: {type(error).__name__} {shown(str(error))}") from error


def _lease(session: Session | None) -> dict[str, str]:
    own = own_session(session, EtcdSession)
    return {} if own is None else {"lease": own.lease}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_NUL: Final = base64.b64encode(b"\0").decode()
"""As first key and end of a range: everything (rpc.proto, RangeRequest)."""
