"""Make one call of the command line to the world outside fail, or kill it there. A hook of `tests.fork_server`.

A border is where calls leave us: netlink, nftables, the store, files, processes, namespaces, sockets, HTTP (stores, plugins,
container engines). Each has its own faults, as the kernel, the library or a server brings them about; `FAULTS` says which.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.errors import kernel_error
from reconciler.http.connection import Connection
from reconciler.kernel import netns_mounts, nft
from reconciler.kernel.netlink import NetlinkMessage, RouteSocket
from reconciler.kv.sqlite_file import SqliteFile

FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "netlink change": ("killed", "not sent (ENOBUFS)", "one message refused (ENOMEM)", "carried out, answer lost"),
    "netlink question": ("no answer (ETIMEDOUT)",),
    "nft transaction": ("killed", "refused (ENOBUFS)", "carried out, answer lost"),
    "nft listing": ("refused (ENOBUFS)",),
    "store commit": ("killed", "disk full", "locked", "carried out, answer lost"),
    "file opened to write": ("killed", "ENOSPC", "EROFS", "EMFILE", "partial write"),
    "file opened to read": ("EMFILE", "EIO"),
    "file renamed, made or removed": ("killed", "ENOSPC", "EROFS", "EIO"),
    "process started": ("killed", "EAGAIN"),
    "namespace or mount": ("killed", "ENOMEM"),
    "socket made": ("EMFILE",),
    "HTTP exchange": ("killed", "refused", "cut before the answer", "no answer in time"),
}

_FILE_EVENTS: Final = frozenset(
    {"os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.symlink", "os.link", "os.truncate"}
)
_IF_NEEDED: Final = frozenset({"os.mkdir", "os.rmdir", "os.remove"})
_PROCESS_EVENTS: Final = frozenset({"os.fork", "os.posix_spawn", "subprocess.Popen"})
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PARTIAL_BYTES: Final = 16
_NOT_OURS: Final = ("/build/coverage", ".pyc", "/site-packages/", "/lib/python")
"""What Python and the measuring of coverage read and write."""

_nft_reply: Any = nft._Reply


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was made. what: in words, as far as it is known."""

    border: str
    what: str

    @classmethod
    def parsed(cls, lines: str) -> Iterator[Call]:
        return (cls(*line.split("\t")) for line in lines.splitlines())


def inject(number: int, fault: str, log: int) -> None:
    """Write down each call before it happens; bring the fault about at the one of that number, from 0."""
    Injector(number, fault, log).install()


class Injector:
    """calls: how many there were so far."""

    def __init__(self, number: int, fault: str, log: int) -> None:
        self._number, self._fault, self._log = number, fault, log
        self._calls = 0
        self._is_limited = False

    def install(self) -> None:
        """For a process that ends soon: there is no way back."""
        sys.addaudithook(self._audit)
        _wrap(RouteSocket, "batch_unbroken", self._netlink)
        _wrap(RouteSocket, "dump", self._dump)
        _wrap(nft.Nft, "_use", self._nft)
        _wrap(SqliteFile, "commit", self._commit)
        _wrap(netns_mounts, "_call", self._namespace)
        _wrap(Connection, "exchange", self._exchange)

    def _fault_at(self, border: str, what: object) -> str:
        """Return the fault of this call, "" for none. Never returns where it is death."""
        if self._is_limited:
            self._is_limited = False
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        number, self._calls = self._calls, self._calls + 1
        os.write(self._log, f"{border}\t{' '.join(str(what).split())}\n".encode(errors="replace"))
        if number != self._number:
            return ""
        if self._fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._fault

    def _netlink(self, original: Any, it: RouteSocket, requests: Sequence[Any]) -> list[NetlinkMessage]:
        changes = [request.kind for request in requests if not it._is_question(request)]
        if not changes:
            if self._fault_at("netlink question", f"batch of {len(requests)}"):
                raise kernel_error(errno.ETIMEDOUT, "wait for rtnetlink")
            return list(original(it, requests))
        match self._fault_at("netlink change", f"{len(changes)} of kinds {sorted(set(changes))}"):
            case "not sent (ENOBUFS)":
                raise kernel_error(errno.ENOBUFS, "send to rtnetlink")
            case "one message refused (ENOMEM)":
                middle = len(requests) // 2
                before, after = requests[:middle], requests[middle + 1 :]
                refused = NetlinkMessage(errno.ENOMEM, "injected")
                return [*(original(it, before) if before else ()), refused, *(original(it, after) if after else ())]
            case "carried out, answer lost":
                original(it, requests)
                raise kernel_error(
                    errno.ENOBUFS, "receive from rtnetlink", "answers were lost; the next pass looks again"
                )
        return list(original(it, requests))

    def _dump(self, original: Any, it: RouteSocket, request: Any, decode: Any) -> Any:
        if self._fault_at("netlink question", f"dump {request.kind}"):
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

    def _commit(self, original: Any, it: SqliteFile, work: Callable[[Any], Any]) -> Any:
        match self._fault_at("store commit", ""):
            case "disk full":
                return original(it, lambda database: (work(database), _raise(sqlite3.SQLITE_FULL)))
            case "locked":
                return original(it, lambda database: _raise(sqlite3.SQLITE_BUSY))
            case "carried out, answer lost":
                original(it, work)
                raise it._in_our_words(_sqlite_error(sqlite3.SQLITE_IOERR))
        return original(it, work)

    def _namespace(self, original: Any, what: str, function: str, *arguments: object) -> None:
        if self._fault_at("namespace or mount", function):
            raise kernel_error(errno.ENOMEM, what)
        original(what, function, *arguments)

    def _exchange(self, original: Any, it: Connection, request: Any, **options: Any) -> Any:
        match self._fault_at("HTTP exchange", request.target):
            case "refused":
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            case "no answer in time":
                raise TimeoutError("no answer in time")
            case "cut before the answer":
                original(it, request, **options)
                it.discard()
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return original(it, request, **options)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        what = str(arguments[0]) if arguments else ""
        if any(part in what for part in _NOT_OURS):
            return
        if event == "open":
            flags = arguments[2]
            if not isinstance(flags, int) or what == os.devnull or what.isdigit() or _is_database(what):
                return
            self._system_call("file opened to write" if flags & _WRITING else "file opened to read", what)
        elif event in _FILE_EVENTS and not _is_in_vain(event, what):
            self._system_call("file renamed, made or removed", f"{event} {what}")
        elif event in _PROCESS_EVENTS:
            self._system_call("process started", f"{event} {what}")
        elif event == "socket.__new__":
            self._system_call("socket made", f"family {int(arguments[1])}")

    def _system_call(self, border: str, what: str) -> None:
        fault = self._fault_at(border, what)
        if fault == "partial write":
            self._is_limited = True
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_PARTIAL_BYTES, resource.RLIM_INFINITY))
        elif fault:
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number), what)


def _wrap(owner: Any, name: str, instead: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        return instead(original, *arguments, **named)

    setattr(owner, name, wrapped)


def _sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("injected")
    error.sqlite_errorcode = code
    return error


def _raise(code: int) -> None:
    raise _sqlite_error(code)


def _is_database(path: str) -> bool:
    """SQLite itself writes; that the file is opened so that it may is no write."""
    return path.endswith(".db") and os.path.exists(path)


def _is_in_vain(event: str, path: str) -> bool:
    """Say whether the call asks for what is so already: a folder that is there, one to go that is not."""
    return path.startswith("/") and os.path.lexists(path) == (event == "os.mkdir") and event in _IF_NEEDED
