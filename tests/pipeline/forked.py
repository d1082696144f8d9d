"""Run the command line with every write it makes counted, or being the one it dies before.

A write is whatever may change something outside the process: a changing netlink request, an nft transaction, a store commit, a
call to a plugin, a file opened for writing, a rename, a link, a folder, a mount, a namespace made, a process started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.kernel import netns
from reconciler.kernel.netlink import RouteSocket
from reconciler.kernel.nft import Nft
from reconciler.kv.sqlite import SqliteStore
from reconciler.plugin import client
from tests.command_line import Ran, Reconcile, run_command
from tests.fork_server import Hook

FILE_EVENTS: Final = frozenset(
    {
        "os.mkdir",
        "os.rmdir",
        "os.remove",
        "os.rename",
        "os.symlink",
        "os.link",
        "os.truncate",
        "os.chmod",
        "os.chown",
        "os.utime",
    }
)
IF_NEEDED: Final = frozenset({"os.mkdir", "os.rmdir", "os.remove"})
PROCESS_EVENTS: Final = frozenset({"os.fork", "os.posix_spawn", "subprocess.Popen"})
_MEASURED: Final = "/build/coverage"
"""What `make coverage` writes is not the command's."""

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_QUESTION: Final = 2
"""rtnetlink types come in fours: new, delete, get, set."""

OnWrite = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked(Ran):
    """writes: what was written, in words, in order. exit_code: minus the signal when one ended it."""

    writes: tuple[str, ...] = ()

    @property
    def was_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedReconcile(Reconcile):
    """As Reconcile, but each run tells its writes."""

    def __call__(
        self,
        *arguments: str,
        specs: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
        die_before: int | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> Forked:
        """Run it. die_before: number, from 0, of the write before which SIGKILL comes. prepare: a function of a module that is
        quick to import, called in the process before the command line.
        """
        hooks = [Hook(f"{prepare.__module__}:{prepare.__qualname__}")] if prepare is not None else []
        with tempfile.TemporaryFile() as log:
            hooks.append(Hook(f"{__name__}:watch_writes", (die_before,), log.fileno()))
            arguments = (*self.options(specs), *arguments)
            ran = run_command(arguments, env=env, timeout_s=timeout_s, hooks=hooks)
            log.seek(0)
            writes = tuple(log.read().decode(errors="replace").splitlines())
        return Forked(exit_code=ran.exit_code, stdout=ran.stdout, stderr=ran.stderr, writes=writes)

    def ok(self, *arguments: str, specs: Path | None = None) -> Forked:
        done = self(*arguments, specs=specs)
        assert done.exit_code == 0, done.text
        return done


def watch_writes(die_before: int | None, log: int) -> None:
    """Write down each write of this process before it happens, or die before one. A hook of `tests.fork_server`."""
    count = 0

    def on_write(what: str) -> None:
        nonlocal count
        if count == die_before:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        os.write(log, f"{what}\n".encode())

    _watch_writes(on_write)


def _watch_writes(on_write: OnWrite) -> None:
    """Tell of every write before it happens. For a process that ends soon: there is no way back."""
    sys.addaudithook(lambda event, arguments: _audit(event, arguments, on_write))
    for owner, name in (
        (Nft, "run"),
        (SqliteStore, "commit"),
        (client, "_post"),
        (netns, "mount"),
        (netns, "unmount"),
        (netns, "unshare"),
    ):
        _wrap(owner, name, on_write)
    batch_once = RouteSocket.batch_unbroken

    def counted(self: RouteSocket, requests: Sequence[Any]) -> Any:
        changes = sum(not self._is_question(request) for request in requests)
        if changes:
            on_write(f"netlink {changes}")
        return batch_once(self, requests)

    RouteSocket.batch_unbroken = counted  # type: ignore[method-assign]


def _wrap(owner: Any, name: str, on_write: OnWrite) -> None:
    original = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        on_write(f"{owner.__name__.rpartition('.')[2]}.{name}")
        return original(*arguments, **named)

    setattr(owner, name, counted)


def _audit(event: str, arguments: tuple[Any, ...], on_write: OnWrite) -> None:
    if arguments and _MEASURED in str(arguments[0]):
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & WRITING and path != os.devnull and not is_database(str(path)):
            on_write(f"open {path}")
    elif event in FILE_EVENTS | PROCESS_EVENTS:
        what = str(arguments[0]) if arguments else ""
        if not is_in_vain(event, what):
            on_write(f"{event} {what}")


def is_database(path: str) -> bool:
    """SQLite itself writes; that the file is opened so that it may is no write."""
    return path.endswith(".db") and os.path.exists(path)


def is_in_vain(event: str, path: str) -> bool:
    """Say whether the call asks for what is so already: a folder that is there, one to go that is not."""
    return path.startswith("/") and os.path.lexists(path) == (event == "os.mkdir") and event in IF_NEEDED


@contextlib.contextmanager
def background_sleep(*command: str) -> Iterator[int]:
    """A process `sleep`, started by a command such as ("unshare", "--net"); give its pid."""
    pid = os.posix_spawnp(
        (command or ("sleep",))[0], [*command, "sleep", "600"] if command else ["sleep", "600"], os.environ
    )
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
