"""Logs, colours and the progress bar: what a person sees, and when."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from reconciler.cli.logs import configure_logs
from reconciler.cli.progress import progress_bar
from reconciler.cli.root import main
from reconciler.cli.table import table
from reconciler.cli.terminal import has_colours, printable
from reconciler.errors import ExitCode
from reconciler.model.identifiers import HOST
from reconciler.model.objects import LinkUp
from reconciler.model.plan import Action, Operation

OPERATION = Operation(
    action=Action.CREATE, before=None, after=LinkUp(ns=HOST, ifname="lo"), unit=LinkUp(ns=HOST, ifname="lo").unit
)


class Terminal(io.StringIO):
    """A stream that a person watches."""

    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let a person watch stderr; to be called in the test itself, as pytest puts its own stream there before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("reconciler.cli.progress.time.monotonic", lambda: self.now)


def test_bar_of_a_short_pass_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, screen = Clock(monkeypatch), terminal(monkeypatch)

    with progress_bar(is_wanted=True) as bar:
        assert bar is not None
        for done in range(1, 11):
            clock.now += 0.09
            bar(done, 10, OPERATION)

    assert screen.getvalue() == ""


def test_bar_of_a_long_pass_is_drawn_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, screen = Clock(monkeypatch), terminal(monkeypatch)

    with progress_bar(is_wanted=True) as bar:
        assert bar is not None
        clock.now += 1.1
        bar(5, 10, OPERATION)
        assert "50%" in screen.getvalue()
        drawn = screen.getvalue()
        bar(6, 10, OPERATION)
        assert screen.getvalue() == drawn, "not more often than ten times a second"
        bar(10, 10, OPERATION)

    assert "100%" in screen.getvalue()


@pytest.mark.parametrize(("is_wanted", "is_watched"), [(True, False), (False, True)], ids=["no terminal", "not wanted"])
def test_bar_is_for_who_watches_and_wants_it(
    is_wanted: bool, is_watched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if is_watched else io.StringIO())

    with progress_bar(is_wanted=is_wanted) as bar:
        assert bar is None


def shown(verbosity: int, log_format: str = "text") -> str:
    configure_logs(verbosity, log_format)
    logging.getLogger("reconciler.operations").info("operation")
    logging.getLogger("reconciler.pipeline").debug("detail")
    logging.getLogger("reconciler").info("sum")
    logging.getLogger("reconciler").warning("retry")
    logging.getLogger("reconciler").error("mend")
    stream = sys.stderr
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("verbosity", "lines"),
    [
        (-3, ["error: mend"]),
        (-2, ["error: mend"]),
        (-1, ["warning: retry", "error: mend"]),
        (0, ["operation", "sum", "warning: retry", "error: mend"]),
        (1, ["operation", "detail", "sum", "warning: retry", "error: mend"]),
    ],
)
def test_log_shows_what_the_verbosity_asks_for(
    verbosity: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    assert shown(verbosity).splitlines() == lines


def test_log_on_a_terminal_leaves_single_operations_to_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)

    assert shown(0).splitlines() == ["sum", "warning: retry", "error: mend"]


def test_log_on_a_terminal_shows_operations_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)

    assert "operation" in shown(1)


def test_json_log_on_a_terminal_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal(monkeypatch)

    assert len(shown(0, "json").splitlines()) == 4


@pytest.mark.parametrize(
    ("environment", "is_coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "NO_COLOR", "dumb"],
)
def test_colours_are_for_terminals_that_want_them(environment: dict[str, str], is_coloured: bool) -> None:
    assert has_colours(Terminal(), environment) == is_coloured
    assert not has_colours(io.StringIO(), environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain text", "plain text"), ("ä→", "ä→"), ("\x1b[2J", "\\x1b[2J"), ("a\u202eb", "a\\u202eb"), ("a\nb", "a\\nb")],
)
def test_control_characters_are_shown_as_escapes(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_table_has_the_head_alone_when_there_are_no_rows() -> None:
    assert table(("NETWORK ID", "NAME"), []) == "NETWORK ID   NAME\n"


def test_what_was_typed_wrongly_controls_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["version", "\x1b]0;x\x07", "\x9b"])

    assert code == ExitCode.USAGE
    assert "\\x1b]0;x\\x07 \\x9b" in (said := capsys.readouterr().err)
    assert all(line.isprintable() for line in said.split("\n"))
