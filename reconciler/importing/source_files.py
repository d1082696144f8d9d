"""The files of a source: those of a folder by the ends of their names, or some by name. What is in them is read elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.errors import FileUnreadable
from reconciler.importing.values import NotCarried
from reconciler.records.document import Misfit, json_value
from reconciler.records.file import content

_BYTES_MAX: Final = 1 << 20
_FILES_MAX: Final = 10_000
_DEPTH_MAX: Final = 8
_MISSING: Final = "name the folder, or files in it"


class SourceFile(Struct, frozen=True, kw_only=True):
    """name: within the folder, as people are shown it."""

    name: str
    text: str


class SourceFiles(Struct, frozen=True, kw_only=True):
    """not_carried: files that cannot be read."""

    files: tuple[SourceFile, ...]
    not_carried: tuple[NotCarried, ...] = ()


def read_files(paths: Sequence[Path], suffixes: tuple[str, ...], *, is_deep: bool = False) -> SourceFiles:
    """Read files, and those of folders, sorted by name. is_deep: of the folders in a folder too.

    Raises FileUnreadable when a path is not there, or there is none of these files at all.
    """
    files: list[SourceFile] = []
    not_carried: list[NotCarried] = []
    for name, path in _found(paths, suffixes, is_deep=is_deep):
        try:
            files.append(SourceFile(name=name, text=content(path, bytes_max=_BYTES_MAX).decode()))
        except OSError as error:
            not_carried.append(NotCarried(where=name, what="the file", why=f"it cannot be read: {error.strerror}"))
        except UnicodeDecodeError:
            not_carried.append(NotCarried(where=name, what="the file", why="it is not UTF-8: save it in that encoding"))
    if not files and not not_carried:
        shown = ", ".join(map(str, paths))
        raise FileUnreadable(
            f"{shown}: there is no file {' or '.join(f'*{suffix}' for suffix in suffixes)}: {_MISSING}"
        )
    return SourceFiles(files=tuple(files), not_carried=tuple(not_carried))


def _found(paths: Sequence[Path], suffixes: tuple[str, ...], *, is_deep: bool) -> Iterator[tuple[str, Path]]:
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise FileUnreadable(f"{path}: there is no such file or folder: {_MISSING}")
            yield path.name, path
            continue
        try:
            listed = sorted(_listed(path, suffixes, _DEPTH_MAX if is_deep else 0))
        except OSError as error:
            raise FileUnreadable(f"{error.filename}: the folder cannot be read: {error.strerror}") from error
        if len(listed) > _FILES_MAX:
            raise FileUnreadable(f"{path}: more than {_FILES_MAX} files: name those that are meant")
        yield from ((str(each.relative_to(path)), each) for each in listed)


def _listed(folder: Path, suffixes: tuple[str, ...], depth: int) -> Iterator[Path]:
    for each in folder.iterdir():
        if each.is_dir():
            if depth:
                yield from _listed(each, suffixes, depth - 1)
        elif each.name.endswith(suffixes):
            yield each


def json_objects(files: Sequence[SourceFile]) -> tuple[list[tuple[str, Mapping[str, object]]], list[NotCarried]]:
    """Return the objects in JSON files, each file one or a list of them, with the file's name; and of the rest why not."""
    found: list[tuple[str, Mapping[str, object]]] = []
    not_carried: list[NotCarried] = []
    for file in files:
        try:
            value = json_value(file.text, _BYTES_MAX)
        except Misfit as misfit:
            not_carried.append(
                NotCarried(where=f"{file.name}{_place(file.text)}", what="the file", why=f"it is {misfit}")
            )
            continue
        values = value if isinstance(value, list) else [value]
        found += [(file.name, each) for each in values if isinstance(each, dict)]
        if not values or not all(isinstance(each, dict) for each in values):
            not_carried.append(NotCarried(where=file.name, what="the file", why="it is no JSON object"))
    return found, not_carried


def _place(text: str) -> str:
    """Return `:LINE:COLUMN` of what is no JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f":{error.lineno}:{error.colno}"
    except (ValueError, RecursionError):
        pass
    return ""
