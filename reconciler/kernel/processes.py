"""Processes told apart from later ones with the same id, by when they started (proc_pid_stat(5))."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from reconciler.errors import refuse_passing
from reconciler.model.identifiers import NsRef
from reconciler.records.file import beginning

_STARTED: Final = 22 - 3
"""Position of `starttime` behind the command, which may hold anything but ends with the last parenthesis."""


def started_at(pid: str) -> str | None:
    """Return when a process started, in clock ticks since boot; None when there is none. pid: digits.

    Raises KernelError for what may pass, as a want of file descriptors: that says nothing about the process.
    """
    try:
        return beginning(f"/proc/{pid}/stat", 4096).rpartition(")")[2].split()[_STARTED]
    except OSError as error:
        refuse_passing(error, f"read /proc/{pid}/stat")
        return None
    except IndexError:
        return None


def pids() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def command(pid: int) -> str:
    """Return the name of the program that runs in a process."""
    return _told_by(pid, "comm")


def command_line(pid: int) -> str:
    return _told_by(pid, "cmdline") or "no command line"


def _told_by(pid: int, file: str) -> str:
    """A process chooses what stands there; it shall not choose what a terminal does."""
    try:
        text = beginning(f"/proc/{pid}/{file}", 200)
    except OSError:
        return "gone"
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.replace("\0", " ").split()))


def process_ref(pid: int) -> NsRef | None:
    """Return the reference to a process's network namespace that holds for this process alone; None when there is none.

    Raises KernelError, as `started_at`.
    """
    ticks = started_at(str(pid))
    return None if ticks is None else NsRef(f"pid:{pid}@{ticks}")


def namespace_of(ref: NsRef) -> Path:
    """Return the path of the namespace behind such a reference, as of now."""
    return Path(f"/proc/{ref.removeprefix('pid:').partition('@')[0]}/ns/net")
