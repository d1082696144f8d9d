"""Every error of the package, in one tree.

    ReconcilerError
      SpecError            the user mends a spec: file, line, column, what was expected
        ExpectationUnmet   an expectation that the specs do not bring about
      RevisionUnreadable   the specs of a git revision cannot be had (exit 65)
        RevisionRefused    for want of a signature, or for its faults: the commit before stays in force (exit 65)
      RepositoryUnreachable the repository of the specs cannot be fetched from: what was fetched before stays (exit 69)
      FileUnreadable       a saved plan or snapshot is cut off, none, or of another version (exit 65)
        FileAltered        it was edited: its checksum does not fit
      ConfigError          bad tool configuration (exit 78)
      PlanError            the specs are fine, this host cannot have them as they are
        PoolExhausted      no pool or address left
        PoolOverlap        a subnet meets another network's or one of the host's routes
        AddressTaken       two endpoints want one address
        PortTaken          a host port is another attachment's, or a process of the host has it
        NameConflict       a foreign object stands under a name that we need
        SandboxMissing     the sandbox does not exist (any more)
        NetworkDiffers     other hosts of the cluster declare the network differently
        NetworkUndeclared  no host of the cluster declares an external network (yet)
        ParentMissing      the link that a macvlan or ipvlan network sits on does not exist (any more)
        FightingWriter     somebody else keeps changing back what is corrected; it is left alone for a while
        AddressesAwaited   a plugin has not given its pool, address or scope yet: it is asked for them in this pass (exit 0)
      KernelError          a system call or netlink request was refused: errno and operation
        PrivilegeError     for want of a capability, not for any other reason (exit 77)
      FirewallError        nftables refused a transaction
        FirewallMissing    neither libnftables nor nft is there (exit 69)
      OutOfMemory          this process, or this host, has no more
      StatusError          files for readers, or for the next pass, cannot be written; what the pass did stands
      ResolverError        the embedded DNS server does not do what it is asked to
        ResolverSilent     it is there and does not answer
      ContainerEngineError the container engine does not answer, or not as it should
      KvError              the key-value store
        KvConflict         a compare-and-swap was lost; the next pass plans anew
        KvUnavailable      it cannot be reached (exit 69)
        StateNewer         the state folder is a later version's (exit 78)
      PluginError          a network plugin does not keep to the protocol
        PluginRefused      it answered with an error: what was asked for was not done
        PluginUnavailable  it cannot be reached, or does not answer in time
          PluginMissing    nothing of its name is in any of the places where plugins are looked for
      LockHeld             another reconciler works on this host (exit 75)
        TrialPending       a trial of other specs waits to be confirmed (exit 75)
      Held                 left as it is on purpose
        PruneRefused       the specs no longer declare it, and a guard refused to remove it (exit 3)
          Protected        it is protected (exit 3)
        Suspended          somebody suspended it (exit 0)
        DriftLeft          it drifted, and its specs say to warn only (exit 0)
      Refused              a guard refused the whole command (exit 3)
        AnothersHost       the host is run from another state or spec folder
        StalePlan          a saved plan was changed, or the specs or the host since (exit 3)
      RolledBack           the specs could not be verified, the last good ones are in force (exit 4)
        Superseded         others were confirmed on trial in their place, and are in force (exit 4)

Adapters translate at the border with `raise ... from cause`. `is_retryable` says whether the same pass, run again
without a person's help, may succeed. `is_gone` says that something is not there which a look may have seen just before: what a look
saw need not all be of one moment, so it is a reason to look again. A bug is none of these: it surfaces.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """docs/reference/exit-codes.md; from 64 on they are those of sysexits.h."""

    OK = 0
    FAILED = 1
    CHANGES = 2
    GUARDED = 3
    ROLLED_BACK = 4
    UNREACHED = 5
    USAGE = 64
    BAD_SPECS = 65
    UNAVAILABLE = 69
    LOCKED = 75
    NO_PRIVILEGE = 77
    BAD_CONFIG = 78


class ReconcilerError(Exception):
    """Root of the tree. `str()` is one line for the person who must act."""

    exit_code: ExitCode = ExitCode.FAILED
    is_retryable: bool = False
    is_gone: bool = False


class SpecError(ReconcilerError):
    """One fault in one spec file. `line` and `column` count from 1; 0 when the whole file is meant.

    is_retryable: the file could not be read for something that may pass.
    """

    exit_code = ExitCode.BAD_SPECS

    def __init__(self, file: str, line: int, column: int, message: str, *, is_retryable: bool = False) -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.is_retryable = is_retryable
        self.file, self.line, self.column, self.message = file, line, column, message


class ExpectationUnmet(SpecError):
    """At the expectation's own place. because: files, lines and columns of what is why."""

    def __init__(
        self, file: str, line: int, column: int, message: str, because: tuple[tuple[str, int, int], ...] = ()
    ) -> None:
        super().__init__(file, line, column, message)
        self.because = because


class RevisionUnreadable(ReconcilerError):
    exit_code = ExitCode.BAD_SPECS


class RevisionRefused(RevisionUnreadable):
    pass


class FileUnreadable(ReconcilerError):
    exit_code = ExitCode.BAD_SPECS


class FileAltered(FileUnreadable):
    pass


class RepositoryUnreachable(ReconcilerError):
    exit_code = ExitCode.UNAVAILABLE
    is_retryable = True


class ConfigError(ReconcilerError):
    exit_code = ExitCode.BAD_CONFIG


class PlanError(ReconcilerError):
    """This host cannot have what the specs ask for."""


class PoolExhausted(PlanError):
    pass


class PoolOverlap(PlanError):
    pass


class AddressTaken(PlanError):
    pass


class PortTaken(PlanError):
    """holder: the attachment that has the port, "" where it is none of ours."""

    def __init__(self, message: str, holder: str = "") -> None:
        super().__init__(message)
        self.holder = holder

    def naming(self, place: object) -> PortTaken:
        """Return the same with the place at which the holder is declared, known only when the error is told."""
        has_it = f"attachment {self.holder} has it"
        return PortTaken(str(self).replace(has_it, f"{has_it} ({place})", 1))


class NameConflict(PlanError):
    """A foreign object stands under a name that we need; it was left alone."""


class SandboxMissing(PlanError):
    is_retryable = True
    is_gone = True


class NetworkDiffers(PlanError):
    pass


class NetworkUndeclared(PlanError):
    is_retryable = True


class AddressesAwaited(PlanError):
    exit_code = ExitCode.OK
    is_retryable = True


class ParentMissing(PlanError):
    is_retryable = True


class FightingWriter(PlanError):
    pass


class KernelError(ReconcilerError):
    """The kernel refused `operation`. `errno` as in errno(3); `detail` is its extended acknowledgement, if any."""

    def __init__(self, errno: int, operation: str, detail: str = "") -> None:
        reason = detail or os.strerror(errno)
        super().__init__(f"{operation}: {reason} ({_errno.errorcode.get(errno, errno)})")
        self.errno, self.operation, self.detail = errno, operation, detail
        self.is_retryable = errno in PASSING
        self.is_gone = errno in _GONE


PASSING = frozenset(
    (
        *(_errno.EBUSY, _errno.EAGAIN, _errno.EINTR, _errno.ETIMEDOUT, _errno.EIO, _errno.EROFS),
        *(_errno.ENOBUFS, _errno.ENOMEM, _errno.EMFILE, _errno.ENFILE, _errno.ENOSPC, _errno.EDQUOT),
    )
)
"""Something was late or busy, ran out, or was not to be written: that may pass, and no event tells of it."""

_GONE = (_errno.ENODEV, _errno.ENOENT, _errno.ESRCH, _errno.ENETDOWN, _errno.ENETUNREACH, _errno.EHOSTUNREACH)
"""A link, a setting of one; a link that went down, or lost the address that the way to a gateway came with."""


class PrivilegeError(KernelError):
    exit_code = ExitCode.NO_PRIVILEGE


def surroundings_error(error: OSError | MemoryError) -> ReconcilerError:
    """Return the member of the tree for what no adapter expected: no memory or descriptors left, a file system that refuses."""
    if isinstance(error, MemoryError):
        return OutOfMemory("out of memory: give this process more (ulimit -v, MemoryMax= of its unit), or this host")
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return KernelError(
        error.errno or _errno.EIO, "go on", f"{where}{error.strerror}{_ADVICE.get(error.errno or 0, '')}"
    )


_ADVICE = {
    _errno.EMFILE: "; give this process more (ulimit -n, LimitNOFILE= of its unit)",
    _errno.ENFILE: "; raise the sysctl fs.file-max",
    _errno.ENOSPC: "; make room there",
    _errno.EDQUOT: "; make room there",
    _errno.EROFS: "; make it writable",
    _errno.EFBIG: "; give this process more (ulimit -f)",
    _errno.EISDIR: "; move away what stands there",
    _errno.ENOTDIR: "; move away what stands there",
    _errno.EEXIST: "; move away what stands there",
}


def kernel_error(errno: int, operation: str, detail: str = "") -> KernelError:
    """Return the member of the tree that fits `errno`, which of a system call; what rtnetlink says is for `netlink_error`."""
    if errno in _REFUSALS and is_privilege_missing():
        return PrivilegeError(errno, operation, detail)
    return KernelError(errno or _errno.EIO, operation, detail or _REFUSALS.get(errno, ""))


def refuse_passing(error: OSError, operation: str) -> None:
    """Raise the member of the tree for an OSError that may pass: what cannot be read for the moment is not absent."""
    if error.errno in PASSING:
        raise kernel_error(error.errno, operation) from error


@contextmanager
def kernel_errors(operation: str) -> Iterator[None]:
    """Raise the member of the tree that fits an OSError of the body. operation: what the body does."""
    try:
        yield
    except OSError as cause:
        raise kernel_error(cause.errno or 0, operation) from cause


def netlink_error(errno: int, operation: str, detail: str = "") -> KernelError:
    """As `kernel_error` for what rtnetlink refuses: for want of a capability it says EPERM, and EACCES where there is no IPv6."""
    if errno == _errno.EACCES:
        return KernelError(errno, operation, f"{detail or _NO_IPV6}; set its disable_ipv6 below net.ipv6.conf to 0")
    return kernel_error(errno, operation, detail)


_NO_IPV6 = "IPv6 is switched off on this link"
_REFUSALS = {
    _errno.EPERM: "refused, though no capability is missing: an immutable file, a seccomp filter or a security module",
    _errno.EACCES: "refused, though no capability is missing: something read-only, or a security module (SELinux, AppArmor)",
}
"""What it may be in the hands of one who has every right."""

_NEEDED = 1 << 1 | 1 << 11 | 1 << 12 | 1 << 21
"""CAP_DAC_OVERRIDE, CAP_NET_BROADCAST, CAP_NET_ADMIN, CAP_SYS_ADMIN (linux/capability.h)."""


def is_privilege_missing() -> bool:
    """Return whether this process lacks a capability that our work takes, or has them in a user namespace of its own only."""
    try:
        with open("/proc/thread-self/status", "rb") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith(b"CapEff:"))
        with open("/proc/thread-self/uid_map", "rb") as uids:
            is_whole = uids.read().split() == [b"0", b"0", b"4294967295"]
    except (OSError, StopIteration):
        return True
    return effective & _NEEDED != _NEEDED or not is_whole


class FirewallError(ReconcilerError):
    """nftables refused a transaction; nothing of it was applied. is_retryable: what for may pass, as a want of memory."""

    def __init__(self, text: str, *, is_retryable: bool = False) -> None:
        super().__init__(text)
        self.is_retryable = is_retryable


class FirewallMissing(FirewallError):
    exit_code = ExitCode.UNAVAILABLE


class ResolverError(ReconcilerError):
    """The embedded DNS server does not do what it is asked to."""

    is_retryable = True


class ResolverSilent(ResolverError):
    """Somebody listens in its place, and does not answer in time."""


class ContainerEngineError(ReconcilerError):
    """The container engine does not answer, or not as one does."""

    is_retryable = True


class StatusError(ReconcilerError):
    is_retryable = True


class OutOfMemory(ReconcilerError):
    is_retryable = True


class KvError(ReconcilerError):
    pass


class KvConflict(KvError):
    is_retryable = True


class KvUnavailable(KvError):
    exit_code = ExitCode.UNAVAILABLE
    is_retryable = True


class StateNewer(KvError):
    """A later version of us wrote the state folder in a format that this one does not know. Nothing of it is read or written."""

    exit_code = ExitCode.BAD_CONFIG


class PluginError(ReconcilerError):
    """What a network plugin did, or did not. Never tried again within a pass: a plugin that is down costs its networks alone."""


class PluginRefused(PluginError):
    pass


class PluginUnavailable(PluginError):
    is_retryable = True


class PluginMissing(PluginUnavailable, PlanError):
    pass


class LockHeld(ReconcilerError):
    exit_code = ExitCode.LOCKED
    is_retryable = True


class TrialPending(LockHeld):
    pass


class Held(ReconcilerError):
    """A unit that a pass left as it is on purpose."""


class PruneRefused(Held):
    exit_code = ExitCode.GUARDED


class Protected(PruneRefused):
    pass


class Suspended(Held):
    exit_code = ExitCode.OK


class DriftLeft(Held):
    exit_code = ExitCode.OK


class Refused(ReconcilerError):
    exit_code = ExitCode.GUARDED


class AnothersHost(Refused):
    pass


class StalePlan(Refused):
    pass


class RolledBack(ReconcilerError):
    exit_code = ExitCode.ROLLED_BACK


class Superseded(RolledBack):
    pass
