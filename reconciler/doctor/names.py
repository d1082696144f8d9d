"""Whether the embedded name server serves every sandbox that it shall, and who has port 53 where it does not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error
from reconciler.doctor.place import Place
from reconciler.doctor.typed import base, typed
from reconciler.errors import ReconcilerError
from reconciler.kernel.processes import command as program_of
from reconciler.records.file import content

_PORT: Final = "0035"
_TABLES: Final = ("udp", "tcp", "udp6", "tcp6")
_TABLE_MAX: Final = 1 << 24
_PROCESSES_MAX: Final = 20_000


class Unserved(Struct, frozen=True, kw_only=True):
    """An attachment without name service. reason: the server's. holders: processes that have port 53 there, and their programs."""

    attachment: str
    reason: str
    holders: tuple[tuple[int, str], ...] = ()


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place), base(typed()))


def judge(found: tuple[Unserved, ...], program: list[str]) -> Iterator[Finding]:
    for each in found:
        by = "".join(f"; process {pid} ({program}) has port 53" for pid, program in each.holders)
        yield error(
            f"attachment {each.attachment} has no name service: {each.reason}{by}",
            "in its sandbox no names are found, neither of other sandboxes nor outside",
            *(command("kill", str(pid)) for pid, _ in each.holders),
            *([command(*program)] if each.holders else ()),
        )


def read(place: Place) -> tuple[Unserved, ...]:
    facts = place.facts
    desired = None if place.decision is None else place.decision.desired
    if facts is None or desired is None:
        return ()
    sandboxes = {attachment.name: attachment.ns for attachment in desired.members}
    found = []
    for name, reason in facts.unserved:
        try:
            inode = place.backends.namespaces.inode(sandboxes[name])
        except (KeyError, ReconcilerError):
            inode = 0
        found.append(Unserved(attachment=name, reason=reason, holders=tuple(_holders(inode)) if inode else ()))
    return tuple(found)


def _holders(inode: int) -> Iterator[tuple[int, str]]:
    """Yield the processes that have a socket at port 53 in the network namespace with this inode."""
    inside = [pid for pid in _pids() if _namespace(pid) == inode]
    sockets = _sockets_at_53(inside[0]) if inside else frozenset()
    for pid in inside:
        if sockets & _descriptors(pid):
            yield pid, program_of(pid)


def _pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())[:_PROCESSES_MAX]


def _namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _sockets_at_53(pid: int) -> frozenset[str]:
    """Return the inodes of sockets that are bound to port 53 where a process is (proc_net_tcp(5))."""
    found = set()
    for table in _TABLES:
        try:
            text = content(f"/proc/{pid}/net/{table}", bytes_max=_TABLE_MAX).decode(errors="replace")
        except OSError:
            continue
        for row in text.splitlines()[1:]:
            fields = row.split()
            if len(fields) > 9 and fields[1].endswith(f":{_PORT}"):
                found.add(fields[9])
    return frozenset(found)


def _descriptors(pid: int) -> frozenset[str]:
    """Return the inodes of a process's sockets."""
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return frozenset()
    return frozenset(match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)]", link)))
