"""Where Compose files are: those of a folder by their names, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.errors import ConfigError
from reconciler.spec.files import printable, read_plain

_NAMES: Final = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_OVERRIDES: Final = (
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)


def read_text(path: str) -> str | None:
    """Return what a file holds, None where there is none. Raises SpecError for what is no text of sensible size."""
    return read_plain(Path(path)).removeprefix("\ufeff") if os.path.lexists(path) else None


def default_files(folder: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that Compose takes where none is named: those of COMPOSE_FILE, else of the folder. Raises ConfigError."""
    named = environment.get("COMPOSE_FILE")
    if named:
        return tuple(filter(None, named.split(environment.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)))
    for names in (_NAMES, _OVERRIDES):
        found = [path for name in names if os.path.lexists(path := os.path.join(folder, name))]
        if names is _NAMES and not found:
            raise ConfigError(
                f"no Compose file in {printable(folder or '.')}: name it, as in `reconcile import compose FILE`"
            )
        if names is _NAMES:
            first = found[0]
        elif found:
            return (first, found[0])
    return (first,)
