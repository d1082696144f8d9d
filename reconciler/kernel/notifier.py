"""Being told of changes in folders and files, by watchfiles' Rust side (inotify(7)). Knows nothing of specs.

What it keeps to itself, who uses this must make up for: that a file was closed, that the kernel's queue ran over, that something
was unmounted, and, once in ten million, what changes in the instant in which it tells or waiting ends in vain.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from reconciler.errors import kernel_error, kernel_errors
from reconciler.kernel.processes import command

_STEP_MS: Final = 20
"""How often it is looked whether there was a change. What was is told when nothing came in a step after it, so within one to two;
a step of 10 ms would halve that, and cost twice the CPU time of a quiet host.
"""

_GROUPED_MS: Final = 50
"""Changes that follow each other without a pause are told after this long."""

_FEW_WATCHES: Final = "if there are too few inotify watches, raise the sysctl fs.inotify.max_user_watches"
_FEW_INSTANCES: Final = "if these are inotify instances, raise the sysctl fs.inotify.max_user_instances"

_THREAD: Final = "notify-rs inoti"
"""What Rust calls the thread that reads the kernel's queue, as far as the kernel keeps it."""

_CLOCK_OF_THREAD: Final = 6
"""CPUCLOCK_PERTHREAD_MASK and CPUCLOCK_SCHED (linux/posix-timers.h), as pthread_getcpuclockid(3) makes them."""

_QUEUE_LENGTH: Final = Path("/proc/sys/fs/inotify/max_queued_events")
_READ_S: Final = 0.25e-6
"""No machine reads an event in less: 1.2 to 2.3 us were measured, 64 at a time."""

Hint = tuple[int, str]
"""What happened (ADDED, MODIFIED, DELETED) to which path: of what is watched, or of something directly in it."""

MODIFIED: Final = int(Change.modified)


class Wake(Protocol):
    """Ends a wait, as threading.Event does."""

    def is_set(self) -> bool: ...


class PathNotifier:
    """Watches paths, and what is directly in those that are folders. A thread of Rust's begins here, in the caller's namespaces.

    is_partial: something could not be watched; refusal: why, "" when it is gone. Raises KernelError when nothing can be.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._thread_id: int | None = None
        with kernel_errors(f"read {_QUEUE_LENGTH}"):
            self._full_s = int(_QUEUE_LENGTH.read_text()) * _READ_S
        self._worked_before_s: float | None = None
        wanted = list(paths)
        taken = [path for path in wanted if _is_text(path)]
        self.is_partial = len(taken) < len(wanted)
        self.refusal = "a folder's name is no UTF-8" if self.is_partial else ""
        try:
            self._rust = _watch(taken, must_all=not self.is_partial)
        except OSError as error:
            is_gone = isinstance(error, FileNotFoundError)
            self.is_partial, self.refusal = True, "" if is_gone else f"{error}; {_FEW_WATCHES}"
            self._rust = _watch(taken, must_all=False)

    def wait(self, timeout_s: float, wake: Wake) -> set[Hint]:
        """Wait for changes, until it is over or `wake` is set. Raises KernelError when this one will tell of nothing any more."""
        try:
            found = self._rust.watch(_GROUPED_MS, _STEP_MS, max(1, int(timeout_s * 1000)), wake)
        except WatchfilesRustInternalError as error:  # a name that is not UTF-8, for one
            raise kernel_error(errno.EIO, "watch files", str(error)) from error
        return found if isinstance(found, set) else set()

    def may_have_lost(self) -> bool:
        """Return whether the kernel's queue may have run over since this was last true: the caller looks then.

        All that is in a queue that runs over is read afterwards, so a thread that worked for less than that takes has lost nothing.
        """
        before_s, now_s = self._worked_before_s, self._worked_s()
        if before_s is not None and now_s is not None and now_s - before_s < self._full_s:
            return False
        self._worked_before_s = now_s  # before the caller looks: what is lost from now on counts the next time
        return True

    def _worked_s(self) -> float | None:
        """Return the CPU time that Rust's thread has taken; None when it is not found."""
        if self._thread_id is None:
            self._thread_id = _thread_id()
        if self._thread_id is None:
            return None
        try:
            return time.clock_gettime(~self._thread_id << 3 | _CLOCK_OF_THREAD)
        except OSError:
            self._thread_id = None  # the one of a notifier that was closed a moment ago
            return None

    def close(self) -> None:
        """Its thread ends, and its descriptors close, a moment later."""
        self._rust.close()


def _watch(paths: list[str], *, must_all: bool) -> RustNotify:
    try:
        return RustNotify(
            paths,
            debug=False,
            force_polling=False,
            poll_delay_ms=0,
            recursive=False,
            ignore_permission_denied=not must_all,
        )
    except WatchfilesRustInternalError as error:
        raise kernel_error(errno.EMFILE, "watch files", f"{error}; {_FEW_INSTANCES}") from error


def _thread_id() -> int | None:
    """Find Rust's thread; None while there are several, as an earlier one ends a moment after it was closed."""
    found = [thread for thread in map(int, os.listdir("/proc/self/task")) if command(thread) == _THREAD]
    return found[0] if len(found) == 1 else None


def _is_text(path: str) -> bool:
    """Return whether Rust takes the path: not one with bytes that are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
