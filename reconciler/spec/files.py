"""Find and read the files of a spec folder, within limits. Knows nothing of what is in them."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct, field

from reconciler.errors import PASSING, SpecError
from reconciler.records.file import opened
from reconciler.spec.document import BYTES_MAX

SPEC_SUFFIXES: Final = (".yaml", ".yml")
TEMPLATE_SUFFIXES: Final = (".yaml.j2", ".yml.j2")
_MISNAMED: Final = (".yaml.jinja", ".yml.jinja", ".yaml.jinja2", ".yml.jinja2")
SPEC_LIKE: Final = SPEC_SUFFIXES + TEMPLATE_SUFFIXES + _MISNAMED
"""Ends of names, in lower case, that are read, or refused as what was meant to be read."""
VARIABLES: Final = "vars.yaml"
_VARIABLES_MISNAMED: Final = "vars.yml"
HOSTS: Final = "hosts"
FILES_MAX: Final = 10_000
FOLDERS_DEEP_MAX: Final = 16
ALL_BYTES_MAX: Final = 1 << 25
"""Of all files of a folder: many times what is declared for a host of 10,000 attachments."""


class SpecText(Struct, frozen=True):
    """One file as read. name: as faults show it. variables: a vars.yaml or hosts/<host>.yaml, for templates only."""

    name: str
    text: str
    is_template: bool = False
    is_variables: bool = False


_TOO_LARGE: Final = (
    f"the folder holds more than {ALL_BYTES_MAX >> 20} MiB of spec files, so nothing is changed: split it"
)


_Stamp = tuple[int, int, int, int, int]
_SETTLED_NS: Final = 2 * 10**9
"""A file that was written less than that before it was read may be written again without a trace in its times."""


class ReadFile(Struct, frozen=True):
    """What a file held. stamp: what the file system told of it, None where that does not tell whether it was written since.

    said: what the digest is made over.
    """

    stamp: _Stamp | None
    text: SpecText
    said: bytes


_NOTHING_READ: Final[Mapping[str, ReadFile]] = {}


class SpecFolder(Struct, frozen=True, kw_only=True):
    """texts: variables first, in the order in which later ones override, then the rest sorted by name.

    digest: SHA-256, hexadecimal, over names and contents. is_listed: False when nobody can say which files there are.
    read: the files by path.
    """

    texts: tuple[SpecText, ...]
    faults: tuple[SpecError, ...]
    digest: str
    is_listed: bool = True
    read: Mapping[str, ReadFile] = field(default_factory=dict)


def read_folder(
    specs_dir: Path, *, host: str, shown_as: Path | None = None, known: Mapping[str, ReadFile] = _NOTHING_READ
) -> SpecFolder:
    """Read every spec file below `specs_dir` and the variables that hold for `host`. Never raises for what it finds there.

    shown_as: the folder that names of files begin with, where that is another. known: what was read before, to save work.
    """
    read: dict[str, ReadFile] = {}
    faults: list[SpecError] = []
    found: list[tuple[str, bool]] = []
    folder = os.fspath(specs_dir)
    real = os.path.join(os.path.realpath(folder), "")

    def shown(path: str) -> str:
        return printable(path if shown_as is None else shown_as / os.path.relpath(path, folder))

    try:
        found = [(path, True) for path in _variable_files(folder, host)]
        found += [(path, False) for path in sorted(_all_spec_files(folder), key=lambda path: path.split("/"))]
    except OSError as error:
        text = f"the folder cannot be looked through, so nothing is changed: {error.strerror or error}; check --specs"
        where, may_pass = printable(error.filename or folder), error.errno in PASSING
        faults.append(SpecError(where, 0, 0, text, is_retryable=may_pass))
    except _TooManyFiles as error:
        faults.append(SpecError(printable(error.folder), 0, 0, str(error)))
    is_listed = not faults
    left = ALL_BYTES_MAX
    for path, is_variables in found:
        try:
            before = known.get(path)
            if before is not None and before.stamp is not None and before.stamp == _stamp(os.stat(path)):
                read[path] = before
                left -= len(before.said)
                continue
            _check_name(path, is_variables=is_variables)
            content, stamp = _read(path, folder, real)
            left -= len(content)
            if left < 0:
                faults.append(SpecError(printable(folder), 0, 0, _TOO_LARGE))
                is_listed = False
                break
            text = content.decode()
        except OSError as error:
            faults.append(_unreadable(shown(path), error))
        except UnicodeDecodeError as error:
            faults.append(_not_utf8(shown(path), error))
        except _Refused as error:
            faults.append(SpecError(shown(path), 0, 0, str(error)))
        else:
            name = shown(path)
            is_template = path.endswith(TEMPLATE_SUFFIXES)
            held = SpecText(name, text.removeprefix("\ufeff"), is_template, is_variables)
            read[path] = ReadFile(stamp, held, f"{name}\0{len(content)}\0".encode() + content)
    return SpecFolder(
        texts=tuple(each.text for each in read.values()),
        faults=tuple(faults),
        digest=hashlib.sha256(b"".join(each.said for each in read.values())).hexdigest(),
        is_listed=is_listed,
        read=read,
    )


def plain_files(specs_dir: Path) -> list[Path]:
    """Return the spec files that are no templates. Raises SpecError when the folder cannot be looked through."""
    try:
        return sorted(path for path in map(Path, _all_spec_files(os.fspath(specs_dir))) if is_plain(path))
    except OSError as error:
        folder = printable(error.filename or specs_dir)
        raise SpecError(
            folder, 0, 0, f"the folder cannot be looked through: {error.strerror or error}; check --specs"
        ) from error
    except _TooManyFiles as error:
        raise SpecError(printable(error.folder), 0, 0, str(error)) from error


def is_plain(path: Path) -> bool:
    """Return whether it is a spec file by its name: no template, and no variables of templates."""
    is_variables = path.name in (VARIABLES, _VARIABLES_MISNAMED) or path.parent.name == HOSTS
    return path.name.endswith(SPEC_SUFFIXES) and not is_variables


def read_plain(path: Path) -> str:
    """Read one spec file. Raises SpecError for what is no text of sensible size."""
    try:
        return _read(os.fspath(path))[0].decode()  # for who reads his own files, as himself
    except OSError as error:
        raise _unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from error
    except _Refused as error:
        raise SpecError(printable(path), 0, 0, str(error)) from error


class _Refused(Exception):
    pass


def _check_name(path: str, *, is_variables: bool) -> None:
    """Refuse what is nearly called as a file that is read: left out in silence, its networks would go."""
    name = os.path.basename(path)
    if is_variables and not name.endswith(".yaml"):
        raise _Refused(f"the file is not read: call it {os.path.splitext(name)[0]}.yaml")
    if not name.endswith(SPEC_SUFFIXES + TEMPLATE_SUFFIXES):
        suffix = next(".yaml.j2" if one in _MISNAMED else one for one in SPEC_LIKE if name.lower().endswith(one))
        raise _Refused(f"the file is not read: its name must end in {suffix}")


class _TooManyFiles(Exception):
    def __init__(self, folder: str, message: str) -> None:
        super().__init__(message)
        self.folder = folder


def printable(path: str | Path) -> str:
    """Return the path as text that every terminal and JSON writer takes, also when its bytes are no UTF-8."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)


def _variable_files(folder: str, host: str) -> Iterator[str]:
    names = [VARIABLES, _VARIABLES_MISNAMED]
    if host not in ("", ".", "..") and "/" not in host and "\0" not in host:
        names += [f"{HOSTS}/{host}.yaml", f"{HOSTS}/{host}.yml"]
    return (path for name in names if os.path.lexists(path := _inside(folder, name)))


def _all_spec_files(folder: str) -> Iterator[str]:
    """Yield all, or raise: were some left out in silence, their networks would go."""
    for number, path in enumerate(_spec_files(folder, set(), 0)):
        if number == FILES_MAX:
            raise _TooManyFiles(folder, f"the folder holds more than {FILES_MAX} spec files")
        yield path


def _spec_files(folder: str, seen: set[tuple[int, int]], depth: int) -> Iterator[str]:
    """Walk the folder, through symbolic links too, each folder once."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    if depth > FOLDERS_DEEP_MAX:
        raise _TooManyFiles(folder, f"folders are nested deeper than {FOLDERS_DEEP_MAX}")
    with os.scandir(folder) as entries:
        for entry in entries:
            path = _inside(folder, entry.name)
            if entry.name.startswith(".") or (depth == 0 and entry.name in (HOSTS, VARIABLES, _VARIABLES_MISNAMED)):
                continue
            if _is_folder(entry):
                yield from _spec_files(path, seen, depth + 1)
            elif entry.name.lower().endswith(SPEC_LIKE):
                yield path


def _inside(folder: str, name: str) -> str:
    return name if folder == "." else os.path.join(folder, name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A symbolic link that leads round in a circle is none: who reads it says so."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _read(path: str, folder: str = "", real: str = "") -> tuple[bytes, _Stamp | None]:
    """Read a regular file of bounded size, with its stamp from before; never waits for a writer of a pipe.

    folder: who else can write there leads to nothing outside of it but files of his own; real: the same without links, ending in /.
    """
    with opened(path) as file:
        if folder and not os.readlink(f"/proc/self/fd/{file.fileno()}").startswith(real):
            _refuse_files_of_others(file, path, folder)
        status = os.fstat(file.fileno())
        content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise _Refused(f"the file is larger than {BYTES_MAX >> 20} MiB: split it")
    is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
    return content, _stamp(status) if is_settled else None


def _refuse_files_of_others(file: BinaryIO, path: str, folder: str) -> None:
    """Faults and names show what a file holds, and we may be the only one who can read it."""
    strangers = set(_who_can_put_links(path, folder))
    if strangers and os.fstat(file.fileno()).st_uid not in strangers:
        raise _Refused(
            "it leads out of the folder, to a file that is not of those who can put links there: "
            "put a copy in its place, or keep others from writing to the folder"
        )


def _who_can_put_links(path: str, folder: str) -> Iterator[int]:
    """Yield the users, other than root and ourselves, who can change the way from the folder to the file; -1: many."""
    way = folder
    for part in ("", *os.path.relpath(path, folder).split("/")):
        way = os.path.join(way, part)
        status = os.lstat(way)
        if status.st_uid not in (0, os.geteuid()):
            yield status.st_uid
        elif stat.S_ISDIR(status.st_mode):
            is_groups = bool(status.st_mode & stat.S_IWGRP) and status.st_gid not in (0, os.getegid())
            if is_groups or status.st_mode & stat.S_IWOTH:
                yield -1


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _unreadable(path: str | Path, error: OSError) -> SpecError:
    message = f"cannot be read: {error.strerror or error}"
    return SpecError(printable(path), 0, 0, message, is_retryable=error.errno in PASSING)


def _not_utf8(path: str | Path, error: UnicodeDecodeError) -> SpecError:
    before = bytes(error.object[: error.start])
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return SpecError(printable(path), line, column, "not UTF-8: save the file in that encoding")
