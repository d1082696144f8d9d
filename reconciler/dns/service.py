"""Serves the sandboxes of the zones file: follows the file on request, their namespaces by itself, and does what is requested."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Final

from reconciler import __version__
from reconciler.dns import control, succession
from reconciler.dns.control import Document
from reconciler.dns.forwarder import Forwarder
from reconciler.dns.in_force import ZonesInForce
from reconciler.dns.reactor import Reactor, Timer
from reconciler.dns.sandbox import ServedSandbox, open_sockets
from reconciler.dns.stream import StreamLimits
from reconciler.dns.succession import Inheritance
from reconciler.dns.upstream import upstreams
from reconciler.dns.zones import LISTEN_ADDRESS
from reconciler.errors import ReconcilerError, ResolverError
from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import HOST, NsRef
from reconciler.records.file import beginning
from reconciler.records.lenient import items_of, text_of

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_TICKS_PER_ROUND: Final = 20
"""So each sandbox's namespace is looked at every 5 s: that long one that others deleted lives on by our sockets."""

_LAST_WORDS_S: Final = 13.0
"""For questions under way when another server took over: three servers' time and a little."""

_SHOWN_MAX: Final = 80
_ZONES_SIZE_MAX: Final = 64 << 20


class Service:
    """All that one server process holds. It serves by the zones of one digest at a time, from one request to the next."""

    def __init__(self, run_dir: Path, netns_dir: Path, inheritance: Inheritance) -> None:
        self._run_dir = run_dir
        self._inheritance = inheritance
        self._reactor = Reactor()
        self._namespaces = Namespaces(netns_dir, "")
        self._forwarder = Forwarder(self._reactor, self._namespaces)
        self._limits = StreamLimits(self._reactor)
        self._zones = ZonesInForce()
        self._sandboxes: dict[str, ServedSandbox] = {}
        self._failures: dict[str, str] = {}
        self._unvisited: list[str] = []
        self._requests: Mapping[str, Callable[[socket.socket, Document], Document]] = {
            "status": self._status,
            "reload": self._reloaded,
            "change": self._changed,
            "follow": self._followed,
            "stop": self._stopped,
            succession.HAND_OVER: self._handed_over,
        }

    def run(self, on_ready: Callable[[], None]) -> None:
        """Load the zones, say so, and serve until a request to stop."""
        self._watch_signals()
        self._inheritance.control.setblocking(False)
        self._reactor.watch(self._inheritance.control.fileno(), self._on_connection)
        try:
            self.reload()
        except ReconcilerError as error:
            _log.warning("%s", error)
        self._tick()
        on_ready()
        self._reactor.run()
        for name in tuple(self._sandboxes):
            self._close(name)

    def reload(self) -> None:
        """Put the zones file in force: answers at once, then sockets. Raises ReconcilerError, everything being as before."""
        text = self._zones_text()
        self._serve(self._zones.put(text))
        self._failures.clear()
        self._follow_all(self._zones.sandboxes.keys())
        self._inheritance.close_sockets()
        gc.unfreeze()
        gc.collect()
        gc.freeze()  # tables live long: the collector need not walk them while questions wait

    def _serve(self, changed: Set[str]) -> None:
        """Serve the sandboxes that are there by what is in force now."""
        for name in changed:
            self._failures.pop(name, None)
            sandbox, wanted = self._sandboxes.get(name), self._zones.sandboxes.get(name)
            if sandbox is not None and wanted is not None and wanted.ns == sandbox.ns:
                self._instruct(name, sandbox)
            else:
                self._close(name)

    def _zones_text(self) -> str:
        """Return the file's text, "" when there is none yet."""
        path = control.folder(self._run_dir) / control.ZONES_FILE
        try:
            return beginning(path, _ZONES_SIZE_MAX)
        except FileNotFoundError:
            return ""
        except OSError as cause:
            raise ResolverError(f"read {path}: {cause.strerror}") from cause

    def _instruct(self, name: str, sandbox: ServedSandbox) -> None:
        sandbox.view = self._zones.views.of(name)
        sandbox.servers = upstreams(self._zones.sandboxes[name], self._zones.host_servers)

    def _follow_all(self, names: Set[str]) -> None:
        for name in names & self._zones.sandboxes.keys():
            self._follow(name)

    def _follow(self, name: str) -> None:
        """Have a sandbox served in the namespace that bears its name now, or note why it cannot be."""
        ns = self._zones.sandboxes[name].ns
        self._namespaces.forget(ns)
        try:
            inode = self._namespaces.inode(ns)
            sandbox = self._sandboxes.get(name)
            if sandbox is not None and sandbox.inode == inode:
                return
            self._close(name)
            self._open(name, ns, inode)
            self._failures.pop(name, None)
        except ReconcilerError as error:
            self._close(name)
            self._failures[name] = str(error)
        except OSError as error:
            advice = "; stop what listens there" if error.errno == errno.EADDRINUSE else ""
            self._failures[name] = f"listen at {LISTEN_ADDRESS}:53 in {ns}: {error.strerror}{advice}"

    def _open(self, name: str, ns: NsRef, inode: int) -> None:
        if inode == self._namespaces.inode(HOST):
            raise ResolverError(f"sandbox {ns} is the host's own namespace, which has its own name service")
        sockets = self._inheritance.sockets.pop((ns, inode), None) or open_sockets(self._namespaces, ns)
        sandbox = ServedSandbox(ns, inode, sockets, self._reactor, self._forwarder, self._limits)
        self._instruct(name, sandbox)
        sandbox.listen()
        self._sandboxes[name] = sandbox

    def _close(self, name: str) -> None:
        sandbox = self._sandboxes.pop(name, None)
        if sandbox is not None:
            sandbox.close()
            self._namespaces.forget(sandbox.ns)

    def _tick(self) -> None:
        """Look after a part of the sandboxes at a time, so that no question waits long for it."""
        if not self._inheritance.is_in_place(self._run_dir):
            _log.warning("%s was taken away: nobody can reach this server any more", control.folder(self._run_dir))
            return self._reactor.stop()
        self._unvisited = self._unvisited or list(self._zones.sandboxes)
        for _ in range(len(self._zones.sandboxes) // _TICKS_PER_ROUND + 1):
            if self._unvisited and (name := self._unvisited.pop()) in self._zones.sandboxes:
                self._follow(name)
        self._limits.drop_idle()
        self._reactor.call_after(_TICK_S, self._tick)
        return None

    def _watch_signals(self) -> None:
        receiver, sender = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._reactor.watch(receiver, lambda _: self._on_signals(os.read(receiver, 64)))

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._reactor.stop()
        elif signal.SIGHUP in numbers:
            try:
                self.reload()
            except ReconcilerError as error:
                _log.warning("%s", error)

    def _on_connection(self, _: int) -> None:
        try:
            connection, _address = self._inheritance.control.accept()
        except OSError:
            return
        if not control.is_own_user(connection):
            connection.close()
            return
        fd = connection.fileno()
        connection.setblocking(False)
        timer = self._reactor.call_after(control.REPLY_TIMEOUT_S, lambda: self._hang_up(connection))
        self._reactor.watch(fd, lambda _: self._on_request(connection, timer))

    def _hang_up(self, connection: socket.socket) -> None:
        self._reactor.forget(connection.fileno())
        connection.close()

    def _on_request(self, connection: socket.socket, timer: Timer) -> None:
        timer.cancel()
        with contextlib.suppress(OSError):  # who asked is gone
            connection.send(control.encode(self._reply(connection)))
        self._hang_up(connection)

    def _reply(self, connection: socket.socket) -> Document:
        try:
            message = control.decode(connection.recv(control.MESSAGE_MAX))
            request = text_of(message, "do")
            if request not in self._requests:
                raise ResolverError(f"{request[:_SHOWN_MAX]!r} is none of {', '.join(self._requests)}")
            return self._requests[request](connection, message)
        except ReconcilerError as error:
            return {"error": str(error)}

    def _status(self, *_: object) -> Document:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "digest": self._zones.digest,
            "failures": self._named_failures(),
            "host": self._namespaces.inode(HOST),
            "sandboxes": len(self._sandboxes),
            "in_flight": self._forwarder.in_flight,
            "streams": self._limits.total,
        }

    def _named_failures(self) -> dict[str, str]:
        named = sorted(self._failures.items())[: control.FAILURES_MAX]
        return {name: reason[: control.REASON_MAX] for name, reason in named}

    def _reloaded(self, *_: object) -> Document:
        self.reload()
        return self._status()

    def _changed(self, _: socket.socket, message: Document) -> Document:
        changed = self._zones.change(message)
        if changed is None:
            self.reload()
        else:
            self._serve(changed)
            self._follow_all({*changed, *self._failures})
        return self._status()

    def _followed(self, _: socket.socket, message: Document) -> Document:
        self._follow_all({name for name in items_of(message, "sandboxes") if isinstance(name, str)})
        return self._status()

    def _stopped(self, *_: object) -> Document:
        self._reactor.stop()
        return {}

    def _handed_over(self, connection: socket.socket, _: Document) -> Document:
        sockets = [((sandbox.ns, sandbox.inode), sandbox.sockets) for sandbox in self._sandboxes.values()]
        if succession.hand_over(connection, self._inheritance, sockets):
            self._retire()
        return {}

    def _retire(self) -> None:
        """Take no new question; end when those under way are answered."""
        self._reactor.forget(self._inheritance.control.fileno())
        self._zones = ZonesInForce()
        for sandbox in self._sandboxes.values():
            sandbox.stop_listening()
        self._end_when_quiet(time.monotonic() + _LAST_WORDS_S)

    def _end_when_quiet(self, deadline: float) -> None:
        if time.monotonic() >= deadline or not any(sandbox.is_busy for sandbox in self._sandboxes.values()):
            self._reactor.stop()
        else:
            self._reactor.call_after(0.05, lambda: self._end_when_quiet(deadline))
