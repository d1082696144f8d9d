"""One reconciler per host namespace: an abstract socket (unix(7)), which the kernel frees with its process and no file outlives."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import Final

from reconciler.errors import LockHeld, kernel_error
from reconciler.kernel.processes import command_line

PASS: Final = "\0network-reconciler"
WATCHER: Final = "\0network-reconciler-watch"
"""Abstract names belong to a network namespace (network_namespaces(7)), so hosts played by namespaces have one lock each."""

_BACKLOG: Final = 4096
_CREDENTIALS: Final = struct.Struct("=iII")


class HostLock:
    """Held from `with` on until its end, or the end of the process. Raises LockHeld. PASS: for one pass; WATCHER: there is one."""

    def __init__(self, address: str = PASS) -> None:
        self._address = address

    def __enter__(self) -> HostLock:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.bind(self._address)
            self._socket.listen(_BACKLOG)
        except OSError as cause:
            self._socket.close()
            if cause.errno != errno.EADDRINUSE:
                raise kernel_error(cause.errno or errno.EIO, "take the host's lock") from cause
            raise LockHeld(
                f"{holder(self._address) or 'another process'} works on this host; wait for it to end, or stop it"
            ) from cause
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def forget_askers(self) -> None:
        """Let go those who came to see who holds the lock. For holders that live long: call now and then."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()


def holder(address: str) -> str:
    """Name the process that holds the lock, "" when nobody does: SO_PEERCRED is taken from its listen()."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asker:
        asker.setblocking(False)
        try:
            asker.connect(address)
            raw = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except ConnectionRefusedError:
            return ""
        except OSError:
            return "another process"
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return (
        f"process {pid} of user {uid} ({command_line(pid)})" if pid > 0 else f"a process of user {uid} out of our sight"
    )
