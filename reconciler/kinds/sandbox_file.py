"""The files of sandboxes below the run folder, and the links to them from where ip-netns(8) looks.

Where they are written no link is followed below the two folders: every step is taken from an open folder, by name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from reconciler.errors import NameConflict, kernel_error, refuse_passing
from reconciler.incremental import Each, Table, Union
from reconciler.kinds.row import Row, SeenApart, one_by_one
from reconciler.kinds.world import World
from reconciler.model.objects import Key, SandboxFile, Seen
from reconciler.model.observed import Keyed
from reconciler.model.plan import Operation
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind
from reconciler.records.file import make_folder, write_all
from reconciler.sandbox.compile import ENVIRONMENT
from reconciler.settings import Settings

LINKED_NAMES = ("hosts", "resolv.conf")
NAMES = (*LINKED_NAMES, ENVIRONMENT)
_FILE_MAX = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_Place = tuple[str, str]
"""Attachment and file name."""


class SandboxFiles:
    """The files there are, those of attachments that are gone too, and what is in the way of a link that is expected."""

    def __init__(self) -> None:
        self._each: Each[tuple[str], AttachmentWanted, Mapping[str, str]] = Each(lambda each: (each.name,))
        self._links: Union[tuple[str], str, str] = Union()
        self._expected: Table[str, str] = Table()
        self._all: Union[tuple[str], Key, Seen] = Union()
        self._are_read = False
        self._touched: set[str] = set()
        self._names: set[str] = set()

    def touched(self, file: SandboxFile) -> None:
        """Look again at the files of its attachment."""
        self._touched.add(file.attachment)
        self._names.add(file.netns_name)

    def forget(self) -> None:
        self._are_read = False

    def look(self, attachments: Sequence[AttachmentWanted], settings: Settings) -> Table[Key, Seen]:
        """Return them by key. Unless all are forgotten only those of attachments are read that came, went or were touched."""
        self._expect(attachments)
        touched, names = self._touched, self._names
        self._touched, self._names = set(), set()
        if not self._are_read:
            attached, named = _folders(settings.run_dir / "sandboxes"), _folders(settings.netns_etc_dir)
            everything = self._all(_by_attachment(_files(settings, self._expected, attached, named)))
            self._are_read = True
            return everything
        expected = self._expected.index(_attachment)
        names |= {name for attachment in touched for name in expected.get(attachment, ())}
        found = _by_attachment(_files(settings, self._expected, sorted(touched), sorted(names - {""})))
        return self._all.updated({(name,): found.get((name,), {}) for name in touched}, ())

    def _expect(self, attachments: Sequence[AttachmentWanted]) -> None:
        before, self._expected = self._expected, self._links(self._each(attachments, _expected_link))
        for name in self._expected.changed_since(before):
            self._names.add(name)
            self._touched.update(table[name] for table in (before, self._expected) if name in table)


def _attachment(_: str, attachment: str) -> tuple[str]:
    return (attachment,)


def _by_attachment(files: Iterable[tuple[str, Seen]]) -> dict[tuple[str], Keyed]:
    found: defaultdict[tuple[str], dict[Key, Seen]] = defaultdict(dict)
    for attachment, seen in files:
        found[attachment,][seen.object.key] = seen
    return dict(found)


def _files(
    settings: Settings, expected: Mapping[str, str], attachments: Iterable[str], netns_names: Iterable[str]
) -> Iterator[tuple[str, Seen]]:
    """Yield the files with the attachments that they are of."""
    contents = dict(_contents(settings.run_dir / "sandboxes", attachments))
    links, foreign = _links(settings, expected, netns_names)
    for place in sorted({*contents, *links, *foreign}):
        attachment, name = place
        file = SandboxFile(
            attachment=attachment,
            name=name,
            content=contents.get(place, ""),
            netns_name=foreign.get(place) or links.get(place, ""),
        )
        yield attachment, Seen(file, is_ours=place not in foreign)


def _expected_link(attachment: AttachmentWanted) -> Mapping[str, str]:
    """Return the attachment by the named namespace that is its sandbox."""
    is_named = attachment.sandbox.kind is SandboxKind.NETNS and attachment.mode is not NetworkMode.HOST
    return {attachment.sandbox.value: attachment.name} if is_named else {}


def _contents(folder: Path, attachments: Iterable[str]) -> Iterator[tuple[_Place, str]]:
    for attachment in attachments:
        for name in NAMES:
            content = _content(f"{folder}/{attachment}/{name}")
            if content is not None:
                yield (attachment, name), content


def _links(
    settings: Settings, expected: Mapping[str, str], netns_names: Iterable[str]
) -> tuple[dict[_Place, str], dict[_Place, str]]:
    """Return the namespace that links to each file, and the one where something foreign is in the way of the link.

    When several link to one file, one that is not wanted wins: it is to go, and the wanted one is made again without harm.
    """
    ours: dict[_Place, str] = {}
    foreign: dict[_Place, str] = {}
    for netns_name in netns_names:
        for name in LINKED_NAMES:
            path = f"{settings.netns_etc_dir}/{netns_name}/{name}"
            owner, wanted_by = _linked_attachment(path, name, settings.run_dir), expected.get(netns_name)
            if owner is not None:
                if owner == wanted_by:
                    ours.setdefault((owner, name), netns_name)
                else:
                    ours[owner, name] = netns_name
            elif wanted_by is not None and os.path.lexists(path):
                foreign[wanted_by, name] = netns_name
    return ours, foreign


def _linked_attachment(path: str, name: str, run_dir: Path) -> str | None:
    """Return the attachment whose file a link of ours leads to; None when it is no such link."""
    try:
        target = os.readlink(path)
    except OSError:
        return None
    folder, _, file = target.rpartition("/")
    parent, _, attachment = folder.rpartition("/")
    return attachment if file == name and parent == f"{run_dir}/sandboxes" else None


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError as error:
        refuse_passing(error, f"list {path}")
        return []


def _content(path: str) -> str | None:
    """Return a file's text; None when it is not there. What is no plain text file shows as empty, so it will be written anew."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:
        return os.read(fd, _FILE_MAX).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _carry_out(operation: Operation, world: World) -> None:
    before, after = operation.before, operation.after
    assert before is None or isinstance(before, SandboxFile)
    try:
        if isinstance(after, SandboxFile):
            _write(before, after, world.settings)
        elif before is not None:
            _delete(before, world.settings)
    except OSError as cause:
        detail = f"{cause.filename}: {cause.strerror}"
        raise kernel_error(cause.errno or errno.EIO, operation.describe(), detail) from cause


def _write(before: SandboxFile | None, after: SandboxFile, settings: Settings) -> None:
    if before is None or before.content != after.content:
        with _made_folder(settings.run_dir / "sandboxes", after.attachment) as folder:
            _put(folder, after.name, after.content.encode())
    if before is not None and before.netns_name and before.netns_name != after.netns_name:
        _unlink_from(settings, before)
    if after.netns_name:
        with _made_folder(settings.netns_etc_dir, after.netns_name) as folder:
            _link(folder, after, settings)


def _put(folder: int, name: str, content: bytes) -> None:
    """Write in place: running processes may have this very file mounted over theirs, as the engine does it.

    Written before it is cut, so that a reader finds neither less than the shorter nor nothing at all.
    """
    fd = os.open(name, _WRITE, 0o644, dir_fd=folder)
    try:
        write_all(fd, content)
        os.ftruncate(fd, len(content))
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def _link(folder: int, file: SandboxFile, settings: Settings) -> None:
    target = _target(file, settings)
    try:
        os.symlink(target, file.name, dir_fd=folder)
    except FileExistsError as cause:
        if _read_link(folder, file.name) != target:
            path = settings.netns_etc_dir / file.netns_name / file.name
            raise NameConflict(f"{path} is in the way and not ours; remove it") from cause


def _delete(file: SandboxFile, settings: Settings) -> None:
    if file.netns_name:
        _unlink_from(settings, file)
    with _folder(settings.run_dir / "sandboxes", file.attachment) as folder:
        if folder is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name, dir_fd=folder)
    _remove_if_empty(settings.run_dir / "sandboxes" / file.attachment)


def _unlink_from(settings: Settings, file: SandboxFile) -> None:
    """Take our link away, and its folder when nothing else is in it."""
    with _folder(settings.netns_etc_dir, file.netns_name) as folder:
        if folder is None or _read_link(folder, file.name) != _target(file, settings):
            return
        os.unlink(file.name, dir_fd=folder)
    _remove_if_empty(settings.netns_etc_dir / file.netns_name)


def _target(file: SandboxFile, settings: Settings) -> str:
    return str(settings.run_dir / "sandboxes" / file.attachment / file.name)


def _read_link(folder: int, name: str) -> str | None:
    """Return where a link leads; None when there is none, or something else. Raises OSError."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _made_folder(parent: Path, name: str) -> Iterator[int]:
    """Open `parent`/`name`, made when it is not there. Raises OSError, as when it is a link or no folder."""
    make_folder(parent)
    above = os.open(parent, _FOLDER)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=above)
        folder = os.open(name, _FOLDER, dir_fd=above)
    finally:
        os.close(above)
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def _folder(parent: Path, name: str) -> Iterator[int | None]:
    """Open `parent`/`name`; None when it is not there. Raises OSError, as when it is a link or no folder."""
    try:
        above = os.open(parent, _FOLDER)
    except FileNotFoundError:
        yield None
        return
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        yield None
        return
    finally:
        os.close(above)
    try:
        yield folder
    finally:
        os.close(folder)


apply = one_by_one(_carry_out)
ROWS = (Row(SandboxFile, SeenApart(SandboxFiles), apply),)
