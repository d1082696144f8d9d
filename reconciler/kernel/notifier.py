"""Being told of changes in folders and files, by watchfiles' Rust side (inotify(7)). Knows nothing of specs.

What it keeps to itself, who uses this must make up for: that a file was closed, that the kernel's queue ran over, that something
was unmounted, and, once in a hundred thousand, what changes in the instant in which waiting ends in vain.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Final, Protocol

from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from reconciler.errors import kernel_error

_STEP_MS: Final = 20
"""How often it is looked whether there was a change. What was is told when nothing came in a step after it, so within one to two;
a step of 10 ms would halve that, and cost twice the CPU time of a quiet host.
"""

_GROUPED_MS: Final = 50
"""Changes that follow each other without a pause are told after this long."""

_FEW_WATCHES: Final = "if there are too few inotify watches, raise the sysctl fs.inotify.max_user_watches"
_FEW_INSTANCES: Final = "if these are inotify instances, raise the sysctl fs.inotify.max_user_instances"

Hint = tuple[int, str]
"""What happened (ADDED, MODIFIED, DELETED) to which path: of what is watched, or of something directly in it."""

MODIFIED: Final = int(Change.modified)


class Wake(Protocol):
    """Ends a wait, as threading.Event does."""

    def is_set(self) -> bool: ...


class Notifier:
    """Watches paths, and what is directly in those that are folders. A thread of Rust's begins here, in the caller's namespaces.

    is_partial: something could not be watched; refusal: why, "" when it is gone. Raises KernelError when nothing can be.
    """

    def __init__(self, paths: Iterable[str]) -> None:
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


def _is_text(path: str) -> bool:
    """Say whether Rust takes the path: not one with bytes that are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
