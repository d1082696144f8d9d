"""The specs from a repository: a thread fetches and proves commits, the loop swaps in one that is good.

<state-dir>/git holds `repository` (bare), `commits/HASH` (the specs of a commit) and `specs`, a symbolic link to one of these,
which is swapped between two passes. What is not good is never linked, so the last good one stays, also across restarts and offline.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from reconciler.errors import ReconcilerError, RevisionRefused, RevisionUnreadable, surroundings_error
from reconciler.git_remote import Remote, Repository
from reconciler.git_tree import short
from reconciler.guard.expected import unmet_expectations
from reconciler.guard.foresight import foreseen
from reconciler.records.file import beginning, make_folder
from reconciler.settings import Settings
from reconciler.spec.load import load_specs
from reconciler.status.revision import COMMIT_FILE
from reconciler.watch.listener import PassListener
from reconciler.watch.source import Bell, Dirty, EventSource

log = logging.getLogger(__name__)

_GIT: Final = "git"
_BESIDE: Final = "next"
_CLOSE_S: Final = 5.0
_NEWS: Final = Dirty(is_other=True)


def git_specs_dir(state_dir: Path) -> Path:
    return state_dir / _GIT / "specs"


class GitSource(EventSource, PassListener):
    """settings: with `git_specs_dir` as the folder of the specs. Raises KernelError where the state folder cannot be written.

    For who holds the lock of the host's watcher.
    """

    def __init__(self, settings: Settings, remote: Remote, keyring: Path | None, interval_s: float) -> None:
        self._settings, self._remote, self._interval_s = settings, remote, interval_s
        self._root = settings.state_dir / _GIT
        self._repository = Repository(self._root / "repository", remote, keyring)
        self._bell, self._wake, self._is_closing = Bell(), threading.Event(), False
        self._problem: ReconcilerError | None = None
        self._found: ReconcilerError | None = None
        self._judged: tuple[str, RevisionRefused | None] | None = None
        self._ready, self._lock = "", threading.Lock()
        try:
            self._forget_another()
        except OSError as error:
            raise surroundings_error(error) from error
        self._current = self._linked()
        is_old = bool(self._current)
        if not is_old:
            self._look()  # with nothing to go on with, the first pass waits for it
            self.drain()
        self._thread = threading.Thread(target=self._run, args=(is_old,), name="git", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> ReconcilerError | None:
        """Return why what the repository has now is not in force."""
        return self._problem

    @property
    def commit(self) -> str:
        """Return the one that is in force, "" before the first."""
        return self._current

    def fileno(self) -> int:
        return self._bell.fileno()

    def drain(self) -> Dirty:
        """Put in force what is ready. A commit that cannot be linked stays ready, and each look rings for it again."""
        news = self._bell.drain()
        with self._lock:
            commit, self._problem = self._ready, self._found  # together: no pass sees the one without the other
            if commit in ("", self._current):
                self._ready = ""
                return news
            try:
                self._link(commit)
            except OSError as error:
                self._problem = surroundings_error(error)
                return news
            self._ready = ""
        return news | Dirty(is_specs=True)

    def reloading(self) -> None:
        self._judged = None
        self._wake.set()

    def close(self) -> None:
        self._is_closing = True
        self._wake.set()
        self._repository.close()
        self._thread.join(_CLOSE_S)
        self._bell.close()

    # ---- the thread

    def _run(self, is_old: bool) -> None:
        """is_old: nobody has looked since the start."""
        if is_old:
            self._look()
        while not self._wake.wait(self._interval_s) or not self._is_closing:
            self._wake.clear()
            self._look()

    def _look(self) -> None:
        before, proved, problem = self._found, "", None
        try:
            proved = self._proved()
        except ReconcilerError as error:
            problem = error
        except OSError as error:
            problem = surroundings_error(error)
        with self._lock:
            self._ready, self._found = proved or self._ready, problem
        if self._is_closing:
            return
        if self._ready not in ("", self._current) or str(before) != str(problem):
            self._bell.ring(_NEWS)

    def _proved(self) -> str:
        """Return the commit that the ref is at, laid out and found good. One that was refused is not judged again before SIGHUP.

        What git could not do is tried again each time: it may be for want of a process, or of room.
        """
        commit = self._repository.fetch()
        if self._judged is None or self._judged[0] != commit:
            self._judged = commit, self._judgement(commit)
        error = self._judged[1]
        if error is not None:
            raise error
        return commit

    def _judgement(self, commit: str) -> RevisionRefused | None:
        try:
            self._repository.check(commit)
            if commit != self._linked():
                self._lay_out(commit)
        except RevisionRefused as error:
            return error
        return None

    def _lay_out(self, commit: str) -> None:
        folder = self._root / "commits" / commit
        beside = folder.with_name(_BESIDE)
        self._repository.lay_out(commit, beside)
        (beside / COMMIT_FILE).write_text(f"{commit}\n")
        self._refuse_faults(commit, beside)
        _flush(beside)
        with self._lock:
            self._remove_others()
            if not folder.exists():  # else it waits to be linked
                beside.rename(folder)
        self._repository.tidy()

    def _refuse_faults(self, commit: str, folder: Path) -> None:
        settings = self._settings
        loaded = load_specs(
            folder,
            host=settings.host,
            is_bridge_enabled=settings.is_bridge_enabled,
            is_in_cluster=bool(settings.cluster_store),
            shown_as=settings.specs_dir,
        )
        impossible, _ = foreseen(loaded, settings)
        faults = (*loaded.faults, *impossible, *unmet_expectations(loaded, settings))
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            first = str(faults[0]).removeprefix(f"{settings.specs_dir}/")
            kind = RevisionUnreadable if any(fault.is_retryable for fault in faults) else RevisionRefused
            raise kind(f"commit {short(commit)} has faults, and the one before stays in force: {first}{more}")

    # ---- the link

    def _linked(self) -> str:
        try:
            return Path(os.readlink(self._settings.specs_dir)).name
        except OSError:
            return ""

    def _link(self, commit: str) -> None:
        """Swap: who reads the specs does so in the same thread."""
        link, beside = self._settings.specs_dir, self._root / "specs.tmp"
        beside.unlink(missing_ok=True)
        beside.symlink_to(Path("commits") / commit)
        try:
            beside.replace(link)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        _flush_one(self._root)
        self._current = commit
        log.info("specs are at %s of %s", short(commit), self._remote)

    def _remove_others(self) -> None:
        for other in (self._root / "commits").iterdir():
            if other.name not in (self._linked(), self._ready) and other.name != _BESIDE:
                shutil.rmtree(other, ignore_errors=True)

    def _forget_another(self) -> None:
        """What another repository, ref or folder gave is not what is asked for: nothing is known then before the first fetch."""
        make_folder(self._root, 0o700)
        mark, name = self._root / "source", hashlib.sha256(str(self._remote).encode()).hexdigest()
        if mark.exists() and beginning(mark, len(name) + 1) == name:
            return
        self._settings.specs_dir.unlink(missing_ok=True)
        mark.write_text(name)


def _flush(folder: Path) -> None:
    """Make all of it durable: after a power cut, empty files would declare nothing."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
