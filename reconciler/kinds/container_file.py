"""The files that an engine mounts into a container: our text in there, and notes of what the engine had written before.

A file is written in place, as the engine does it: the container sees that very inode.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.errors import KernelError, NameConflict, kernel_errors, refuse_passing
from reconciler.kinds.row import Row, SeenApart, one_by_one
from reconciler.kinds.world import World
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import ContainerFile, Seen
from reconciler.model.observed import Keyed, keyed
from reconciler.model.plan import Operation
from reconciler.records.document import Misfit, json_value
from reconciler.records.file import content, make_folder, write_all

_FILE_MAX: Final = 1 << 20
_NOTE_MAX: Final = 8 << 20
_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Note(Struct, frozen=True, kw_only=True):
    """What to put back. path: of the engine's file; before: its text; process: for whose start the engine wrote that.

    ours: our text and the one before it, either of which may stand there now, or the first with a rest of the second behind it.
    """

    path: str
    process: NsRef
    before: str
    ours: tuple[str, ...]

    def is_ours(self, content: str) -> bool:
        """Return whether it is our text, or was being put back: what was before, and the rest of our text behind it."""
        found, before = content.encode(), self.before.encode()
        pairs = zip(found, before, strict=False)
        put_back = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(before)))
        is_half_way = put_back > 0 and any(found[put_back:] == each.encode()[put_back:] for each in self.ours)
        return is_half_way or content.startswith(self.ours)


def content_of(path: str) -> str | None:
    """Return the text of an engine's file; None when there is none, or it is none of the engine's.

    Raises KernelError for what may pass: that a file could not be read now does not say that it is not there.
    """
    with _not_there(f"read {path}"), open(os.open(path, os.O_RDONLY | _FLAGS), "rb", buffering=0) as file:
        return file.read(_FILE_MAX).decode(errors="replace") if _is_plain(file.fileno()) else None
    return None


def is_engines(path: str) -> bool:
    """Return whether there is such a file; so also of one that cannot be read now: who writes it will say so."""
    try:
        return content_of(path) is not None
    except KernelError:
        return True


@contextlib.contextmanager
def _not_there(what: str) -> Iterator[None]:
    """Go on behind it where there is nothing, or nothing for us. Raises KernelError for what may pass."""
    try:
        yield
    except OSError as error:
        refuse_passing(error, what)


def overwrite(path: str, content: str) -> None:
    """Raises NameConflict when there is something that no engine puts there, KernelError."""
    with kernel_errors(f"write {path}"):
        fd = os.open(path, os.O_WRONLY | _FLAGS)
        try:
            if not _is_plain(fd):
                raise NameConflict(f"{path} is no plain file of the engine; it is left as it is")
            data = content.encode()
            write_all(fd, data)
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)


def _is_plain(fd: int) -> bool:
    """Return whether it is a file with one name: a hard link could be anything."""
    found = os.fstat(fd)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def notes_folder(run_dir: Path) -> Path:
    return run_dir / "containers"


def write_note(run_dir: Path, attachment: str, name: str, note: Note) -> None:
    """Replace it at once. Raises KernelError."""
    folder = notes_folder(run_dir) / attachment
    draft = folder / f".{name}.new"
    text = json.dumps({"path": note.path, "process": note.process, "before": note.before, "ours": note.ours})
    with kernel_errors(f"write {draft}"):
        make_folder(folder, 0o700)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(folder / name)


def read_note(run_dir: Path, attachment: str, name: str) -> Note | None:
    """Return it; None when there is none that makes sense. Raises KernelError for what may pass."""
    place = notes_folder(run_dir) / attachment / name
    with _not_there(f"read {place}"), contextlib.suppress(Misfit):
        match json_value(content(place, flags=os.O_NOFOLLOW, bytes_max=_NOTE_MAX), _NOTE_MAX):
            case {"path": str(path), "process": str(process), "before": str(before), "ours": [str(), *_] as ours}:
                return Note(path=path, process=NsRef(process), before=before, ours=tuple(map(str, ours)))
    return None


def noted(run_dir: Path) -> Iterator[tuple[str, str, Note]]:
    """Yield attachment, name and content of every note, sorted. Raises KernelError."""
    folder = notes_folder(run_dir)
    for attachment in _entries(folder):
        for name in _entries(folder / attachment):
            note = None if name.startswith(".") else read_note(run_dir, attachment, name)
            if note is not None:
                yield attachment, name, note


def remove_note(run_dir: Path, attachment: str, name: str) -> None:
    """Raises KernelError. Gone already is fine."""
    folder = notes_folder(run_dir) / attachment
    with kernel_errors(f"remove {folder / name}"):
        for each in (folder / name, folder / f".{name}.new"):
            each.unlink(missing_ok=True)
    for empty in (folder, folder.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _entries(folder: Path) -> list[str]:
    with _not_there(f"list {folder}"):
        return sorted(os.listdir(folder))
    return []


def observe(run_dir: Path) -> Keyed:
    """Return the engines' files that we wrote to. Raises KernelError where our notes of them cannot be read."""
    return keyed(_files(run_dir))


def _files(run_dir: Path) -> Iterator[Seen]:
    for attachment, name, note in noted(run_dir):
        content = ""
        with contextlib.suppress(KernelError):  # who writes it anew will say so
            content = content_of(note.path) or ""
        file = ContainerFile(attachment=attachment, name=name, path=note.path, content=content, process=note.process)
        yield Seen(file, is_ours=True)


def _carry_out(operation: Operation, world: World) -> None:
    before, after = operation.before, operation.after
    assert after is None or isinstance(after, ContainerFile)
    if isinstance(before, ContainerFile) and (after is None or after.path != before.path):
        _put_back(before, world.settings.run_dir)
    if after is not None:
        _deliver(after, world.settings.run_dir)


def _deliver(file: ContainerFile, run_dir: Path) -> None:
    """Note what the engine wrote when the container started, then write. Podman does not write anew for each start."""
    present = content_of(file.path) or ""
    note = read_note(run_dir, file.attachment, file.name)
    before, ours = present, [file.content]
    if note is not None and note.path == file.path:
        ours.append(note.ours[0])
        if note.process == file.process or note.is_ours(present):
            before = note.before
    note = Note(path=file.path, process=file.process, before=before, ours=tuple(ours))
    write_note(run_dir, file.attachment, file.name, note)
    overwrite(file.path, file.content)


def _put_back(file: ContainerFile, run_dir: Path) -> None:
    """What is not our text any more is left, as when the engine wrote it anew."""
    note = read_note(run_dir, file.attachment, file.name)
    present = None if note is None else content_of(note.path)
    if note is not None and present is not None and note.is_ours(present):
        overwrite(note.path, note.before)
    remove_note(run_dir, file.attachment, file.name)


apply = one_by_one(_carry_out)
ROWS = (Row(ContainerFile, SeenApart(observe), apply),)
