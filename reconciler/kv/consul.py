"""Consul, through python-consul over our own HTTP client.

The library knows Consul's paths and answers; what it lacks is here: deadlines, fail-over, the token in a header instead
of the query string, where every access log would show it. (py-consul, which took the same package name, is another
library.)

An entry's version is its ModifyIndex. Consul tells by index only that something below a prefix may have changed, never
what: each time the whole folder is read and compared.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partialmethod
from typing import Any, Final
from urllib.parse import quote, urlencode

from consul.base import (  # type: ignore[import-untyped, unused-ignore]  # the library has no types
    ACLDisabled,
    ACLPermissionDenied,
    BadRequest,
    ClientError,
    Consul,
    ConsulException,
    HTTPClient,
    NotFound,
    Response,
)

from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kv.config import StoreConfig
from reconciler.kv.fail_over import Cancellation, HttpClient, StoreRequest
from reconciler.kv.polling import PollingWatch
from reconciler.kv.protocol import (
    MUST_NOT_EXIST,
    Batch,
    KvEntry,
    Put,
    Session,
    checked_key,
    checked_prefix,
    keys_sorted,
)
from reconciler.kv.steps import KeyStep, StepStore, conflict
from reconciler.records.faults import shown

SESSION_TTL_S: Final = range(10, 86_401)
"""What Consul takes as a session's TTL; it ends one after once to twice that."""

_WAIT_MIN_S: Final = 0.01
_WAIT_MAX_S: Final = 300.0
"""Of one blocking query. Consul would take up to 10 minutes, and adds up to a sixteenth by chance."""


class ConsulStore(StepStore):
    """See `reconciler.kv.protocol.KvStore`."""

    def __init__(self, config: StoreConfig) -> None:
        self._http = HttpClient(config.endpoints, config.tls, config.timeout_s)
        self._timeout_s = config.timeout_s
        self._token = config.secret
        self._prefix = config.prefix
        self._consul = _Client(_Transport(self._http, self._token))

    def get(self, key: str) -> KvEntry | None:
        path = self._path(checked_key(key))
        with _translated():
            _, found = self._consul.kv.get(path)
            return None if found is None else self._entry(found)

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        return self._folder(self._consul, checked_prefix(prefix))[1]

    def put(self, key: str, value: bytes, session: Session | None = None) -> None:
        """Not as a transaction, which has no room for the largest values."""
        if session is not None:
            super().put(key, value, session)
            return
        step = KeyStep.put(key, value, None)
        with _translated():
            _verdict(self._consul.kv.put(self._path(step.key), value))

    def compare_and_swap(self, key: str, value: bytes | None, version: int) -> None:
        step = KeyStep.swap(key, value, version)
        if value is None:
            self.carry_out((step,))
            return
        with _translated():
            if not _verdict(self._consul.kv.put(self._path(key), value, cas=version)):
                raise conflict(key)

    def watch(self, prefix: str) -> ConsulWatch:
        return ConsulWatch(self, checked_prefix(prefix))

    def confirm(self, timeout_s: float) -> None:
        """Read one key that is not there, as the leader has it whom the others have just confirmed."""
        request = StoreRequest(
            method="GET",
            target=f"/v1/kv/{quote(self._path('nodes'))}?consistent",
            headers=_headers(self._token),
            secrets=(self._token,),
            is_repeatable=True,
        )
        self._http.confirm(request, timeout_s)

    def session(self, ttl_s: float) -> ConsulSession:
        ttl = round(ttl_s)
        if ttl not in SESSION_TTL_S:
            raise KvError(
                f"a session of {ttl_s:g} s: Consul takes {SESSION_TTL_S.start} to {SESSION_TTL_S.stop - 1} s; "
                "choose another discovery.ttl"
            )
        with _translated():
            # No checks: with the default one, a moment's gossip trouble on the agent's node ends the session.
            identity = self._consul.session.create(checks=[], lock_delay=0, behavior="delete", ttl=ttl)
        return ConsulSession(self._consul, str(identity), ttl)

    def close(self) -> None:
        self._http.close()

    def changed_folder(
        self, prefix: str, index: int, wait_s: float, cancellation: Cancellation
    ) -> tuple[int, tuple[KvEntry, ...]]:
        """Return index and entries: at once for index 0, else when the folder's index passed it or `wait_s` is over."""
        if wait_s < _WAIT_MIN_S:
            index = 0  # Consul takes a wait of nothing for its default of 5 minutes
        timeout_s = self._timeout_s + (wait_s * 17 / 16 if index else 0)
        waiting = _Client(_Transport(self._http, self._token, timeout_s=timeout_s, cancellation=cancellation))
        return self._folder(waiting, prefix, index=index, wait=f"{int(wait_s * 1000)}ms")

    def _folder(self, client: _Client, prefix: str, **blocking: object) -> tuple[int, tuple[KvEntry, ...]]:
        with _translated():
            index, found = client.kv.get(self._path(prefix), recurse=True, **blocking)
            if not found and not blocking.get("index"):
                self._consul.kv.get(
                    self._path(f"{prefix}nodes")
                )  # who may read nothing is shown empty folders, but refused a key
            return int(index), keys_sorted(map(self._entry, found or ()))

    def _path(self, key: str) -> str:
        return self._prefix + key

    def _entry(self, item: Mapping[str, Any]) -> KvEntry:
        key = str(item["Key"]).removeprefix(self._prefix)
        return KvEntry(key=key, value=item["Value"] or b"", version=int(item["ModifyIndex"]))

    def carry_out(self, steps: Sequence[KeyStep]) -> None:
        operations = [{"KV": operation} for step in steps for operation in self._operations(step)]
        if not operations:
            return
        try:
            with _translated():
                _ = self._consul.txn.put(operations)["Results"]
        except _Rejected as rejection:
            raise KvConflict(f"the transaction was not carried out: {rejection}") from rejection

    def _operations(self, step: KeyStep) -> Iterator[dict[str, object]]:
        key = {"Key": self._path(step.key)}
        if step.version == MUST_NOT_EXIST:
            yield {"Verb": "check-not-exists", **key}
        elif step.version is not None:
            yield {"Verb": "check-index", "Index": step.version, **key}
        match step.write:
            case Put(value=value, session=None):
                yield {"Verb": "set", "Value": base64.b64encode(value).decode(), **key}
            case Put(value=value, session=ConsulSession(identity=identity)):
                if step.version != MUST_NOT_EXIST:
                    yield {"Verb": "delete", **key}  # else the lock of an earlier session would stand in the way
                yield {"Verb": "lock", "Value": base64.b64encode(value).decode(), "Session": identity, **key}
            case Put():
                raise ValueError("the session is another store's")
            case None:
                pass
            case _:
                yield {"Verb": "delete", **key}


class ConsulSession:
    """See `reconciler.kv.protocol.Session`: a Consul session that deletes what it has locked."""

    def __init__(self, client: _Client, identity: str, ttl_s: float) -> None:
        self._client = client
        self.identity = identity
        self.ttl_s = ttl_s

    def renew(self) -> None:
        try:
            with _translated():
                self._client.session.renew(self.identity)
        except _Gone as error:
            if self._is_there():
                raise KvUnavailable("the cluster's leader is new and has not read all of its log yet") from error
            raise KvConflict("the session has ended") from error

    def _is_there(self) -> bool:
        """Ask so that a new leader answers only when it knows all; it refuses to renew a session that it has not read of yet."""
        with _translated():
            _, found = self._client.session.info(self.identity, consistency="consistent")
        return found is not None

    def close(self) -> None:
        with suppress(KvError), _translated():
            self._client.session.destroy(self.identity)


class ConsulWatch(PollingWatch):
    """See `reconciler.kv.protocol.Watch`: blocking queries."""

    def __init__(self, store: ConsulStore, prefix: str) -> None:
        self._cancellation = Cancellation()
        super().__init__(prefix, self._cancellation.event)
        self._store = store
        self._index = 0

    def close(self) -> None:
        self._cancellation.cancel()

    def look(self, deadline: float) -> Batch | None:
        wait_s = min(max(0.0, deadline - time.monotonic()), _WAIT_MAX_S)
        index, entries = self._store.changed_folder(self._prefix, self._index, wait_s, self._cancellation)
        if index < self._index:
            super().begin_anew()  # the servers' state was restored: an index says nothing about one from before
        self._index = max(1, index)
        return self.compared(entries)

    def begin_anew(self) -> None:
        self._index = 0
        super().begin_anew()


def _headers(token: str) -> dict[str, str]:
    return {"X-Consul-Token": token} if token else {}


class _Rejected(KvError):
    """A transaction's checks did not hold."""


class _Gone(KvError):
    """What was asked for is not there."""


def _verdict(answer: object) -> bool:
    if not isinstance(answer, bool):
        raise ValueError("neither true nor false")
    return answer


_REFUSED: Final[tuple[tuple[type[ConsulException], str], ...]] = (
    (
        ACLPermissionDenied,
        "Consul refused access (does the token in kv.secretfile allow reading and writing below the prefix?)",
    ),
    (ACLDisabled, "Consul refused access (a token was given, but it keeps no access control lists)"),
    (BadRequest, "Consul did not understand the request"),
)


@contextmanager
def _translated() -> Iterator[None]:
    """Translate python-consul's errors, and what its decoding makes of answers that are not Consul's."""
    try:
        yield
    except NotFound as error:
        raise _Gone(str(error)) from error
    except ClientError as error:
        kind = _Rejected if str(error).startswith("409") else KvError
        raise kind(f"Consul: {error}") from error
    except ConsulException as error:
        text = next((text for kind_, text in _REFUSED if isinstance(error, kind_)), "Consul failed")
        raise KvError(f"{text}: {error}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise KvUnavailable(
            f"the server's answer is not Consul's: {type(error).__name__} {shown(str(error))}"
        ) from error


class _Client:
    """The parts of python-consul that we use, on our transport.

    Not its `Consul` itself: that takes address and token from the environment behind our back.
    """

    token = None
    dc = None
    consistency = "default"

    def __init__(self, transport: _Transport) -> None:
        self.http = transport
        self.kv = Consul.KV(self)
        self.txn = Consul.Txn(self)
        self.session = Consul.Session(self)


class _Transport(HTTPClient):  # type: ignore[misc]  # the library has no types
    """What python-consul calls for each request.

    timeout_s, cancellation: of requests that are meant to take long.
    """

    def __init__(
        self, http: HttpClient, token: str, *, timeout_s: float | None = None, cancellation: Cancellation | None = None
    ) -> None:
        super().__init__()
        self._http = http
        self._token = token
        self._timeout_s = timeout_s
        self._cancellation = cancellation

    def _request(
        self,
        method: str,
        callback: Callable[[Response], Any],
        path: str,
        params: Sequence[tuple[str, object]] | None = None,
        data: str | bytes = "",
    ) -> Any:
        request = StoreRequest(
            method=method,
            target=quote(path) + (f"?{urlencode(params)}" if params else ""),
            body=data.encode() if isinstance(data, str) else data,
            headers=_headers(self._token),
            secrets=(self._token,),
            is_repeatable=method == "GET" or path.startswith("/v1/session/renew/"),
        )
        reply = self._http.send(request, timeout_s=self._timeout_s, cancellation=self._cancellation)
        text = reply.body.decode(errors="replace")
        is_folder_or_key = method == "GET" and reply.status in (200, 404)
        if reply.is_of_another_kind() or (is_folder_or_key and "X-Consul-Index" not in reply.headers):
            raise reply.foreign("Consul")
        if reply.is_server_trouble:
            raise KvUnavailable(f"Consul: {reply.status} {text[:200].strip()}")
        return callback(Response(reply.status, reply.headers, text))

    get = partialmethod(_request, "GET")
    put = partialmethod(_request, "PUT")
    delete = partialmethod(_request, "DELETE")
    post = partialmethod(_request, "POST")
