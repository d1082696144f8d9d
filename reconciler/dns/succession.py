"""How one server process follows another with no socket closed: lock, control socket and listeners change hands (unix(7))."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from reconciler.dns import control
from reconciler.errors import ResolverError
from reconciler.model.identifiers import NsRef
from reconciler.records.file import make_folder

HAND_OVER: Final = "hand over"
TAKEN: Final = "taken"
TIMEOUT_S: Final = 5.0
_BATCH: Final = 100
"""Sandboxes a message: two descriptors each, and SCM_MAX_FD is 253 (net/scm.h)."""

_BACKLOG: Final = 64

Sockets = tuple[socket.socket, socket.socket]
Place = tuple[NsRef, int]
"""A namespace as it is named, and its inode."""


class Inheritance(Struct, kw_only=True, dict=True):
    """What one server leaves to the next. sockets: UDP and listening TCP in each place."""

    lock: int
    control: socket.socket
    sockets: dict[Place, Sockets] = field(default_factory=dict)

    def is_in_place(self, run_dir: Path) -> bool:
        """Return whether the lock is still the one that others would look for."""
        try:
            found = os.stat(control.folder(run_dir) / control.LOCK_FILE)
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self.lock))

    def close_sockets(self) -> None:
        """Close the listeners that nobody took out."""
        for pair in self.sockets.values():
            for each in pair:
                each.close()
        self.sockets.clear()


def begin(run_dir: Path) -> Inheritance | None:
    """Be the first server of this run folder; None when there is one already. Raises ResolverError."""
    folder = control.folder(run_dir)
    try:
        make_folder(folder, 0o700)
        lock = os.open(folder / control.LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return Inheritance(lock=lock, control=_control_socket(run_dir))
    except OSError as cause:
        raise ResolverError(f"embedded DNS server: {cause.filename or folder}: {cause.strerror}") from cause


def _control_socket(run_dir: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):  # left by a server that was killed; the lock says that it is gone
        (control.folder(run_dir) / control.SOCKET_FILE).unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with control.address(run_dir) as path:
        listener.bind(path)
    listener.listen(_BACKLOG)
    return listener


def take_over(run_dir: Path) -> Inheritance:
    """Ask the server that runs for all it has; from then on it answers no new question. Raises ResolverError."""
    try:
        with control.connect(run_dir) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.send(control.encode({"do": HAND_OVER}))
            inheritance = _received(connection)
            connection.send(control.encode({"do": TAKEN}))
            return inheritance
    except OSError as cause:
        raise ResolverError(f"take over from the embedded DNS server that runs: {cause.strerror or cause}") from cause


def _received(connection: socket.socket) -> Inheritance:
    document, fds = _receive(connection)
    if len(fds) != 2:
        raise ResolverError(
            f"take over from the embedded DNS server that runs: {document.get('error', 'it gave no sockets')}"
        )
    inheritance = Inheritance(lock=fds[0], control=socket.socket(fileno=fds[1]))
    while True:
        document, fds = _receive(connection)
        places = document.get("sockets")
        if not isinstance(places, list) or len(fds) != 2 * len(places):
            raise ResolverError(
                "take over from the embedded DNS server that runs: it speaks another language; stop it instead"
            )
        if not places:
            return inheritance
        for (ns, inode), datagrams, listener in zip(places, fds[::2], fds[1::2], strict=True):
            inheritance.sockets[NsRef(ns), inode] = socket.socket(fileno=datagrams), socket.socket(fileno=listener)


def _receive(connection: socket.socket) -> tuple[control.Document, list[int]]:
    message, fds, _, _ = socket.recv_fds(connection, control.MESSAGE_MAX, 2 * _BATCH)
    for fd in fds:
        os.set_inheritable(fd, False)
    return control.decode(message), list(fds)


def hand_over(connection: socket.socket, inheritance: Inheritance, sockets: Sequence[tuple[Place, Sockets]]) -> bool:
    """Hand everything to the process at the other end. Return whether it said that it has taken it."""
    connection.settimeout(TIMEOUT_S)
    try:
        _send(connection, {"sockets": []}, (inheritance.lock, inheritance.control.fileno()))
        for batch in _batches(sockets):
            fds = [each.fileno() for _, pair in batch for each in pair]
            _send(connection, {"sockets": [place for place, _ in batch]}, fds)
        return control.decode(connection.recv(control.MESSAGE_MAX)).get("do") == TAKEN
    except (OSError, ResolverError):
        return False


def _batches(sockets: Sequence[tuple[Place, Sockets]]) -> Iterator[Sequence[tuple[Place, Sockets]]]:
    """Yield slices; the last one is empty and ends the hand-over."""
    for start in range(0, len(sockets), _BATCH):
        yield sockets[start : start + _BATCH]
    yield ()


def _send(connection: socket.socket, document: control.Document, fds: Iterable[int]) -> None:
    socket.send_fds(connection, [control.encode(document)], list(fds))
