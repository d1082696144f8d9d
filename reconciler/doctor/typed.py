"""The command line as it was typed, so that what is to be run next is meant for the same host and folders."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

_OWN: Final = {"--format": True, "--bundle": True, "--force": False}
"""Options of doctor alone, and whether a value follows."""


def typed() -> list[str]:
    """Return it as a shell would be told."""
    program, *arguments = sys.argv
    return [*([sys.executable, "-m", "reconciler"] if program.endswith("__main__.py") else [program]), *arguments]


def base(arguments: Sequence[str]) -> list[str]:
    """Return it without the command and what only that takes: another may follow."""
    found: list[str] = []
    left = list(arguments)
    is_before = True
    while left:
        word = left.pop(0)
        name, separator, _ = word.partition("=")
        if word == "doctor" and is_before:
            is_before = False
        elif name in _OWN:
            left = left[1:] if _OWN[name] and not separator else left
        else:
            found.append(word)
    return found
