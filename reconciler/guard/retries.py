"""Who asked the watcher to try again what it left alone: <state-dir>/retry.json, read once and removed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from reconciler.errors import KernelError
from reconciler.guard.state_file import mapping_of, read_fields, remove, write_fields
from reconciler.model.objects import Unit


def ask_to_retry(state_dir: Path, names: Iterable[str]) -> None:
    """Ask that networks and attachments of these names are tried again at once. Adds to what was asked for and not read yet."""
    asked = mapping_of(read_fields(_file(state_dir)) or {}, "names")
    write_fields(_file(state_dir), {"names": {**asked, **dict.fromkeys(names, True)}})


def take_retries(state_dir: Path) -> frozenset[str]:
    """Return the names that were asked for since the last call, and forget them. One stat(2) when there is nothing.

    What cannot be forgotten is not obeyed: it would be again and again.
    """
    if not os.path.isfile(_file(state_dir)):
        return frozenset()
    asked = mapping_of(read_fields(_file(state_dir)) or {}, "names")
    try:
        remove(_file(state_dir))
    except KernelError:
        return frozenset()
    return frozenset(asked)


def is_meant(unit: Unit, names: frozenset[str]) -> bool:
    return not names.isdisjoint({unit.network, unit.attachment} - {""})


def _file(state_dir: Path) -> Path:
    return state_dir / "retry.json"
