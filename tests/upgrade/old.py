"""Version 0.1.0 of the command line, taken from the repository's own history, beside what is checked out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Ran, Reconcile, command_environment
from tests.waiting import patient

ROOT = Path(__file__).parent.parent.parent
COMMIT = "0e5b29c519b99f1974aad3e95234e24445bb8925"


def old_code(folder: Path) -> Path:
    """Lay 0.1.0 out below a folder; give where Python finds it. Skips where the history was not cloned, but in CI."""
    done = subprocess.run(["git", "-C", ROOT, "archive", COMMIT, "reconciler"], capture_output=True, check=False)
    if done.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"the clone has no commit {COMMIT}: {done.stderr.decode()}")
        pytest.skip("needs the whole history: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class OldReconcile(Reconcile):
    """Runs 0.1.0 where another runs what is checked out: the same host, folders and specs."""

    code: Path

    def __call__(
        self, *arguments: str, specs: Path | None = None, env: Mapping[str, str] | None = None, timeout_s: float = 120
    ) -> Ran:
        process = self._started([*self.options(specs), *arguments], env, text=True, **_CAPTURED)
        out, err = process.communicate(timeout=patient(timeout_s))
        return Ran(exit_code=process.returncode, stdout=out, stderr=err)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[Any]:
        return self._started([*self.options(), *arguments], env, **streams)

    def _started(self, arguments: list[str], env: Mapping[str, str] | None, **streams: Any) -> subprocess.Popen[Any]:
        environment = command_environment({**(env or {}), "PYTHONPATH": str(self.code)})
        return subprocess.Popen([sys.executable, "-P", "-m", "reconciler", *arguments], env=environment, **streams)


_CAPTURED = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def old_of(made: Reconcile, code: Path) -> OldReconcile:
    return OldReconcile(machine=made.machine, host_ns=made.host_ns, specs=made.specs, code=code)
