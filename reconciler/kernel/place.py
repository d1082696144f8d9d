"""Where a process runs: what is in a namespace of one boot is in no other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from reconciler.errors import refuse_passing

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def place() -> str:
    """Return a name of this boot and our network namespace: elsewhere, or after a reboot, nothing is expected to be there.

    Raises KernelError.
    """
    try:
        boot = _BOOT_ID.read_text().strip()
    except OSError as error:
        refuse_passing(error, f"read {_BOOT_ID}")
        boot = ""
    return f"{boot}/{os.stat('/proc/thread-self/ns/net').st_ino}"
