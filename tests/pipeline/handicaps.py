"""What a command line may lack or meet: called in its process, by `prepare` of `tests.pipeline.forked` or as a hook."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from reconciler.kernel.netlink import RouteSocket
from reconciler.model.report import Report
from reconciler.status.summary import Revision
from reconciler.status.tell import Status
from reconciler.status.write import Written


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


def broken_before_dump(number: int, command: Sequence[str], log: int) -> None:
    """Let somebody run `command` just before the dump of that number, from 0; tell in `log` that it was run."""
    dump, count = RouteSocket.dump, 0

    def broken(self: RouteSocket, request: Any, decode: Any) -> Any:
        nonlocal count
        if count == number:
            subprocess.run(command, check=True)
            os.write(log, b"broken")
        count += 1
        return dump(self, request, decode)

    RouteSocket.dump = broken  # type: ignore[method-assign]


def tells_late() -> None:
    """Have every process that comes of this one take its time to write the status."""
    starter = os.getpid()

    tell = Status.tell

    def late(self: Status, report: Report, revision: Revision) -> Written:
        if os.getpid() != starter:
            time.sleep(0.5)
        return tell(self, report, revision)

    Status.tell = late  # type: ignore[method-assign]
