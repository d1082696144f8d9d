"""What reaches a terminal: colours where a person watches, and nothing that a name or a message could use to take control."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

import click

from reconciler.errors import ReconcilerError


def show(text: str) -> None:
    """Write data to stdout, at once. A reader that has seen enough and left is no error; a full disk is a ReconcilerError."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_the_rest()
    except OSError as error:
        _drop_the_rest()
        raise ReconcilerError(f"stdout cannot be written: {error.strerror}") from error


def _drop_the_rest() -> None:
    """What is still buffered would fail again when the process ends, and spoil its exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def printable(text: str, *, keep: str = "") -> str:
    """Show control and format characters (Unicode categories C and Z but for the space) as escapes. keep: those to leave."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def has_colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether to colour what goes to `stream` (no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()
