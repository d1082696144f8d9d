"""Give the calling process a machine of its own: mount, network and host name namespaces that vanish with it.

Tests, demo and bench start with `enter_private_machine()`. From then on /run and /etc are memory, no network interface of the
real machine is in sight, and nothing done here can be seen outside; a kill -9 leaves nothing behind. Knows nothing of the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import getpass
import os
import select
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 0x2

HOST_NAME: Final = "machine"

_libc = ctypes.CDLL(None, use_errno=True)


class NoPrivateMachine(Exception):
    """This process may not make namespaces; `str()` says what was refused."""


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function)


def unshare(flags: int) -> None:
    """Leave the named namespaces for new ones (unshare(2)); `os.unshare` came with Python 3.12."""
    _call("unshare", ctypes.c_int(flags))


def set_network_namespace(fd: int) -> None:
    """Move the calling thread into the network namespace that `fd` is open on (setns(2))."""
    _call("setns", ctypes.c_int(fd), ctypes.c_int(CLONE_NEWNET))


def mount(source: str, target: str, filesystem: str | None, flags: int, data: str = "") -> None:
    kind = filesystem.encode() if filesystem else None
    _call("mount", source.encode(), target.encode(), kind, ctypes.c_ulong(flags), data.encode() or None)


def unmount(target: Path) -> None:
    """Detach the mount, busy or not. What is not a mount point is left alone."""
    try:
        _call("umount2", str(target).encode(), ctypes.c_int(MNT_DETACH))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def enter_private_machine() -> None:
    """Move this process into namespaces of its own. Call once, before any thread starts.

    Root needs nothing else; anybody else becomes root of a new user namespace, as by `unshare -Urnm`, where the kernel allows
    that. /run is empty, /etc a copy, /sys the new network namespace's, `lo` up, the host name `machine`.
    Raises NoPrivateMachine, the process being as it was or (where only a later step was refused) of no more use for kernel tests.
    """
    try:
        _unshare_as_far_as_allowed()
        _leave_no_process_behind()
        _mount_over_shared_places()
        _bring_up_loopback()
    except OSError as error:
        raise NoPrivateMachine(f"no private namespaces: {error.filename}: {error.strerror}") from error


def _unshare_as_far_as_allowed() -> None:
    flags = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return unshare(flags)
    os.environ["LOGNAME"] = getpass.getuser()  # whoever names folders after the user goes on doing so
    unshare(flags | CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text)
    return None


def _leave_no_process_behind() -> None:
    """Have a child end whatever is left in this machine once this process has ended: the name server is in a session of its own."""
    life = os.pidfd_open(os.getpid())
    if os.fork():
        os.close(life)
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    select.select([life], [], [])
    own = os.readlink("/proc/self/ns/mnt")
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()):
        with contextlib.suppress(OSError):
            if pid != os.getpid() and os.readlink(f"/proc/{pid}/ns/mnt") == own:
                os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _mount_over_shared_places() -> None:
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount_tmpfs_with_copy(Path("/etc"))
    _set_name_server(Path("/etc/resolv.conf"))
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for name in ("netns", "lock"):
        Path("/run", name).mkdir()
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV)


def _set_name_server(path: Path) -> None:
    """Name a server that no test reaches by chance. The real machine's never answers in here: an unknown name would take 10 s."""
    path.unlink(missing_ok=True)
    path.write_text("nameserver 192.0.2.2\n")


def _mount_tmpfs_with_copy(folder: Path) -> None:
    """Make writes below `folder` private. What may not be read is missing in the copy."""
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")  # to copy to; hidden by the next one on /run
    copy = Path("/run/copy")
    with contextlib.suppress(shutil.Error):  # raised at the end, everything else being copied
        shutil.copytree(folder, copy, symlinks=True)
    mount(str(copy), str(folder), None, MS_BIND)


def _bring_up_loopback() -> None:
    socket.sethostname(HOST_NAME)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True)
