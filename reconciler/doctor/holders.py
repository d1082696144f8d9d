"""Which processes have a port in a network namespace (proc_net_tcp(5), proc_pid_fd(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from reconciler.kernel.processes import command, pids
from reconciler.records.file import content

_TABLES: Final = ("udp", "tcp", "udp6", "tcp6")
_TABLE_MAX: Final = 1 << 24
_LOCAL: Final = 1
_REMOTE: Final = 2
_INODE: Final = 9
"""Places of fields in a row."""

Holder = tuple[int, str]
"""Process, and the name of its program."""


def holders(namespace: int, ports: Collection[int]) -> Iterator[Holder]:
    """Yield those that have a socket at one of these ports and no connection there. namespace: its inode."""
    inside = [pid for pid in pids() if _namespace(pid) == namespace]
    sockets = _sockets(inside[0], ports) if inside and ports else frozenset()
    for pid in inside if sockets else ():
        if sockets & _descriptors(pid):
            yield pid, command(pid)


def _namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _sockets(pid: int, ports: Collection[int]) -> frozenset[str]:
    """Return the inodes of sockets that are bound to these ports where a process is."""
    wanted = tuple(f":{port:04X}" for port in ports)
    found = set()
    for table in _TABLES:
        try:
            text = content(f"/proc/{pid}/net/{table}", bytes_max=_TABLE_MAX).decode(errors="replace")
        except OSError:
            continue
        for row in text.splitlines()[1:]:
            fields = row.split()
            if len(fields) > _INODE and fields[_LOCAL].endswith(wanted) and fields[_REMOTE].endswith(":0000"):
                found.add(fields[_INODE])
    return frozenset(found)


def _descriptors(pid: int) -> frozenset[str]:
    """Return the inodes of a process's sockets."""
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return frozenset()
    return frozenset(match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)]", link)))
