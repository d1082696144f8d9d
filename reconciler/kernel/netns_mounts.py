"""System calls on namespaces and on the folder that named ones are mounted in (ip-netns(8)). Knows no marks and keeps nothing."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.errors import KernelError, NameConflict, kernel_error, kernel_errors, refuse_passing
from reconciler.records.file import make_folder, write_all

log = logging.getLogger(__name__)

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_SHARED: Final = 0x100000
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_NS_GET_NSTYPE: Final = 0xB703
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""System calls that older C libraries have no functions for; on every architecture they have the same numbers."""
_CLOEXEC: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6

_libc = ctypes.CDLL(None, use_errno=True)


def is_network_namespace(fd: int) -> bool:
    """Return so of an open file of the namespace file system (ioctl_ns(2))."""
    return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET


def enter(fd: int, what: str) -> None:
    """Put the calling thread into an open namespace. Raises KernelError."""
    _call(what, "setns", fd, _CLONE_NEWNET)


def come_back(fd: int) -> None:
    """Put the calling thread back into the open namespace that it came from, or end the process.

    Whatever a thread does that stays behind, it does in a stranger's namespace: forward packets there, say. The next pass goes on.
    """
    try:
        enter(fd, "return to the host's namespace")
    except KernelError as error:
        log.critical("%s: this process ends, as whatever it did would be done in the wrong namespace", error)
        os._exit(error.exit_code)


def unshare() -> None:
    """Put the calling thread into a namespace of its own. Raises KernelError."""
    _call("make a network namespace", "unshare", _CLONE_NEWNET)


def mount(fd: int, path: Path) -> None:
    """Give an open namespace a name, the file `path`. Raises KernelError."""
    source = f"/proc/self/fd/{fd}".encode()
    _call(f"mount namespace {path}", "mount", source, os.fsencode(path), b"none", _MS_BIND, None)


def unmount(path: Path) -> None:
    _call(f"unmount {path}", "umount2", os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW)


def prepare_folder(path: Path) -> None:
    """Make the folder a shared mount as ip-netns(8) does, so that namespaces show in every mount namespace."""
    folder = os.fsencode(path)
    with kernel_errors(f"make {path}"):
        make_folder(path)
    if _libc.mount(b"", folder, b"none", _MS_SHARED | _MS_REC, None) == 0:
        return
    if ctypes.get_errno() != errno.EINVAL:
        raise kernel_error(ctypes.get_errno(), f"share the mount {path}")
    _call(f"bind mount {path}", "mount", folder, folder, b"none", _MS_BIND | _MS_REC, None)
    _call(f"share the mount {path}", "mount", b"", folder, b"none", _MS_SHARED | _MS_REC, None)


def place_file(path: Path, mark: str) -> None:
    """Make the file to mount on. One that no namespace is mounted on is what a crash or a reboot left: taken over.

    mark: its content, hidden by the mount, so that what is left after a crash tells whose it is. The file comes with it or not at
    all.
    """
    try:
        fd = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o444)
        try:
            write_all(fd, mark.encode())
            # Only with a folder given does Python follow the link (bpo-37612); an absolute path makes nothing of it.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
        finally:
            os.close(fd)
    except FileExistsError as cause:
        if not is_left_over(path, mark) and (not path.is_file() or path.is_symlink() or path.stat().st_size):
            raise NameConflict(f"{path} is in the way of a namespace and not ours; remove it") from cause
    except OSError as cause:
        raise kernel_error(cause.errno or errno.EIO, f"make {path}") from cause


def is_left_over(path: Path | str, mark: str) -> bool:
    """Return whether this is a file that `place_file` made and no namespace is mounted on. Raises KernelError for what may pass."""
    try:
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_size == len(mark.encode()):
            with open(path, "rb", opener=_open_itself) as file:
                return file.read(found.st_size) == mark.encode()
    except OSError as error:
        refuse_passing(error, f"read {path}")
    return False


def _open_itself(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def occupants() -> dict[int, int]:
    """Return one process for each namespace that a thread of a process other than ours is in. Raises KernelError.

    What cannot be looked at for the moment is not taken for nobody.
    """
    found: dict[int, int] = {}
    own = os.getpid()
    with kernel_errors("look for processes in /proc"), os.scandir("/proc") as entries:
        for pid in (int(entry.name) for entry in entries if entry.name.isdecimal()):
            for inode in _inodes(pid) if pid != own else ():
                found.setdefault(inode, pid)
    return found


def _inodes(pid: int) -> Iterator[int]:
    """Yield the namespaces of a process's threads; none when it has ended, or is none of ours to look at. Raises KernelError."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            yield os.stat(f"/proc/{pid}/task/{thread}/ns/net").st_ino
    except OSError as error:
        refuse_passing(error, f"list /proc/{pid}/task")


def detached_proc() -> int:
    """Mount proc(5) anew, in no folder, and return it open: it goes when it is closed. Raises OSError where that is not allowed."""
    context = _checked(_libc.syscall(_FSOPEN, b"proc", _CLOEXEC))
    try:
        _checked(_libc.syscall(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0))
        return _checked(_libc.syscall(_FSMOUNT, context, _CLOEXEC, 0))
    finally:
        os.close(context)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _call(what: str, function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        raise kernel_error(ctypes.get_errno(), what)
