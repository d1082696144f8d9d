"""The files of sandboxes below the run folder, and the links to them from where ip-netns(8) looks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reconciler.model.objects import SandboxFile, Seen
from reconciler.model.wanted import NetworkMode, SandboxKind, WantedState
from reconciler.sandbox.compile import ENVIRONMENT
from reconciler.settings import Settings

LINKED_NAMES = ("hosts", "resolv.conf")
NAMES = (*LINKED_NAMES, ENVIRONMENT)
_FILE_MAX = 1 << 20

_Place = tuple[str, str]
"""Attachment and file name."""


def sandbox_files(expected: Mapping[str, str], settings: Settings) -> Iterator[Seen]:
    """Give the files there are, those of attachments that are gone too, and what is in the way of a link that is expected."""
    folder = settings.run_dir / "sandboxes"
    return _files(settings, expected, _folders(folder), _folders(settings.netns_etc_dir))


def files_of(expected: Mapping[str, str], settings: Settings) -> Iterator[Seen]:
    """Give the same of these attachments alone."""
    return _files(settings, expected, sorted(expected.values()), sorted(expected))


def _files(
    settings: Settings, expected: Mapping[str, str], attachments: Iterable[str], netns_names: Iterable[str]
) -> Iterator[Seen]:
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
        yield Seen(file, is_ours=place not in foreign)


def expected_links(wanted: WantedState) -> Mapping[str, str]:
    """Give the attachment for each named namespace."""
    return {
        attachment.sandbox.value: attachment.name
        for attachment in wanted.attachments
        if attachment.sandbox.kind is SandboxKind.NETNS and attachment.mode is not NetworkMode.HOST
    }


def _contents(folder: Path, attachments: Iterable[str]) -> Iterator[tuple[_Place, str]]:
    for attachment in attachments:
        for name in NAMES:
            content = _content(f"{folder}/{attachment}/{name}")
            if content is not None:
                yield (attachment, name), content


def _links(
    settings: Settings, expected: Mapping[str, str], netns_names: Iterable[str]
) -> tuple[dict[_Place, str], dict[_Place, str]]:
    """Give the namespace that links to each file, and the one where something foreign is in the way of the link.

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
    """Give the attachment whose file a link of ours leads to; None when it is no such link."""
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
    except OSError:
        return []


def _content(path: str) -> str | None:
    """Give a file's text; None when it is not there. What is no plain text file shows as empty, so it will be written anew."""
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
