"""Run the command line in a process of its own, as users do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.machine import Machine


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
        done = subprocess.run(
            [*self.command(specs), *arguments],
            env=command_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(exit_code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def command(self, specs: Path | None = None) -> list[str]:
        """Give the command with its global options, for a test that starts it in another way."""
        options = {
            "--specs": specs or self.specs,
            "--host-netns": self.machine.path(self.host_ns),
            "--state-dir": self.machine.state_dir,
            "--run-dir": self.machine.run_dir,
        }
        return [sys.executable, "-m", "reconciler", *(str(part) for pair in options.items() for part in pair)]

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
