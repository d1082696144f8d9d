"""Make one call of the command line to the world outside fail, or kill it there. A hook of `tests.fork_server`.

A border is where calls leave us: netlink, nftables, the store, files, processes, namespaces, sockets, HTTP (stores, plugins,
container engines), ZooKeeper. Each has its own faults, as the kernel, the library or a server brings them about: see `FAULTS`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import reconciler
from reconciler import errors
from reconciler.errors import kernel_error
from reconciler.http import connection as http_connection
from reconciler.http.client_protocol import BadResponse, Head, Response
from reconciler.http.connection import Connection
from reconciler.http.headers import Headers
from reconciler.kernel import netns_mounts, nft
from reconciler.kernel.netlink import NetlinkMessage, RouteSocket
from reconciler.kv.sqlite_file import SqliteFile
from tests.limits import few_descriptors
from tests.pipeline.forked import FILE_EVENTS, PROCESS_EVENTS, WRITING, is_database, is_in_vain

MESSAGE_REFUSED: Final = "one message refused (ENOMEM)"

FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "netlink change": ("killed", "not sent (ENOBUFS)", MESSAGE_REFUSED, "carried out, answer lost"),
    "netlink question": ("no answer (ETIMEDOUT)",),
    "nft transaction": ("killed", "refused (ENOBUFS)", "carried out, answer lost"),
    "nft listing": ("refused (ENOBUFS)",),
    "store opened": ("killed", "EMFILE"),
    "store commit": ("killed", "disk full", "locked", "EMFILE", "partial write", "carried out, answer lost"),
    "file opened to write": ("killed", "ENOSPC", "EROFS", "EMFILE", "partial write"),
    "file opened to read": ("EMFILE", "EIO"),
    "folder listed": ("EMFILE", "EIO"),
    "file renamed, made or removed": ("killed", "ENOSPC", "EROFS", "EIO"),
    "process started": ("killed", "EAGAIN"),
    "namespace or mount": ("killed", "ENOMEM"),
    "socket made": ("EMFILE",),
    "HTTP connection": ("refused", "no answer in time"),
    "HTTP exchange": (
        "killed",
        "cut within the request",
        "cut before the answer",
        "cut within the answer",
        "no answer in time",
        "answered 500",
        "malformed answer",
        "byte by byte",
    ),
    "HTTP question": (
        "cut before the answer",
        "no answer in time",
        "answered 500",
        "malformed answer",
        "byte by byte",
    ),
    "HTTP stream": ("cut before the answer", "answered 500", "cut after its head"),
    "ZooKeeper change": (
        "killed",
        "connection lost before it",
        "connection lost after it",
        "no answer in time",
        "session expired",
    ),
    "ZooKeeper question": ("connection lost before it", "session expired"),
}

SLOW: Final = frozenset({"byte by byte"})
"""Faults that go unnoticed."""

_ZOOKEEPER_QUESTIONS: Final = frozenset({"Exists", "GetChildren", "GetChildren2", "GetData", "Sync"})
_PARTIAL_BYTES: Final = 16
_NOT_OURS: Final = ("/build/coverage", ".pyc", "/site-packages/", "/lib/python", str(Path(reconciler.__file__).parent))
"""What Python and the measuring of coverage read and write."""

_LISTINGS: Final = frozenset({"os.listdir", "os.scandir"})

_NAMES: Final = re.compile(
    r"br-[0-9a-f]{12}|rc[vp]\w+|(?<=conf/)\w+|(?<=sandboxes/)\w+|(?<=netns/)\w+|\b[0-9a-f]{12,64}\b|[0-9]+|/tmp/\S*/(?=[^/]+$)"
)
_OWN_FILES: Final = re.compile(r"\w+(?=\.json\b)|(?<![^ ])\w+$(?<!hosts)")
_OF_RTNETLINK: Final = {16: "link", 20: "address", 24: "route", 28: "neighbour", 32: "rule", 80: "forwarding setting"}
_VERBS: Final = ("new", "delete", "get", "set")


def _message_name(kind: int) -> str:
    """rtnetlink types come in fours."""
    base = kind & ~3
    return f"{_VERBS[kind & 3]} {_OF_RTNETLINK[base]}" if base in _OF_RTNETLINK else "other"


_nft_reply: Any = nft._Reply


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made. what: in words, as far as it is known. parts: the kind of each message of a batch."""

    border: str
    what: str
    parts: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Return what it is but for names and numbers."""
        return kind_of(self.border, self.what)

    @classmethod
    def parsed(cls, lines: str) -> Iterator[Call]:
        """Give the calls of a log."""
        for border, what, *parts in (line.split("\t") for line in lines.splitlines() if not line.startswith(_HIT)):
            yield cls(border, what, tuple(parts))


@dataclass(frozen=True, slots=True)
class Order:
    """Bring `fault` about at the call of this kind with that number, from 0. part: of its messages, where one is refused."""

    kind: str = ""
    number: int = 0
    fault: str = ""
    part: int = 0


_HIT: Final = "!"


def was_hit(log: str) -> bool:
    """Say whether the fault of the order came about."""
    return any(line.startswith(_HIT) for line in log.splitlines())


def kind_of(border: str, what: str) -> str:
    plain = _NAMES.sub("*", what)
    return f"{border} {_OWN_FILES.sub('*', plain) if border.startswith('file') else plain}"


def inject(order: Sequence[Any], log: int) -> None:
    """Write down each call before it happens, and carry out the order. order: the fields of an `Order`."""
    Injector(Order(*order), log).install()


def inject_as_told(orders: str, log: int) -> None:
    """As `inject`, in a process that stays: a file says what is ordered now. Whatever is new there begins to count anew."""
    fd = os.open(orders, os.O_RDONLY | os.O_CLOEXEC)
    Injector(Order(), log, lambda: os.pread(fd, 1 << 16, 0)).install()


class Injector:
    """told: gives what is ordered now, as JSON; its first and last member are a number that tells one order from the next."""

    def __init__(self, order: Order, log: int, told: Callable[[], bytes] | None = None) -> None:
        self._order, self._log, self._told = order, log, told
        self._last_told = b""
        self._counts: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._is_limited = False

    def install(self) -> None:
        """For a process that ends by itself or is killed: there is no way back."""
        from kazoo.client import KazooClient  # type: ignore[import-untyped, unused-ignore]  # the library has no types

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        errors.PASSING |= {errno.EFBIG}  # a limit of file sizes stands for a disk that is full: "partial write"
        sys.addaudithook(self._audit)
        _wrap(RouteSocket, "batch_unbroken", self._netlink)
        _wrap(RouteSocket, "dump", self._dump)
        _wrap(nft.Nft, "_use", self._nft)
        _wrap(SqliteFile, "commit", self._commit)
        _wrap(netns_mounts, "_call", self._namespace)
        _wrap(Connection, "_open", self._open)
        _wrap(Connection, "exchange", self._exchange)
        _wrap(Connection, "begin", self._begin)
        _wrap(KazooClient, "_call", self._zookeeper)

    def _fault_at(self, border: str, what: object, parts: Sequence[object] = ()) -> str:
        """Return the fault of this call, "" for none. Never returns where it is death."""
        text = " ".join(str(what).split())
        with self._lock:
            if self._is_limited:
                self._is_limited = False
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            if self._told is not None and (told := self._told()) != self._last_told:
                self._take(told)
            kind = kind_of(border, text)
            number = self._counts[kind]
            self._counts[kind] += 1
            is_it = (kind, number) == (self._order.kind, self._order.number)
            line = "\t".join((border, text, *map(str, parts)))
            os.write(self._log, f"{line}\n{_HIT if is_it else ''}{chr(10) if is_it else ''}".encode(errors="replace"))
        if not is_it:
            return ""
        if self._order.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._order.fault

    def _take(self, told: bytes) -> None:
        """Obey from now on, unless it is still being written: its number stands at both ends."""
        with suppress(ValueError):
            before, *order, behind = json.loads(told)
            if before == behind:
                self._last_told, self._order = told, Order(*order)
                self._counts.clear()

    # ---- the kernel

    def _netlink(self, original: Any, it: RouteSocket, requests: Sequence[Any]) -> list[NetlinkMessage]:
        kinds = [_message_name(request.kind) for request in requests]
        changes = [kind for kind, request in zip(kinds, requests, strict=True) if not it._is_question(request)]
        if not changes:
            if self._fault_at("netlink question", f"batch of {', '.join(sorted(set(kinds)))}"):
                raise kernel_error(errno.ETIMEDOUT, "wait for rtnetlink")
            return list(original(it, requests))
        match self._fault_at("netlink change", f"{len(changes)}: {', '.join(sorted(set(changes)))}", kinds):
            case "not sent (ENOBUFS)":
                raise kernel_error(errno.ENOBUFS, "send to rtnetlink")
            case fault if fault == MESSAGE_REFUSED:
                part = min(self._order.part, len(requests) - 1)
                before, after = requests[:part], requests[part + 1 :]
                refused = NetlinkMessage(errno.ENOMEM, "injected")
                return [*(original(it, before) if before else ()), refused, *(original(it, after) if after else ())]
            case "carried out, answer lost":
                original(it, requests)
                raise kernel_error(
                    errno.ENOBUFS, "receive from rtnetlink", "answers were lost; the next pass looks again"
                )
        return list(original(it, requests))

    def _dump(self, original: Any, it: RouteSocket, request: Any, decode: Any) -> Any:
        if self._fault_at("netlink question", f"dump {_message_name(request.kind)}"):
            raise kernel_error(errno.ETIMEDOUT, "wait for rtnetlink")
        return original(it, request, decode)

    def _nft(self, original: Any, it: nft.Nft, call: Callable[[Any], Any]) -> Any:
        """Both kinds of backend, library and command, give replies."""
        refused = _nft_reply(False, b"", b"Error: Could not process rule: No buffer space available")
        if "run" not in call.__code__.co_names:
            return refused if self._fault_at("nft listing", "") else original(it, call)
        match self._fault_at("nft transaction", ""):
            case "refused (ENOBUFS)":
                return refused
            case "carried out, answer lost":
                original(it, call)
                return refused
        return original(it, call)

    def _namespace(self, original: Any, what: str, function: str, *arguments: object) -> None:
        if self._fault_at("namespace or mount", function):
            raise kernel_error(errno.ENOMEM, what)
        original(what, function, *arguments)

    # ---- the embedded store

    def _commit(self, original: Any, it: SqliteFile, work: Callable[[Any], Any]) -> Any:
        match self._fault_at("store commit", ""):
            case "disk full":
                return original(it, lambda database: _raise(sqlite3.SQLITE_FULL, work(database)))
            case "locked":
                return original(it, lambda _: _raise(sqlite3.SQLITE_BUSY))
            case "EMFILE":
                with few_descriptors():
                    return original(it, work)
            case "partial write":
                with _limited_file_size():
                    return original(it, work)
            case "carried out, answer lost":
                original(it, work)
                raise it._in_our_words(_sqlite_error(sqlite3.SQLITE_IOERR))
        return original(it, work)

    # ---- HTTP

    def _open(self, original: Any, it: Connection) -> Any:
        match self._fault_at("HTTP connection", it._origin.unix or it._origin.port):
            case "refused":
                raise _os_error(errno.ECONNREFUSED)
            case "no answer in time":
                raise TimeoutError("timed out")
        return original(it)

    def _exchange(self, original: Any, it: Connection, request: Any, **options: Any) -> Any:
        is_question = request.method == "GET" or request.target.endswith("/kv/range")
        border = "HTTP question" if is_question else "HTTP exchange"
        fault = self._fault_at(border, f"{request.method} {request.target}")
        if fault == "answered 500":
            return Response(500, Headers(()), b'{"Err": "injected"}')
        if fault == "cut within the request":
            it._send = lambda data: _send_half(it, data)  # type: ignore[method-assign]
        if fault == "byte by byte":
            it._send = lambda data: _send_bytes(it, data)  # type: ignore[method-assign]
            with _received_in_bytes():
                return original(it, request, **options)
        answer = original(it, request, **options)
        match fault:
            case "cut before the answer":
                it.discard()
                raise _os_error(errno.ECONNRESET)
            case "cut within the answer":
                it.discard()
                raise BadResponse("the connection was closed within the answer")
            case "no answer in time":
                it.discard()
                raise TimeoutError("no answer in time")
            case "malformed answer":
                return Response(answer.status, answer.headers, b'{"')
        return answer

    def _begin(self, original: Any, it: Connection, request: Any) -> Any:
        match self._fault_at("HTTP stream", request.target):
            case "cut before the answer":
                raise _os_error(errno.ECONNRESET)
            case "answered 500":
                return Head(500, Headers(()))
            case "cut after its head":
                head = original(it, request)
                it.connect().shutdown(socket.SHUT_RDWR)
                return head
        return original(it, request)

    # ---- ZooKeeper

    def _zookeeper(self, original: Any, it: Any, request: Any, answer: Any) -> Any:
        from kazoo import exceptions  # type: ignore[import-untyped, unused-ignore]

        name = type(request).__name__
        border = "ZooKeeper question" if name in _ZOOKEEPER_QUESTIONS else "ZooKeeper change"
        match self._fault_at(border, f"{name} {getattr(request, 'path', '')}"):
            case "connection lost before it":
                answer.set_exception(exceptions.ConnectionLoss())
                return False
            case "session expired":
                answer.set_exception(exceptions.SessionExpiredError())
                return False
            case "connection lost after it":
                return original(it, request, _in_vain(it, answer, exceptions.ConnectionLoss()))
            case "no answer in time":
                return original(it, request, _in_vain(it, answer, exceptions.OperationTimeoutError()))
        return original(it, request, answer)

    # ---- files, processes, sockets

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        what = str(arguments[0]) if arguments else ""
        if any(part in what for part in _NOT_OURS):
            return
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or what == os.devnull or what.isdigit() or is_database(what):
                return
            self._system_call("file opened to write" if flags & WRITING else "file opened to read", what)
        elif event in _LISTINGS:
            self._system_call("folder listed", what)
        elif event in FILE_EVENTS and not is_in_vain(event, what):
            self._system_call("file renamed, made or removed", f"{event} {what}")
        elif event in PROCESS_EVENTS:
            self._system_call("process started", f"{event} {what}")
        elif event == "socket.__new__":
            self._system_call("socket made", f"family {int(arguments[1])}")
        elif event == "sqlite3.connect" and ":memory:" not in what and self._fault_at("store opened", what):
            raise _sqlite_error(sqlite3.SQLITE_CANTOPEN)

    def _system_call(self, border: str, what: str) -> None:
        fault = self._fault_at(border, what)
        if fault == "partial write":
            self._is_limited = True
            resource.setrlimit(resource.RLIMIT_FSIZE, (_PARTIAL_BYTES, resource.RLIM_INFINITY))
        elif fault:
            raise _os_error(getattr(errno, fault), what)


def _wrap(owner: Any, name: str, instead: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        return instead(original, *arguments, **named)

    setattr(owner, name, wrapped)


def _os_error(number: int, *what: str) -> OSError:
    return OSError(number, os.strerror(number), *what)


def _sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = code
    return error


def _raise(code: int, _: object = None) -> NoReturn:
    raise _sqlite_error(code)


@contextmanager
def _limited_file_size() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_PARTIAL_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _in_vain(client: Any, answer: Any, error: Exception) -> Any:
    """Give what takes the answer of a call whose caller is told this error."""
    taken = client.handler.async_result()
    taken.rawlink(lambda _: answer.set_exception(error))
    return taken


def _send_half(it: Connection, data: bytes) -> None:
    connected = it.connect()
    connected.send(data[: len(data) // 2])
    it.discard()
    raise _os_error(errno.EPIPE)


def _send_bytes(it: Connection, data: bytes) -> None:
    connected = it.connect()
    for number in range(len(data)):
        connected.send(data[number : number + 1])


@contextmanager
def _received_in_bytes() -> Iterator[None]:
    ours: Any = http_connection
    before, ours._PIECE = ours._PIECE, 1
    try:
        yield
    finally:
        ours._PIECE = before
