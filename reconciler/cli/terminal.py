"""What reaches a terminal: colours where a person watches, and nothing that a name or a message could use to take control."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final, TextIO

import click

from reconciler.cli.streams import drop_what_follows
from reconciler.errors import ReconcilerError

COLUMNS: Final = 80


def show(text: str) -> None:
    """Write data to stdout, at once. A reader that has seen enough and left is no error; a full disk is a ReconcilerError."""
    try:
        click.echo(text, nl=False)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_what_follows(sys.stdout)
    except OSError as error:
        drop_what_follows(sys.stdout)
        raise ReconcilerError(f"stdout cannot be written: {error.strerror}") from error


def printable(text: str, *, keep: str = "") -> str:
    """Show control and format characters (Unicode categories C and Z but for the space) as escapes. keep: those to leave."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def has_colours(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether to colour what goes to `stream` (no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()


def folded(text: str, indent: str) -> list[str]:
    """Break a line between words, so that it fits a terminal; what follows is indented further."""
    if text and len(indent) + len(text) <= COLUMNS and text == text.strip() and text.isprintable():
        return [f"{indent}{text}"]  # as textwrap gives it, after 90 µs
    import textwrap  # not by who prints a version

    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
