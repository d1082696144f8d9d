"""Which program runs a bridge of others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from reconciler.observe.adoption import manager_of
from tests.waiting import eventually


def test_a_bridge_belongs_to_the_program_that_names_its_bridges_so_while_that_runs(tmp_path: Path) -> None:
    program = tmp_path / "incusd"
    shutil.copy(shutil.which("sleep") or "", program)

    with subprocess.Popen([str(program), "60"]) as process:
        try:
            # Its name is told a moment after it was started (execve(2) closes descriptors first).
            assert eventually(lambda: manager_of("incusbr0") == f"incusd (process {process.pid})")
            assert manager_of("br0") == ""
        finally:
            process.kill()
    assert manager_of("incusbr0") == ""
