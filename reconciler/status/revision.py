"""Which git commit the specs are at. Asks git itself, bounded, and without trusting the repository."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from reconciler.records.file import beginning, content
from reconciler.settings import program_environment
from reconciler.status.summary import Revision

COMMIT_FILE: Final = ".reconcile-commit"
"""Names the commit in a folder that was laid out from one; hidden, so no spec file."""

_COMMIT_MAX: Final = 64
log = logging.getLogger(__name__)

_TIMEOUT_S: Final = 3.0

_GIT_FILE_MAX: Final = 8192
_MOVING: Final = ("index", "logs/HEAD", "reftable/tables.list")
"""Of git's files those of which one changes with HEAD, whatever moves it."""

_Trace = tuple[int, int, int] | None

_GIT: Final = (
    "git",
    # A repository's own configuration may name programs to run; these are those that `status` would start.
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false"),
    *("status", "--porcelain=v2", "--branch", "--untracked-files=normal", "--ignore-submodules=all", "--", "."),
)

_QUIET: Final = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


def specs_revision(specs_dir: Path) -> Revision:
    """Return commit and dirty flag; no commit when `specs_dir` is in no repository, git is missing, refuses or takes too long.

    Takes no lock and writes nothing, so it may run beside a person's git. A repository of another user is refused by git itself
    unless `safe.directory` allows it (git-config(1)), as reading one may run programs that its configuration names.
    """
    laid = laid_out_commit(specs_dir)
    if laid or not _is_in_repository(specs_dir):
        return Revision(commit=laid)
    try:
        process = subprocess.Popen(
            _GIT,
            cwd=specs_dir,
            env=program_environment(_QUIET),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        log.debug("git cannot be run, the specs' revision stays unknown: %s", error)
        return Revision()
    return _answer(process)


class KnownRevision:
    """What the specs are at, for who tells it pass after pass: git, a process, is asked again where that may be otherwise."""

    def __init__(self) -> None:
        self._known: tuple[object, Revision] | None = None
        self._places: tuple[str, ...] = ()
        self._traces: tuple[_Trace, ...] = ()

    def forget(self) -> None:
        self._known = None

    def is_current(self) -> bool:
        """Return whether nothing was committed, staged, checked out or laid out since it was asked for."""
        return self._known is not None and self._traces == _traces(self._places)

    def of(self, specs_dir: Path, specs: object) -> Revision:
        """specs: what is another value when the specs are others."""
        if self._known is None or self._known[0] != specs or not self.is_current():
            self._places = _places(specs_dir)
            self._traces = _traces(self._places)  # what changes while git works is seen the next time
            self._known = specs, specs_revision(specs_dir)
        return self._known[1]


def _places(specs_dir: Path) -> tuple[str, ...]:
    """Return the files of which one is another when the specs may be at another commit."""
    laid, git_folder = str(specs_dir / COMMIT_FILE), _git_folder(specs_dir)
    return (laid,) if git_folder is None else (laid, *(f"{git_folder}/{name}" for name in _MOVING))


def _git_folder(specs_dir: Path) -> Path | None:
    """Return where git keeps what belongs to the working tree that a folder is in (gitrepository-layout(5)); None in none."""
    resolved = specs_dir.resolve()
    for folder in (resolved, *resolved.parents):
        found = folder / ".git"
        if found.is_dir():
            return found
        with suppress(OSError):  # of a worktree or submodule it is a file that names the folder
            return folder / beginning(found, _GIT_FILE_MAX).removeprefix("gitdir:").strip()
    return None


def _traces(places: tuple[str, ...]) -> tuple[_Trace, ...]:
    return tuple(map(_trace, places))


def _trace(place: str) -> _Trace:
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def laid_out_commit(specs_dir: Path) -> str:
    """Return the commit that a folder was laid out from, "" for one of people."""
    try:
        return content(specs_dir / COMMIT_FILE, bytes_max=_COMMIT_MAX + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_in_repository(folder: Path) -> bool:
    """Spare a process where there is surely no repository."""
    resolved = folder.resolve()
    return any((parent / ".git").exists() for parent in (resolved, *resolved.parents))


def _answer(process: subprocess.Popen[bytes]) -> Revision:
    with process:
        try:
            output, complaint = process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            log.debug("git took more than %g s, the specs' revision stays unknown", _TIMEOUT_S)
            return Revision()
    if process.returncode != 0:
        log.debug("git refused, the specs' revision stays unknown: %s", complaint.decode(errors="replace").strip())
        return Revision()
    return parse_status(output.decode(errors="replace"))


def parse_status(text: str) -> Revision:
    """Read `git status --porcelain=v2 --branch` (git-status(1)). A repository without a commit has none here either."""
    commit, is_dirty = "", False
    for line in text.splitlines():
        if line.startswith("# branch.oid "):
            commit = line.removeprefix("# branch.oid ")
        elif not line.startswith("#"):
            is_dirty = True
    return Revision(commit="" if commit == "(initial)" else commit, is_dirty=is_dirty)
