"""A stage for demonstrations: shows each command with its output, and insists that it comes out as it should."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.command_line import Ran, run_command
from tests.machine import Machine
from tests.private_namespaces import NoPrivateMachine, enter_private_machine
from tests.waiting import patient

PING: Final = ("ping", "-c", "1", "-W", "1")

Expectation = Callable[[str], bool]


class DemoFailed(Exception):
    """An expectation was not met."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the play takes place. settings: environment of the command line."""

    machine: Machine
    settings: Mapping[str, str]

    def say(self, text: str) -> None:
        print(f"\n{bold('# ' + text)}")

    def run(self, *command: str, exit_code: int = 0, expect: Expectation | None = None) -> None:
        """Show a command and its output; fail unless it exits as it should and prints what it should."""
        print(bold(f"$ {shlex.join(command)}"))
        done = run_command(command[1:], env=self.settings) if command[0] == "reconcile" else _ran(command)
        print(done.stdout + done.stderr, end="", flush=True)
        if done.exit_code != exit_code:
            raise DemoFailed(f"exit code {done.exit_code}, expected {exit_code}")
        if expect is not None and not expect(done.stdout):
            raise DemoFailed("not the expected output")

    def ping(self, sandbox: str, target: str, *, answers: bool) -> None:
        inside = ("ip", "netns", "exec", sandbox, *PING, target)
        if answers:  # a port that has just come up may lose its first packet
            self.machine.ping(sandbox, target)
        self.run(*inside, exit_code=0 if answers else 1)
        print("=> as it should be: " + ("it answers" if answers else "no answer"))


def _ran(command: Sequence[str]) -> Ran:
    found = subprocess.run(command, text=True, capture_output=True, timeout=patient(60), check=False)
    return Ran(exit_code=found.returncode, stdout=found.stdout, stderr=found.stderr)


def bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def perform(play: Callable[[Machine], None]) -> int:
    """Play on a private machine that vanishes with this process, also on Ctrl-C; give the exit status."""
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    try:
        enter_private_machine()
    except NoPrivateMachine as error:
        print(f"{error}. Run this as root, or where unprivileged user namespaces are allowed.", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory(dir="/run") as state_dir:
            machine = Machine(state_dir=Path(state_dir))
            try:
                play(machine)
            finally:
                machine.clean()  # the name server ends with its folder: it would keep the namespaces alive
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nAll as expected.")
    return 0
