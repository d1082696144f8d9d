"""Units of systemd, read and played: what one assigns, and a command confined as it says, by the kernel's own means."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path


def assignments(path: Path) -> list[tuple[str, str]]:
    """Give the assignments of a file of systemd's or NetworkManager's, in order."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return [(key.rstrip("+"), value) for key, value in pairs]


def confined(unit: Path, command: Sequence[str], python: str = sys.executable) -> list[str]:
    """Give a command that runs another with a unit's capabilities and without pages both writable and executable.

    The system call filter cannot be had without systemd.
    """
    found = dict(assignments(unit))
    assert found["MemoryDenyWriteExecute"] == found["NoNewPrivileges"] == "yes"
    kept = [name.removeprefix("CAP_").lower() for name in found["CapabilityBoundingSet"].split()]
    bounding_set = f"--bounding-set=-all,{','.join(f'+{name}' for name in kept)}"
    return ["setpriv", "--no-new-privs", bounding_set, python, "-c", _WITHOUT_WRITABLE_CODE, *command]


# PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN (linux/prctl.h); a kernel before 6.3 refuses, and a test shows less
_WITHOUT_WRITABLE_CODE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
