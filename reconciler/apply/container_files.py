"""Write our text into the files that an engine mounts into a container; put back what it had written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reconciler.container_engine.files import Note, content_of, overwrite, read_note, remove_note, write_note
from reconciler.errors import ReconcilerError
from reconciler.model.objects import ContainerFile
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.settings import Settings


def apply_container_files(operations: Sequence[Operation], settings: Settings) -> list[Outcome]:
    """Carry out operations on ContainerFile; one outcome each, in the same order; never raises for one of them."""
    return [Outcome(operation=operation, error=_error_of(operation, settings.run_dir)) for operation in operations]


def _error_of(operation: Operation, run_dir: Path) -> ReconcilerError | None:
    before, after = operation.before, operation.after
    assert before is None or isinstance(before, ContainerFile)
    assert after is None or isinstance(after, ContainerFile)
    try:
        if before is not None and (after is None or after.path != before.path):
            _put_back(before, run_dir)
        if after is not None and operation.action is not Action.DELETE:
            _deliver(after, run_dir)
    except ReconcilerError as error:
        return error
    return None


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
