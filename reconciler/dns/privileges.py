"""What the server process may still do once it runs (capabilities(7)): enter namespaces, bind port 53, look at processes."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Final

from reconciler.errors import kernel_error

_CAP_NET_BIND_SERVICE: Final = 10
_CAP_SYS_PTRACE: Final = 19
_CAP_SYS_ADMIN: Final = 21
KEPT: Final = (_CAP_NET_BIND_SERVICE, _CAP_SYS_PTRACE, _CAP_SYS_ADMIN)
"""linux/capability.h. SYS_PTRACE opens /proc/<pid>/ns/net of other users' processes (namespaces(7)), SYS_ADMIN is for setns(2)."""

_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def drop_privileges() -> None:
    """Give up every capability but KEPT, for good, and never get one by execve. Raises KernelError."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if capability not in KEPT:
            _libc.prctl(
                _PR_CAPBSET_DROP, capability, 0, 0, 0
            )  # refused without SETPCAP, in which case there is less to lose
    header = struct.pack("=Ii", _VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()
    _call("capget", header, held)
    mask = sum(1 << capability for capability in KEPT)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    kept = (ctypes.c_uint32 * 6)(held[0] & low, held[1] & low, 0, held[3] & high, held[4] & high, 0)
    _call("capset", header, kept)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        raise kernel_error(ctypes.get_errno(), f"give up privileges ({function})")
