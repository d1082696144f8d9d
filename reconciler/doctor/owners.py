"""Whether this host is run from these folders and by one watcher: its bridges say from which they are run, and a second watcher
with the same state folder may run in another network namespace, as of a container. And whether somebody suspended something.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, note
from reconciler.doctor.place import Place
from reconciler.doctor.typed import base, typed
from reconciler.guard.guarded import anothers_host
from reconciler.guard.orders import NO_ORDERS
from reconciler.guard.suspension import EVERYTHING, suspensions
from reconciler.guard.whose import anothers_state
from reconciler.kernel.processes import pids
from reconciler.observe.marks import host_marks
from reconciler.records.file import content

_COMMAND_MAX: Final = 1 << 16
_STATE_DIR: Final = "RECONCILE_STATE_DIR"


class Watcher(Struct, frozen=True, kw_only=True):
    """One that runs. namespace: inode of its network namespace. state_dir: as it was told, "" for the default."""

    pid: int
    namespace: int
    state_dir: str = ""


class HostOwners(Struct, frozen=True, kw_only=True):
    """anothers: why a pass from these folders would change nothing. watchers: with this state folder, ours first if it runs.

    suspended: what, and until somebody resumes it: names of networks, EVERYTHING.
    """

    anothers: str = ""
    watchers: tuple[Watcher, ...] = ()
    suspended: tuple[str, ...] = ()


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place), base(typed()))


def judge(found: HostOwners, program: list[str]) -> Iterator[Finding]:
    if found.anothers:
        yield error(found.anothers, "a pass from here changes nothing (exit 3)", command(*program, "--take-over"))
    if len(found.watchers) > 1:
        yield error(
            f"{len(found.watchers)} watchers use this state folder: processes {', '.join(str(w.pid) for w in found.watchers)}",
            "each takes the networks of the other's network namespace for lost and the promises for its own",
            *(command("kill", str(each.pid)) for each in found.watchers[1:]),
        )
    if EVERYTHING in found.suspended:
        yield note("everything is suspended", "passes change nothing until that ends", command(*program, "resume"))
    elif found.suspended:
        names = ", ".join(found.suspended)
        yield note(
            f"suspended: {names}",
            "passes change nothing of these until that ends",
            command(*program, "resume", *found.suspended),
        )


def read(place: Place) -> HostOwners:
    marks = host_marks(place.backends.namespaces, place.backends.memory)
    refusal = anothers_state(marks.marks, place.settings, NO_ORDERS)
    if refusal is None and place.specs.folder:
        refusal = anothers_host(marks, place.specs.wanted, place.settings, place.backends.kv, NO_ORDERS)
    suspended = suspensions(place.settings.state_dir, time.time())
    return HostOwners(
        anothers="" if refusal is None else str(refusal),
        watchers=tuple(_watchers(place)),
        suspended=tuple(sorted(each.network for each in suspended)),
    )


def _watchers(place: Place) -> Iterator[Watcher]:
    """Yield those with our state folder; processes whose environment is hidden from us are passed over."""
    own = os.stat("/proc/thread-self/ns/net").st_ino
    found = [watcher for pid in pids() if (watcher := watcher_of(pid)) is not None]
    ours = os.path.realpath(place.settings.state_dir)
    mine = [each for each in found if os.path.realpath(each.state_dir or "/var/lib/reconciler") == ours]
    yield from sorted(mine, key=lambda each: (each.namespace != own, each.pid))


def watcher_of(pid: int) -> Watcher | None:
    """Return the watcher that a process is, None for any other process."""
    try:
        words = _words(pid, "cmdline")
        if "watch" not in words[1:] or not any(
            re.search(r"(^|/)reconcile(r)?$|reconciler", word) for word in words[:4]
        ):
            return None
        if os.path.basename(words[0]) in ("sudo", "sh", "bash", "strace", "timeout"):
            return None
        environment = dict(each.partition("=")[::2] for each in _words(pid, "environ"))
        namespace = os.stat(f"/proc/{pid}/ns/net").st_ino
        folder = os.readlink(f"/proc/{pid}/cwd")
    except (OSError, IndexError):
        return None
    state_dir = _option(words, "--state-dir") or environment.get(_STATE_DIR, "")
    return Watcher(pid=pid, namespace=namespace, state_dir=os.path.join(folder, state_dir) if state_dir else "")


def _words(pid: int, file: str) -> list[str]:
    return content(f"/proc/{pid}/{file}", bytes_max=_COMMAND_MAX).decode(errors="replace").split("\0")


def _option(words: list[str], name: str) -> str:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
    return ""
