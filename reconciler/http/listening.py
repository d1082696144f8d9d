"""Where a server listens: addresses as people write them, and the sockets at them."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.errors import ConfigError
from reconciler.model.ip import address_or_none
from reconciler.records.file import make_folder

_BACKLOG: Final = 64
_PATH_MAX: Final = 107
"""sun_path less the terminating zero (unix(7))."""


class ListenAddress(Struct, frozen=True):
    """Where to listen: `unix` a path, or `host` (an IP address, as written) and `port`."""

    unix: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.unix}" if self.unix else f"{self.host} port {self.port}"


def parse_address(text: str, setting: str) -> ListenAddress:
    """Read `unix:/PATH`, `ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises ConfigError, which names the setting."""
    if text.startswith("unix:/") and "\0" not in text and len(os.fsencode(text)) - len("unix:") <= _PATH_MAX:
        return ListenAddress(unix=Path(text.removeprefix("unix:")))
    host, _, port = text.rpartition(":")
    address = address_or_none(host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host)
    is_bracketed = host.startswith("[")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536
    if address is None or not is_port or is_bracketed != (address.version == 6):
        raise ConfigError(f"{setting}: expected unix:/PATH, 127.0.0.1:PORT or [::1]:PORT, not {text[:200]!r}")
    return ListenAddress(host=str(address), port=int(port))


class ListeningSocket:
    """A socket that listens and never waits. Raises ConfigError, which names the setting, when it cannot."""

    def __init__(self, address: ListenAddress, setting: str) -> None:
        self._path = address.unix
        try:
            self.socket = _listening_unix(address.unix) if address.unix else _listening_tcp(address)
        except OSError as error:
            raise ConfigError(f"{setting}: cannot listen at {address}: {error.strerror or error}") from error
        self._own_inode = os.stat(self._path).st_ino if self._path else 0

    def close(self) -> None:
        """Stop listening; a unix socket's file goes unless another one has taken its place."""
        self.socket.close()
        if self._path:
            with suppress(OSError):
                if os.lstat(self._path).st_ino == self._own_inode:
                    os.unlink(self._path)


def _listening_tcp(address: ListenAddress) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        return _started(listener)
    except OSError:
        listener.close()
        raise


def _listening_unix(path: Path) -> socket.socket:
    """Take the place of a socket that nobody listens at any more; anything else there is in the way. For our user and group."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        make_folder(path.parent)
        _remove_dead(path)
        before = os.umask(0o117)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        return _started(listener)
    except OSError:
        listener.close()
        raise


def _started(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    return listener


def _remove_dead(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is something else than a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.setblocking(False)
        try:
            asker.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return  # somebody listens and has no time: bind says so
