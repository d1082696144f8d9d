"""Who asked the watcher to try again what it left alone: <state-dir>/retry.json, read once and removed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from reconciler.errors import KernelError
from reconciler.guard.state_file import alone, read_fields, remove, write_fields
from reconciler.model.objects import Unit
from reconciler.records.lenient import mapping_of


def ask_to_retry(state_dir: Path, names: Iterable[str]) -> None:
    """Ask that networks and attachments of these names are tried again at once. Adds to what was asked for and not read yet."""
    with alone(state_dir):
        asked = mapping_of(read_fields(_file(state_dir)) or {}, "names")
        write_fields(_file(state_dir), {"names": {**asked, **dict.fromkeys(names, True)}})


def take_retries(state_dir: Path) -> frozenset[str]:
    """Return the names that were asked for since the last call, and forget them. One stat(2) when there is nothing.

    The file is put aside before it is read: a request that comes meanwhile is written anew and stays for the next call.
    What cannot be put aside is not obeyed: it would be again and again.
    """
    asked, taken = _file(state_dir), state_dir / ".retry.json.taken"
    if not os.path.isfile(asked):
        return frozenset()
    try:
        asked.rename(taken)
    except OSError:
        return frozenset()
    names = mapping_of(read_fields(taken) or {}, "names")
    with suppress(KernelError):  # the next request takes its place
        remove(taken)
    return frozenset(names)


def is_meant(unit: Unit, names: frozenset[str]) -> bool:
    return not names.isdisjoint({unit.network, unit.attachment} - {""})


def _file(state_dir: Path) -> Path:
    return state_dir / "retry.json"
