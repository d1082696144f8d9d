"""`status`, `events`, `completion` and `manual`: what the state folder says, and what the commands say of themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from reconciler.cli import main, root
from reconciler.errors import (
    ExitCode,
    FightingWriter,
    NameConflict,
    ReconcilerError,
    RolledBack,
    SandboxMissing,
    SpecError,
    Suspended,
)
from reconciler.kernel.lock import WATCHER, HostLock
from reconciler.model.objects import HOST_UNIT, Unit
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.status.tell import Status
from reconciler.watch.journal import Journal
from tests.command_line import command_environment
from tests.fakes.reports import FRONT, WEB, made, report
from tests.waiting import exit_code_of

ROOT = Path(__file__).parent.parent.parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("RECONCILE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("RECONCILE_HOST", "alpha")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return (code, *capsys.readouterr())

    return call


def written(state_dir: Path, found: Report) -> None:
    settings = Settings(
        host="alpha", specs_dir=state_dir / "specs", state_dir=state_dir, status_dir=state_dir / "status"
    )
    Status(settings).told(found)


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("   ") if cell.strip()]


def test_status_of_a_host_that_is_as_declared(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report())

    code, out, _ = run("status")

    assert code == ExitCode.OK
    watcher, _, head, row = out.splitlines()
    assert watcher == "watcher: none runs, so nothing is repaired between passes"
    assert columns(head) == ["NETWORK", "READY", "AGE", "REVISION", "ENDPOINTS", "DRIFT-REPAIRED", "MESSAGE"]
    assert columns(row)[:2] == ["front", "True"]
    assert re.fullmatch(r"\d+[smhd]", columns(row)[2])
    assert columns(row)[3:] == ["-", "1", "0", "-"]


@pytest.mark.parametrize(
    ("unit", "error", "word"),
    [
        (FRONT, NameConflict("docker0 is\x1b taken"), "False (Stalled: OwnershipConflict)"),
        (FRONT, FightingWriter("put back 6 times"), "False (Stalled: FightingWriter)"),
        (FRONT, SandboxMissing("no netns web"), "False (SandboxMissing)"),
        (FRONT, Suspended("by root until noon: upgrade"), "Unknown (Suspended)"),
    ],
    ids=["stalled", "braked", "reconciling", "suspended"],
)
def test_status_of_a_network_that_is_not_ready(
    run: Run, tmp_path: Path, unit: Unit, error: ReconcilerError, word: str
) -> None:
    written(tmp_path, report(problems=((unit, error),)))

    code, out, _ = run("status")

    row = columns(out.splitlines()[-1])
    assert code == ExitCode.FAILED
    assert (row[1], row[-1]) == (word, str(error).replace("\x1b", "\\x1b"))
    assert "\x1b" not in out


def test_status_tells_a_remark_on_what_is_as_declared(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report(remarks=((FRONT, "the chain ip filter FORWARD drops"),)))

    code, out, _ = run("status")

    assert code == ExitCode.OK
    assert columns(out.splitlines()[-1])[-1] == "as declared, but the chain ip filter FORWARD drops"


@pytest.mark.parametrize(
    "error", [RolledBack("specs abc were rolled back: nft is gone"), Suspended("by root since noon: upgrade")], ids=str
)
def test_status_tells_first_what_concerns_the_whole_host(run: Run, tmp_path: Path, error: ReconcilerError) -> None:
    written(tmp_path, report(problems=((HOST_UNIT, error),)))

    code, out, _ = run("status")

    assert code == ExitCode.FAILED
    assert out.splitlines()[1].startswith("host alpha: ")
    assert out.splitlines()[1].endswith(f": {error}")


def test_status_names_the_watcher_that_runs(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report())

    with HostLock(WATCHER):
        _, out, _ = run("status")

    assert out.splitlines()[0].startswith(f"watcher: process {os.getpid()} of user ")


def test_status_names_an_attachment_that_is_not_ready(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report(problems=((WEB, NameConflict("held by db")),)))

    code, out, _ = run("status")

    assert code == ExitCode.FAILED
    assert columns(out.splitlines()[-1])[:2] == ["web", "False (Stalled: OwnershipConflict)"]
    assert out.splitlines()[-1].endswith("held by db")


def test_status_names_faults_of_the_specs(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report(faults=(SpecError("a.yaml", 3, 1, "what is this?"),)))

    code, out, _ = run("status")

    assert code == ExitCode.FAILED
    assert out.splitlines()[-1] == "a.yaml:3:1: what is this?"


def test_status_shows_drift_repaired_and_no_error_that_was_mended(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report(problems=((FRONT, NameConflict("taken")),)))
    written(tmp_path, report())
    written(tmp_path, report(made()))

    code, out, _ = run("status")

    row = columns(out.splitlines()[-1])
    assert (code, row[1], row[5:]) == (ExitCode.OK, "True", ["1", "-"])


def test_status_as_json_is_the_summary_with_endpoints(run: Run, tmp_path: Path) -> None:
    written(tmp_path, report())

    code, out, _ = run("status", "--output", "json")

    summary = json.loads((tmp_path / "status" / "summary.json").read_text())
    summary["networks"]["front"]["endpoints"] = 1
    assert (code, json.loads(out)) == (ExitCode.OK, summary)


def test_status_before_any_pass_says_so(run: Run) -> None:
    code, out, err = run("status")

    assert (code, out) == (ExitCode.FAILED, "")
    assert "no status below" in err


@pytest.mark.parametrize("text", ["{}", "[]", '{"networks": []}', '{"conditions": [1], "networks": {"a": 1, "b": {}}}'])
def test_status_survives_a_damaged_summary(run: Run, tmp_path: Path, text: str) -> None:
    written(tmp_path, report())
    (tmp_path / "status" / "summary.json").write_text(text)

    assert run("status")[0] == ExitCode.FAILED


def test_events_are_printed_as_they_were_written(run: Run, tmp_path: Path) -> None:
    Journal(tmp_path).record(report(made()))

    code, out, _ = run("events")

    assert (code, out) == (ExitCode.OK, (tmp_path / "events.ndjson").read_text())


def test_events_of_one_network(run: Run, tmp_path: Path) -> None:
    Journal(tmp_path).record(report(made(), problems=((WEB, NameConflict("held")),)))

    _, out, _ = run("events", "--network", "front")

    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["Bridge"]


@pytest.mark.parametrize(
    ("since", "count"),
    [
        (lambda _: "90m", 1),
        (lambda _: "3d", 2),
        (lambda now: (now - timedelta(minutes=90)).isoformat(), 1),
        (lambda now: (now - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ"), 2),
        (lambda now: (now + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S"), 0),
    ],
    ids=["minutes", "days", "with a zone", "Z", "without a zone"],
)
def test_events_since_a_time(run: Run, tmp_path: Path, since: Callable[[datetime], str], count: int) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(hours=2), now - timedelta(minutes=5)]
    lines = [json.dumps({"time": time.isoformat(), "event": "applied"}) for time in times]
    (tmp_path / "events.ndjson").write_text("\n".join([*lines, '{"event": "without a time"}', ""]))

    code, out, _ = run("events", "--since", since(now))

    assert (code, len(out.splitlines())) == (ExitCode.OK, count)


@pytest.mark.parametrize("since", ["yesterday", "0m", "2026-13-01", ""])
def test_no_time_is_bad_usage(run: Run, since: str) -> None:
    assert run("events", "--since", since)[0] == ExitCode.USAGE


def test_events_before_any_pass_are_none(run: Run) -> None:
    assert run("events") == (ExitCode.OK, "", "")


def _following(state_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--state-dir", str(state_dir), "events", "--follow"],
        env=command_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_followed_events_come_when_they_happen_until_somebody_interrupts(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(made()))
    with _following(tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert json.loads(process.stdout.readline())["event"] == "applied"
            Journal(tmp_path).record(report(made()))
            assert json.loads(process.stdout.readline())["event"] == "repaired"
        finally:
            process.send_signal(signal.SIGINT)
        assert (exit_code_of(process), process.stderr.read()) == (ExitCode.OK, "")


def test_following_ends_when_the_reader_leaves(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(made()))
    with _following(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()

        assert exit_code_of(process) == ExitCode.OK


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_command(run: Run, shell: str) -> None:
    code, out, _ = run("completion", shell)

    assert code == ExitCode.OK
    assert "_RECONCILE_COMPLETE" in out


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    command = tmp_path / "reconcile"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    command.chmod(0o755)
    script = """
        eval "$(reconcile completion bash)"
        COMP_WORDS=(reconcile ev); COMP_CWORD=1; _reconcile_completion reconcile; echo "${COMPREPLY[@]}"
        COMPREPLY=(); COMP_WORDS=(reconcile events --f); COMP_CWORD=2; _reconcile_completion reconcile; echo "${COMPREPLY[@]}"
    """

    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**command_environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stdout.splitlines() == ["events", "--follow"]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (["network", "inspect"], ["back", "front"]),
        (["network", "inspect", "front"], ["back"]),
        (["attachment", "inspect"], ["web"]),
        (["exec"], ["web"]),
        (["suspend"], ["back", "front"]),
        (["resume"], ["front"]),
        (["retry"], ["back", "front", "web"]),
        (["--status-dir", "/nonexistent", "retry"], []),
        (["--prune-limit", "many", "retry"], []),
    ],
    ids=" ".join,
)
def test_shells_complete_what_the_status_tells_of(run: Run, tmp_path: Path, line: list[str], names: list[str]) -> None:
    written(tmp_path, report(networks=("front", "back")))
    run("suspend", "front")
    shell = ShellComplete(root.reconcile, {}, "reconcile", "_RECONCILE_COMPLETE")

    assert [item.value for item in shell.get_completions(line, "")] == names
    assert [item.value for item in shell.get_completions(line, "fr")] == [name for name in names if name == "front"]


def test_manual_page_in_examples_is_current(run: Run) -> None:
    code, out, _ = run("manual")

    assert code == ExitCode.OK
    page = ROOT / "examples" / "man" / "reconcile.1"
    assert page.read_text() == out, f"`reconcile manual > {page.relative_to(ROOT)}` makes it so"


@pytest.mark.parametrize(("shell", "file"), [("bash", "reconcile"), ("zsh", "_reconcile"), ("fish", "reconcile.fish")])
def test_completions_that_are_installed_are_current(run: Run, shell: str, file: str) -> None:
    _, out, _ = run("completion", shell)

    assert (ROOT / "examples" / "completions" / file).read_text() == out


def test_what_is_installed_beside_the_package_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    files = [file for group in project["tool"]["setuptools"]["data-files"].values() for file in group]

    assert {"reconcile.1", "reconciler-watch.service", "reconciler.schema.json"} <= {Path(file).name for file in files}
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_manual_page_describes_every_command_and_exit_code(run: Run) -> None:
    _, help_, _ = run("--help")
    _, page, _ = run("manual")

    lines = help_.partition("Commands:\n")[2].splitlines()
    commands = [line.split()[0] for line in lines if re.match(r"  [a-z]+  ", line)]
    assert len(commands) > 10
    for command in commands:
        assert any(line.startswith(f".SS reconcile {command}") for line in page.splitlines()), command
    for code in ExitCode:
        assert f"\\fB{int(code)}\\fR\n" in page


def test_manual_page_has_no_line_that_roff_would_take_for_its_own(run: Run) -> None:
    _, page, _ = run("manual")

    macros = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert macros <= {".TH", ".SH", ".SS", ".TP", ".PP", ".BR"}
