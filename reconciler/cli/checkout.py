"""Where a place in the specs is in the checkout that a reviewer sees."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from reconciler.model.wanted import Source
from reconciler.records.file import opened


def in_checkout(place: Source, environment: Mapping[str, str] = os.environ) -> Source:
    """Return the place with its file relative to the checkout, as annotations want it.

    The checkout is GITHUB_WORKSPACE, else CI_PROJECT_DIR (GitLab), else the repository that the working folder is in, else that
    folder; a file outside of it keeps its path. A line beyond the end of the
    file, as of specs that were good before and are not the file's text any more, becomes the whole file (0).
    """
    root = _checkout(environment.get("GITHUB_WORKSPACE") or environment.get("CI_PROJECT_DIR") or "", os.getcwd())
    try:
        file = str(Path(place.file).resolve().relative_to(root))
    except (ValueError, OSError, RuntimeError):
        file = place.file
    is_there = place.line <= _line_count(place.file, unknown=place.line)
    return Source(file, place.line if is_there else 0, place.column if is_there else 0)


@lru_cache(maxsize=4)
def _checkout(named: str, folder: str) -> Path:
    if named:
        return Path(named).resolve()
    here = Path(folder)
    return next((parent for parent in (here, *here.parents) if (parent / ".git").exists()), here)


def _line_count(file: str, *, unknown: int) -> int:
    try:
        found = os.stat(file)
        return _lines(file, (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
    except OSError:
        return unknown


@lru_cache(maxsize=64)
def _lines(file: str, _version: tuple[int, ...]) -> int:
    """Count once what many annotations are about: one file may declare a thousand attachments."""
    with opened(file) as lines:
        return sum(1 for _ in lines)
