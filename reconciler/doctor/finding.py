"""What doctor says. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct


class Severity(StrEnum):
    """ERROR: something will not work. WARNING: it may not, sometimes or soon. NOTE: it does, and is to be known."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(Struct, frozen=True, kw_only=True):
    """what: is the matter. why: that matters. mend: commands of a shell, for root, in this order; none where a person must choose.

    check: which one found it, by name; put in by who runs them.
    """

    severity: Severity
    what: str
    why: str
    mend: tuple[str, ...] = ()
    check: str = ""


def error(what: str, why: str, *mend: str) -> Finding:
    return Finding(severity=Severity.ERROR, what=what, why=why, mend=mend)


def warning(what: str, why: str, *mend: str) -> Finding:
    return Finding(severity=Severity.WARNING, what=what, why=why, mend=mend)


def note(what: str, why: str, *mend: str) -> Finding:
    return Finding(severity=Severity.NOTE, what=what, why=why, mend=mend)


def command(*words: str) -> str:
    """Return a command of a shell, quoted where names make that needed."""
    return shlex.join(words)


def written(path: str, lines: Iterable[str], *, is_appended: bool = False) -> str:
    """Return the command that writes these lines to a file."""
    quoted = " ".join(map(shlex.quote, lines))
    return f"printf '%s\\n' {quoted} {'>>' if is_appended else '>'} {shlex.quote(path)}"
