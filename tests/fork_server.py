"""Command lines that start as forks of one parent, in which everything is imported: a start costs some milliseconds, not 0.6 s.

`start_parent()` starts the parent, a process with one thread; `ForkedPopen` is a `subprocess.Popen` whose process is a fork of it.
That process is a child of ours as any other (clone(2), CLONE_PARENT), with its own pid, signals, environment, folder, files, and
the network namespace of the thread that starts it. Only /proc/PID/cmdline is the parent's. A name server that a command starts is a
fork of the same parent. What must be a true start of Python says so by `subprocess.Popen([*reconcile.command(), …])`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import logging
import os
import pkgutil
import platform
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.private_namespaces import set_network_namespace

ROOT: Final = Path(__file__).parent.parent
_MESSAGE_SIZE_MAX: Final = 1 << 17
_FDS_MAX: Final = 16
_SYS_CLONE: Final = 56 if platform.machine() == "x86_64" else 220
_CLONE_PARENT: Final = 0x00008000
_CLONE_CHILD_CLEARTID: Final = 0x00200000
_CLONE_CHILD_SETTID: Final = 0x01000000
_PR_GET_TID_ADDRESS: Final = 40

_asker: socket.socket | None = None
"""Where requests are sent: None in a process that has no such parent, and starts Python."""


def start_parent() -> None:
    """Start the parent, unless it runs. It ends with this process; stays in the network namespace of the calling thread."""
    global _asker
    if _asker is not None:
        return
    _asker, door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with door:
        subprocess.Popen(
            [sys.executable, "-m", __name__, str(door.fileno()), str(_asker.fileno()), str(os.getpid())],
            cwd=ROOT,
            pass_fds=(door.fileno(), _asker.fileno()),
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("RECONCILE_")},
        ).returncode = 0  # nobody waits for it


def leave_parent() -> None:
    """Do without it from now on."""
    global _asker
    if _asker is not None:
        _asker.close()
        _asker = None


def is_running() -> bool:
    """Say whether this process has such a parent."""
    return _asker is not None


@dataclass(frozen=True, slots=True)
class Hook:
    """A function that the fork calls before the command line: "module:name", and what it is given; of a file, a descriptor last."""

    function: str
    arguments: tuple[Any, ...] = ()
    file: int | None = None


class ForkedPopen(subprocess.Popen[Any]):
    """A `Popen` of the command line with `arguments`. options: Popen's, of which only those for files, `env` and `cwd`.

    program: what takes the command line's place, "module:function".
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        program: str = "reconciler.cli:main",
        hooks: Sequence[Hook] = (),
        **options: Any,
    ) -> None:
        self._program, self._hooks = program, hooks
        super().__init__(list(arguments), **options)

    def _execute_child(self, args: list[str], *others: Any) -> None:  # type: ignore[override,unused-ignore]
        """Take the place of fork and exec within Popen, which has made the pipes by now."""
        cwd, env = others[4:6]
        pipes = others[9:15]
        streams = [fd if fd != -1 else number for number, fd in enumerate((pipes[0], pipes[3], pipes[5]))]
        request = {
            "kind": "command",
            "program": self._program,
            "arguments": args,
            "environment": dict(os.environ if env is None else env),
            "folder": os.fspath(cwd or os.getcwd()),
            "hooks": [[hook.function, hook.arguments, hook.file is not None] for hook in self._hooks],
        }
        files = [hook.file for hook in self._hooks if hook.file is not None]
        try:
            self.pid = int(_ask(request, [*streams, *files])["pid"])
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self._child_created = True


def _ask(request: Mapping[str, Any], files: Sequence[int], timeout_s: float | None = None) -> dict[str, Any]:
    """Send a request with our network namespace, await its answer."""
    assert _asker is not None
    ours, theirs = socket.socketpair()
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with ours, theirs:
        try:
            socket.send_fds(_asker, [json.dumps(request).encode()], [theirs.fileno(), namespace, *files])
        finally:
            os.close(namespace)
        theirs.close()
        ours.settimeout(timeout_s)
        answer = ours.recv(1000)
    if not answer:
        raise ChildProcessError("the parent of all commands, tests/fork_server.py, has ended")
    found: dict[str, Any] = json.loads(answer)
    return found


# ---- the parent


@dataclass(slots=True)
class _Parent:
    """The parent's side. waiting: by pidfd, which process of ours ends there, and who is told its exit code."""

    door: socket.socket
    asker: socket.socket
    owner: int
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)

    def serve(self) -> None:
        """Fork until the owner has ended."""
        while True:
            poll = select.poll()
            for fd in (self.door.fileno(), self.owner, *self.waiting):
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == self.owner:
                    return
                if fd == self.door.fileno():
                    self._take_request()
                else:
                    self._tell_end(fd)

    def _take_request(self) -> None:
        message, files, _, _ = socket.recv_fds(self.door, _MESSAGE_SIZE_MAX, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
        request = json.loads(message)
        if request["kind"] == "command":
            pid = _fork_sibling()
            if pid == 0:
                self._become(lambda: _be_a_command(request, files))
            os.write(files[0], json.dumps({"pid": pid}).encode())
        else:
            pid = os.fork()
            if pid == 0:
                self._become(lambda: _be_a_name_server(request, files))
            self.waiting[os.pidfd_open(pid)] = (pid, os.dup(files[0]))
        for fd in files:
            os.close(fd)

    def _tell_end(self, fd: int) -> None:
        pid, told = self.waiting.pop(fd)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            os.write(told, json.dumps({"exit_code": os.waitstatus_to_exitcode(status)}).encode())
        os.close(fd)
        os.close(told)

    def _become(self, work: Callable[[], int]) -> NoReturn:
        """In the fork: drop what is the parent's, do the work, end as a Python does. Never returns."""
        code = 70
        try:
            global _asker
            _asker = self.asker
            for fd, (_, told) in self.waiting.items():
                os.close(fd)
                os.close(told)
            self.door.close()
            os.close(self.owner)
            code = work()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            code = _finish(code)
            os._exit(code)


def _finish(code: int) -> int:
    """Do what the interpreter does at its end: wait for threads, call what was registered, flush."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return 120
    except (OSError, ValueError):
        return code
    return code


def _fork_sibling() -> int:
    """As os.fork(), but the fork is a child of our own parent, which so can wait for it."""
    libc = ctypes.PyDLL(None, use_errno=True)
    tid_address = ctypes.c_void_p()
    libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(tid_address), 0, 0, 0)
    flags = _CLONE_PARENT | signal.SIGCHLD
    if tid_address.value:  # where the C library keeps the number of its thread
        flags |= _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
    ctypes.pythonapi.PyOS_BeforeFork()
    # The fourth and fifth are in another order on other machines; the one that is not this address is not looked at.
    pid: int = libc.syscall(
        ctypes.c_long(_SYS_CLONE), ctypes.c_ulong(flags), ctypes.c_void_p(), ctypes.c_void_p(), tid_address, tid_address
    )
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "clone")
    return pid


def _be_a_command(request: Mapping[str, Any], files: Sequence[int]) -> int:
    extra = _enter(request, files)
    fork_name_servers()
    sys.argv = [str(ROOT / "reconciler" / "__main__.py"), *request["arguments"]]
    for name, arguments, has_file in request["hooks"]:
        file = [extra.pop(0)] if has_file else []
        pkgutil.resolve_name(name)(*arguments, *file)
    return int(pkgutil.resolve_name(request["program"])() or 0)


def _be_a_name_server(request: Mapping[str, Any], files: Sequence[int]) -> int:
    from reconciler.dns import server

    _enter(request, files)
    gc.unfreeze = lambda: None  # at each reload it would walk, and so copy, all that the parent has imported
    return server.main(request["arguments"])


def _enter(request: Mapping[str, Any], files: Sequence[int]) -> list[int]:
    """Take namespace, environment, folder and streams of who asked; give the files that are left."""
    reply, namespace, *streams = files
    if not os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/net")):
        set_network_namespace(namespace)
    os.close(reply)
    os.close(namespace)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    for number, fd in enumerate(streams[:3]):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # for the rest of the process
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    binary = io.BufferedWriter(io.FileIO(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(binary, errors="backslashreplace", line_buffering=True)
    return streams[3:]


def fork_name_servers() -> None:
    """Have the parent fork name servers that this process would start as programs of their own."""
    from reconciler.dns import launch

    def started(arguments: Sequence[str], timeout_s: float) -> int:
        sys.audit("subprocess.Popen", "reconciler.dns.server", arguments, None, None)
        request = {
            "kind": "name server",
            "arguments": list(arguments),
            "environment": launch.server_environment(),
            "folder": os.getcwd(),
        }
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            return int(_ask(request, [nothing] * 3, timeout_s)["exit_code"])
        finally:
            os.close(nothing)

    launch.run_server = started


def _import_everything() -> None:
    """Import what any command may, so that no fork has to."""
    for path in sorted((ROOT / "reconciler").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not name.endswith("__main__"):
            importlib.import_module(name.removesuffix(".__init__"))
    for name in ("tests.pipeline.forked", "tests.faults.inject", "rich.console", "rich.table"):
        importlib.import_module(name)


@contextlib.contextmanager
def log_as_before() -> Iterator[None]:
    """Put back what the command line makes of our logger, when it is called in this process."""
    log = logging.getLogger("reconciler")
    handlers, level, propagate = log.handlers, log.level, log.propagate
    try:
        yield
    finally:
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def _warm_up() -> None:
    """Have patterns, validators and the like made once, for all forks."""
    from reconciler.cli.root import reconcile

    said = io.StringIO()
    with (
        log_as_before(),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        contextlib.suppress(SystemExit),
    ):
        reconcile(["--specs", str(ROOT / "specs"), "--dry-run", "--against", "empty"], prog_name="reconcile")


def main() -> int:
    door, asker, owner = map(int, sys.argv[1:])
    try:
        life = os.pidfd_open(owner)
        for fd in (door, asker):
            os.set_inheritable(fd, False)
        _import_everything()
        _warm_up()
        gc.collect()
        gc.freeze()
        _Parent(socket.socket(fileno=door), socket.socket(fileno=asker), life).serve()
    except (KeyboardInterrupt, ProcessLookupError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
