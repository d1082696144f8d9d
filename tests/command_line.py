"""Run the command line in a process of its own, as users do; within tests that process is a fork (`tests.fork_server`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import fork_server
from tests.machine import Machine
from tests.waiting import patient


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run of the command line came to."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return f"exit {self.exit_code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def command_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the command line, colours, or a terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILE_")}
    return {**kept, "TERM": "dumb", "NO_COLOR": "1", **(extra or {})}


def start_command(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.Popen[Any]:
    """Start `reconcile ARGUMENTS`. streams: stdin, stdout, stderr, text, cwd of Popen."""
    environment = command_environment(env)
    if fork_server.is_running():
        return fork_server.ForkedPopen(arguments, env=environment, **streams)
    return subprocess.Popen([sys.executable, "-m", "reconciler", *arguments], env=environment, **streams)


def run_command(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float = 120, **streams: Any
) -> Ran:
    """Run `reconcile ARGUMENTS` without input and give exit code and output; never raises for a failure."""
    captured = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with start_command(arguments, env=env, **captured | streams) as process:
        try:
            out, err = process.communicate(timeout=patient(timeout_s))
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return Ran(exit_code=process.returncode, stdout=out, stderr=err)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """Runs `reconcile` on one host. Folders are the machine's; `specs` may be written to before."""

    machine: Machine
    host_ns: str
    specs: Path

    def __call__(
        self, *arguments: str, specs: Path | None = None, env: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> Ran:
        """Run it and give exit code and output; never raises for a failure. `arguments` come after the global options."""
        return run_command([*self.options(specs), *arguments], env=env, timeout_s=timeout_s)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[Any]:
        """Start it, as for `watch`, and do not wait. streams: stdin, stdout, stderr, text of Popen."""
        return start_command([*self.options(), *arguments], env=env, **streams)

    def options(self, specs: Path | None = None) -> list[str]:
        """Give the global options."""
        options = {
            "--specs": specs or self.specs,
            "--host-netns": self.machine.path(self.host_ns),
            "--state-dir": self.machine.state_dir,
            "--run-dir": self.machine.run_dir,
        }
        return [str(part) for pair in options.items() for part in pair]

    def command(self, specs: Path | None = None) -> list[str]:
        """Give a command with its global options that is a true start of Python: for tests of what only that shows."""
        return [sys.executable, "-m", "reconciler", *self.options(specs)]

    def ok(self, *arguments: str, specs: Path | None = None) -> Ran:
        """Run it and insist on exit code 0."""
        done = self(*arguments, specs=specs)
        assert done.exit_code == 0, done.text
        return done

    def write(self, **files: str) -> None:
        """Replace the spec folder's content: `write(web="networks: …")` makes web.yaml."""
        shutil.rmtree(self.specs, ignore_errors=True)
        self.specs.mkdir(parents=True)
        for name, text in files.items():
            (self.specs / f"{name}.yaml").write_text(text)
