"""A process is told from a later one with its id."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from reconciler.kernel.processes import namespace_of, process_ref, started_at


def test_reference_leads_to_the_namespace_of_its_process() -> None:
    reference = process_ref(os.getpid())

    assert reference == f"pid:{os.getpid()}@{started_at(str(os.getpid()))}"
    assert namespace_of(reference) == Path(f"/proc/{os.getpid()}/ns/net")


def test_command_with_any_name_does_not_hide_the_start(tmp_path: Path) -> None:
    rude = tmp_path / ") 0 0 0 (a b"
    rude.symlink_to("/bin/sleep")
    process = subprocess.Popen([rude, "60"])
    try:
        ticks = started_at(str(process.pid))
    finally:
        process.kill()
        process.wait()

    assert ticks is not None
    assert int(ticks) >= int(started_at(str(os.getpid())) or 0)


def test_process_that_is_gone_has_no_reference() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    assert process_ref(process.pid) is None
