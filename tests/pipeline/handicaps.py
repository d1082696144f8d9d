"""What a command line may lack: functions for `prepare` of `tests.pipeline.forked`, called in its process."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import sys


def as_nobody() -> None:
    """Take its privileges."""
    if "coverage" in sys.modules:  # `make coverage`: it may not write what it measured
        atexit._clear()
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def without_nft() -> None:
    """Take nft away, the command and the library."""
    os.environ["PATH"] = "/nowhere"
    shutil.which = lambda *_, **__: None
    load = ctypes.CDLL

    def missing(name: str | None, *arguments: object, **named: object) -> object:
        if name is not None and "nftables" in name:
            raise OSError(f"{name}: cannot open shared object file")
        return load(name, *arguments, **named)  # type: ignore[arg-type]

    ctypes.CDLL = missing  # type: ignore[assignment,misc]
