"""Inputs that are kept: in the repository few and small ones, beside them what a long run has found, which is not."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from tests.fuzz.bounds import Bounds
from tests.fuzz.target import Target

KEPT: Final = Path(__file__).parent / "corpus"
BUILD: Final = Path(__file__).parent.parent.parent / "build" / "fuzz"

BYTES_MAX: Final = 7_500
"""Of one target's inputs in the repository."""

FILE_MAX: Final = 2_000
_PACKAGE: Final = str(Path(__file__).parent.parent.parent / "reconciler")

Place = tuple[CodeType, int, int]
"""In which code control went from which line to which."""


def folder_of(root: Path, name: str) -> Path:
    """Return the folder of a target, whose name may have blanks."""
    return root / name.replace(" ", "-")


def kept(target: Target) -> list[bytes]:
    """Return seeds and inputs of a target as the repository has them, in an order that is always the same."""
    return [*target.seeds(), *_read(folder_of(KEPT, target.name))]


def keep_few(target: Target) -> tuple[int, int]:
    """Of what was found keep those few small inputs that go most ways which the seeds do not; return files and bytes."""
    folder = folder_of(KEPT, target.name)
    known = set[Place]()
    with Bounds(target) as bounds:
        for data in target.seeds():
            known |= ways(bounds, data)
        candidates = {data: ways(bounds, data) for data in _found(target)}
    chosen = _chosen(candidates, known)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for data in chosen:
        (folder / name_of(data)).write_bytes(data)
    if not chosen:
        folder.rmdir()
    return len(chosen), sum(map(len, chosen))


def name_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _found(target: Target) -> list[bytes]:
    folders = (folder_of(root, target.name) for root in (KEPT, BUILD / "corpus"))
    found = {data for folder in folders for data in _read(folder) if len(data) <= FILE_MAX}
    return sorted(found, key=lambda data: (len(data), data))


def _read(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def _chosen(candidates: Mapping[bytes, set[Place]], known: set[Place]) -> list[bytes]:
    """Choose by turns what goes the most new ways for its size."""
    chosen, left, size = list[bytes](), dict(candidates), 0
    while left:
        new = {data: len(places - known) for data, places in left.items()}
        left = {data: places for data, places in left.items() if new[data] and size + len(data) <= BYTES_MAX}
        if not left:
            break
        best = max(left, key=lambda data: (new[data] / (len(data) + 20), data))
        chosen.append(best)
        size += len(best)
        known |= left.pop(best)
    return chosen


def ways(bounds: Bounds, data: bytes) -> set[Place]:
    """Run an input and return which ways it goes through the package."""
    found = set[Place]()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            if not frame.f_code.co_filename.startswith(_PACKAGE):
                return None
            last[id(frame)] = 0
        elif event == "line":
            found.add((frame.f_code, last.get(id(frame), 0), frame.f_lineno))
            last[id(frame)] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        bounds.tried(data)
    finally:
        sys.settrace(None)
    return found


def all_kept(targets: Iterable[Target]) -> Sequence[tuple[str, int, int]]:
    return [(target.name, *keep_few(target)) for target in targets]
