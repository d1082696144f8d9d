"""Run a command in a sandbox: its network namespace, and its hosts and resolv.conf in the place of the machine's.

What ip-netns(8) does for `ip netns exec`, also for sandboxes that have no name there.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct

from reconciler.container_engine.client import ContainerEngine
from reconciler.errors import ReconcilerError, SandboxMissing, kernel_error
from reconciler.kernel.processes import namespace_of
from reconciler.model.containers import NoContainer
from reconciler.records.file import beginning, content
from reconciler.settings import program_environment

log = logging.getLogger(__name__)

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
"""Exit codes of a shell, and of docker, for a command that cannot be run."""

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWNET: Final = 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SLAVE: Final = 0x80000
# sched.h and linux/mount.h

_PIDFILE: Final = "pidfile:"
_PIDFILE_MAX: Final = 32
_CONTAINER: Final = "container:"
_libc = ctypes.CDLL(None, use_errno=True)


class ExecTarget(Struct, frozen=True, kw_only=True):
    """Where an attachment lives.

    key: path of its network namespace, or `pidfile:` and the path of a file that holds a process id, or `container:` and a name
    that `container_engine` knows; "" for the namespace that we are in, which plays the host.
    files_dir: where its `hosts` and `resolv.conf` are, and its `environment` if it has links.
    """

    attachment: str
    key: str
    files_dir: Path
    container_engine: Path | None = None


def run_in_sandbox(target: ExecTarget, command: Sequence[str]) -> NoReturn:
    """Become `command` inside the sandbox. Never returns.

    Raises SandboxMissing or KernelError while nothing has been run yet. SystemExit 126 or 127 when the command itself cannot be.
    """
    if target.key:
        enter_network_namespace(namespace_path(target))
    _leave_mounts_to_ourselves()
    for name in ("hosts", "resolv.conf"):
        _cover(target.files_dir / name, Path("/etc") / name)
    _show_devices_of_namespace()
    _become(command, program_environment(link_variables(target)))


def link_variables(target: ExecTarget) -> dict[str, str]:
    """Return the environment variables of links; most sandboxes have no such file."""
    try:
        lines = content(target.files_dir / "environment").decode().splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ReconcilerError(
            f"attachment {target.attachment}: its links' variables cannot be read: {error}"
        ) from error
    return {name: value for name, separator, value in (line.partition("=") for line in lines) if separator}


def namespace_path(target: ExecTarget) -> Path:
    """Return the path of the namespace; a pidfile is read now, and an engine asked."""
    if target.key.startswith(_CONTAINER):
        return _container_path(target)
    if not target.key.startswith(_PIDFILE):
        return Path(target.key)
    file = Path(target.key.removeprefix(_PIDFILE))
    try:
        pid = beginning(file, _PIDFILE_MAX).strip()
    except OSError as error:
        raise SandboxMissing(f"attachment {target.attachment}: its pidfile {file} cannot be read: {error}") from error
    if not (pid.isascii() and pid.isdecimal()):
        raise SandboxMissing(f"attachment {target.attachment}: its pidfile {file} holds no process id")
    return Path(f"/proc/{int(pid)}/ns/net")


def _container_path(target: ExecTarget) -> Path:
    name = target.key.removeprefix(_CONTAINER)
    found = ContainerEngine(target.container_engine).find([name])[name]
    if isinstance(found, NoContainer):
        raise SandboxMissing(f"attachment {target.attachment}: {found.reason}")
    return namespace_of(found.process)


def enter_network_namespace(path: Path) -> None:
    """Move the calling thread into the network namespace at `path`. Raises SandboxMissing when it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SandboxMissing(
            f"there is no network namespace at {path}; `reconcile` makes those that are ours to make"
        ) from None
    except OSError as error:
        raise kernel_error(error.errno or 0, f"open {path}") from error
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            detail = "not a network namespace" if code == errno.EINVAL else ""
            raise kernel_error(code, f"enter the network namespace {path}", detail)
    finally:
        os.close(descriptor)


def _leave_mounts_to_ourselves() -> None:
    """Take a mount namespace of our own. What others mount still comes in, what we mount does not go out."""
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise kernel_error(ctypes.get_errno(), "make a mount namespace")
    _mount("", Path("/"), "none", _MS_SLAVE | _MS_REC)


def _cover(source: Path, target: Path) -> None:
    """Show `source` in the place of `target`. A machine without such a file goes without ours, as there is no place for it."""
    if not source.is_file():
        raise ReconcilerError(f"{source} is missing; `reconcile` writes it")
    if not target.exists():
        log.warning("%s does not exist, so the sandbox's own cannot be shown there", target)
        return
    _mount(str(source), target, "none", _MS_BIND)


def _show_devices_of_namespace() -> None:
    """Mount sysfs anew, as /sys/class/net tells of the namespace in which it was mounted. Not everybody may: then it stays."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    flags |= _MS_RDONLY if os.path.ismount("/sys") and os.statvfs("/sys").f_flag & os.ST_RDONLY else 0
    try:
        _mount("sysfs", Path("/sys"), "sysfs", flags)
    except ReconcilerError as error:
        log.debug("%s", error)


def _mount(source: str, target: Path, kind: str, flags: int) -> None:
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None) != 0:
        raise kernel_error(ctypes.get_errno(), f"mount {source or 'nothing new'} on {target}")


def _become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        # Python ignores these two, and a command that it becomes would go on ignoring them.
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(command[0], tuple(command), environment)
    except FileNotFoundError as error:
        log.error("%s: %s", command[0], error.strerror)
        raise SystemExit(NOT_FOUND) from None
    except (OSError, ValueError) as error:
        log.error("%s: %s", command[0], getattr(error, "strerror", error))
        raise SystemExit(NOT_EXECUTABLE) from None
