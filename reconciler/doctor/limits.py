"""Whether limits of the kernel leave room: inotify for the folders of specs, asked for by watching them once; tracked connections;
neighbours for all sandboxes; open files.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.place import Place
from reconciler.kernel.sysctl import read_sysctl
from reconciler.records.file import beginning

_OF_OTHERS: Final = 8
"""Folders beside those of specs that a watcher watches: of the host's files, of namespaces, above the specs."""

_FOLDERS_MAX: Final = 50_000
_IN_DELETE: Final = 0x200
_FULL: Final = 0.9
_NEIGHBOURS: Final = "net/ipv4/neigh/default/gc_thresh3"
_CONNECTIONS: Final = ("net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max")
_WATCHES: Final = ("fs/inotify/max_user_watches", "user/max_inotify_watches")
_INSTANCES: Final = ("fs/inotify/max_user_instances", "user/max_inotify_instances")


class KernelLimits(Struct, frozen=True, kw_only=True):
    """folders: to be watched. watched: how many could be. has_instance: an inotify instance could be had.

    watches, instances: the lowest limit, and the setting that says so. connections: how many there are and may be.
    members: on one host. neighbours: how many may be known; 0 where that is not told. files: that may be open.
    """

    folders: int = 0
    watched: int = 0
    has_instance: bool = True
    watches: tuple[str, int] = ("", 0)
    instances: tuple[str, int] = ("", 0)
    connections: tuple[int, int] = (0, 0)
    members: int = 0
    neighbours: int = 0
    files: int = 1 << 20


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(limits: KernelLimits) -> Iterator[Finding]:
    if not limits.has_instance:
        name, value = limits.instances
        yield error(
            f"no inotify instance is left ({_dotted(name)} is {value})",
            "a watcher cannot be told of edits of specs, and does not start",
            _set(name, max(2 * value, 1024)),
        )
    elif limits.watched < limits.folders:
        name, value = limits.watches
        yield error(
            f"{limits.watched} of the {limits.folders} folders that a watcher watches can be ({_dotted(name)} is {value})",
            "edits of specs in the others go unnoticed",
            _set(name, max(2 * value, value + 4 * limits.folders, 65_536)),
        )
    count, most = limits.connections
    if most and count > most * _FULL:
        yield (error if count >= most else warning)(
            f"{count} of {most} connections are tracked",
            "new ones from and to networks are dropped when the table is full",
            _set("net/netfilter/nf_conntrack_max", 4 * most),
        )
    if limits.neighbours and limits.members > limits.neighbours * _FULL:
        yield warning(
            f"there are {limits.members} sandboxes on this host, and it may know {limits.neighbours} neighbours",
            "beyond, it reaches some of them now and then only (`neighbour table overflow` in the kernel's log)",
            *(_set(f"net/ipv{v}/neigh/default/gc_thresh3", 8 * limits.members) for v in (4, 6)),
        )
    if limits.files < limits.members + _OF_OTHERS * 8:
        yield warning(
            f"{limits.files} files may be open, and there are {limits.members} sandboxes",
            "namespaces are opened and closed again and again, and passes take longer",
            "mkdir -p /etc/systemd/system/reconciler-watch.service.d",
            "printf '[Service]\\nLimitNOFILE=65536\\n' > /etc/systemd/system/reconciler-watch.service.d/files.conf",
            "systemctl daemon-reload",
        )


def _set(name: str, value: int) -> str:
    return command("sysctl", "-w", f"{_dotted(name)}={value}")


def _dotted(name: str) -> str:
    return name.replace("/", ".")


def read(place: Place) -> KernelLimits:
    folders = _folders(place.settings.specs_dir)
    watched = _watched(folders)
    count, most = (_number(read_sysctl(name)) for name in _CONNECTIONS)
    desired = None if place.decision is None else place.decision.desired
    return KernelLimits(
        folders=len(folders) + _OF_OTHERS,
        watched=0 if watched is None else watched,
        has_instance=watched is not None,
        watches=_lowest(place.root, _WATCHES),
        instances=_lowest(place.root, _INSTANCES),
        connections=(count, most),
        members=0 if desired is None else sum(len(each.endpoints) for each in desired.members),
        neighbours=_number(read_sysctl(_NEIGHBOURS)),
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    )


def _folders(specs: Path) -> list[str]:
    found = [str(specs)]
    for folder, inner, _ in os.walk(specs):
        found += (os.path.join(folder, name) for name in inner)
        if len(found) > _FOLDERS_MAX:
            break
    return found


def _watched(folders: list[str]) -> int | None:
    """Watch these folders, and as many more as others take, for a moment; return how many could be, None for no instance at all."""
    libc = ctypes.CDLL(None, use_errno=True)
    instance = libc.inotify_init1(os.O_CLOEXEC)
    if instance < 0:
        return None if ctypes.get_errno() == errno.EMFILE else len(folders) + _OF_OTHERS
    count = 0
    try:
        for folder in [*folders, *_others()]:
            done = libc.inotify_add_watch(instance, os.fsencode(folder), _IN_DELETE)
            if done < 0 and ctypes.get_errno() == errno.ENOSPC:
                return count
            count += 1
    finally:
        os.close(instance)
    return count


def _others() -> list[str]:
    """Return folders that are there anywhere: a watch more of one that has one costs nothing, so they must differ."""
    return ["/", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/usr"]


def _lowest(root: Path, names: tuple[str, ...]) -> tuple[str, int]:
    """Return which of these settings says the least, and what; the first with 0 where none is there."""
    texts = {name: _text(root / "proc/sys" / name) for name in names}
    found = [(name, _number(text)) for name, text in texts.items() if text is not None]
    return min(found, key=lambda each: each[1], default=(names[0], 0))


def _text(path: Path) -> str | None:
    try:
        return beginning(path, 64)
    except OSError:
        return None


def _number(text: str | None) -> int:
    text = (text or "").strip()
    return int(text) if text.isdecimal() else 0
