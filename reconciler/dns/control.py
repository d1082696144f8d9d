"""What the engine and the server say to each other: one JSON request and its reply over a unix socket below the run folder.

    {"do": "status"}    -> {"version", "pid", "digest": of the zones in force, "failures": {sandbox: reason},
                            "host": inode of its own network namespace, "sandboxes", "in_flight", "streams"}
    {"do": "change", …} -> the same, once what is otherwise by this message (`dns.changes`) is in force; if it is about other zones
                           than those that are, or leads to another digest than it says: once the zones file is
    {"do": "reload"}    -> the same, once the zones file is in force
    {"do": "follow", "sandboxes": [name, …]} -> the same, once it is known in which namespaces these are by now
    {"do": "stop"}      -> {}
    {"do": "hand over"} -> descriptors in messages of {"sockets": [[namespace, inode], …]}, lock and control socket first;
                           after "taken" the old server finishes what is under way and ends

A refused request is answered by {"error": reason}.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from reconciler.errors import ResolverError, ResolverSilent
from reconciler.records.document import Misfit, json_object

FOLDER: Final = "dns"
ZONES_FILE: Final = "zones.json"
LOCK_FILE: Final = "lock"
LOG_FILE: Final = "server.log"
SOCKET_FILE: Final = "control.sock"

REPLY_TIMEOUT_S: Final = 10.0
MESSAGE_MAX: Final = 1 << 17
CHANGE_MAX: Final = 1 << 16
"""Bytes of a request to change zones; for more of them the file is read as a whole."""

FAILURES_MAX: Final = 300
REASON_MAX: Final = 200
"""Failures named in one reply, and how long each may be, so that it stays below MESSAGE_MAX and the socket's buffer."""

_CREDENTIALS: Final = struct.Struct("=iII")

Document = Mapping[str, object]


def folder(run_dir: Path) -> Path:
    return run_dir / FOLDER


@contextlib.contextmanager
def address(run_dir: Path) -> Iterator[str]:
    """Return the control socket's address, short enough for a unix socket however deep the folder lies (unix(7): 107 bytes)."""
    fd = os.open(folder(run_dir), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_FILE}"
    finally:
        os.close(fd)


def connect(run_dir: Path, timeout_s: float = REPLY_TIMEOUT_S) -> socket.socket:
    """Return a connection to the server. Raises OSError when none listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(timeout_s)
    try:
        with address(run_dir) as path:
            connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def ask(
    run_dir: Path, request: str, timeout_s: float = REPLY_TIMEOUT_S, more: Document = MappingProxyType({})
) -> Document:
    """Send one request and give its reply. more: what it says beside.

    Raises ResolverError when no server listens or it refuses, ResolverSilent when it hangs.
    """
    try:
        with connect(run_dir, timeout_s) as connection:
            connection.send(encode({"do": request, **more}))
            reply = decode(connection.recv(MESSAGE_MAX))
    except (TimeoutError, BlockingIOError) as cause:  # the latter: nobody takes those who asked before
        raise ResolverSilent(
            f"embedded DNS server in {folder(run_dir)}: {request}: no answer within {timeout_s:g} s"
        ) from cause
    except OSError as cause:
        raise ResolverError(f"embedded DNS server in {folder(run_dir)}: {request}: {cause.strerror}") from cause
    if "error" in reply:
        raise ResolverError(f"embedded DNS server in {folder(run_dir)}: {request}: {reply['error']}")
    return reply


def encode(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def decode(message: bytes) -> Document:
    """Read one message. Raises ResolverError."""
    try:
        return json_object(message, MESSAGE_MAX)
    except Misfit as cause:
        raise ResolverError(f"{message[:80]!r} is no message between the engine and its DNS server") from cause


def is_own_user(connection: socket.socket) -> bool:
    """Return whether the process at the other end is one of our own user's, or root's."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] in (0, os.geteuid())
