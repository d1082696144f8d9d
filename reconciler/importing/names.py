"""Names of a source -> names that specs take, each its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from reconciler.importing.values import NotCarried
from reconciler.model.identifiers import NAME_MAX
from reconciler.spec.fields import parse_served_name

_LABEL_MAX: Final = 63
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_.-]+")


def spec_names(names: Iterable[str]) -> Mapping[str, str]:
    """Return what each is called in the specs: as it is where they take that, else near to it, with a number where two meet."""
    given = list(dict.fromkeys(names))
    found = {name: name for name in given if _is_taken(name)}
    taken = set(found)
    for name in given:
        if name not in found:
            found[name] = _free(_near(name), taken)
            taken.add(found[name])
    return found


def renamed(where: str, before: str, after: str) -> tuple[NotCarried, ...]:
    """Return what to tell of a name: nothing where it is as it was."""
    if before == after:
        return ()
    why = f"specs take letters, digits, '_', '.' and '-', and it is looked up by DNS: it is called '{after}' here"
    return (NotCarried(where=where, what=f"the name {before!r}", why=why),)


def _is_taken(name: str) -> bool:
    try:
        parse_served_name(name)
    except ValueError:
        return False
    return True


def _near(name: str) -> str:
    plain = _OTHER.sub("-", name).strip("-_.")
    labels = (label[:_LABEL_MAX] for label in plain.split(".") if label)
    return ".".join(labels)[: NAME_MAX - 8].rstrip(".") or "unnamed"


def _free(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name[: _LABEL_MAX - 8] if len(name) > _LABEL_MAX - 8 and '.' not in name else name}-{number}"
    return found
