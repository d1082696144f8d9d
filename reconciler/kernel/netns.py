"""Network namespaces: finding, entering, making and deleting them (network_namespaces(7), ip-netns(8))."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from reconciler.errors import KernelError, NameConflict, PlanError, ReconcilerError, SandboxMissing, kernel_error
from reconciler.kernel.links import Link, decode_link, get_loopback, mark_loopback
from reconciler.kernel.netlink import RouteSocket, out_of_the_way
from reconciler.kernel.netns_mounts import (
    come_back,
    enter,
    is_left_over,
    is_network_namespace,
    mount,
    occupants,
    place_file,
    prepare_folder,
    unmount,
    unshare,
)
from reconciler.kernel.processes import command, started_at
from reconciler.model.containers import Container, ContainerAnswer
from reconciler.model.identifiers import HOST, NsRef
from reconciler.records.file import beginning

_PIDFILE_MAX: Final = 32
_RESERVED_FDS: Final = 128
"""Left to the rest of the process when descriptors are few."""


class _Sandbox:
    """An open namespace. `socket` is made on first use."""

    __slots__ = ("fd", "inode", "socket")

    def __init__(self, fd: int) -> None:
        self.fd = out_of_the_way(fd)
        self.inode = os.fstat(self.fd).st_ino
        self.socket: RouteSocket | None = None

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        os.close(self.fd)


class Namespaces:
    """The host's namespace, which is that of the thread that makes this value, and the sandboxes.

    One thread at a time; that thread is back in the host's namespace whenever a call returns. What is open pins a namespace that
    others have deleted: call `release` when a pass ends. containers: what their engine said, for sandboxes of that kind.
    has_left_over: one of ours could not be taken away whole.
    capacity: how many stay open at once; a descriptor is good until so many others were asked for.
    """

    def __init__(self, netns_dir: Path, instance: str) -> None:
        self.netns_dir = netns_dir
        self.containers: Mapping[str, ContainerAnswer] = {}
        self._instance = instance
        self.has_left_over = False
        self._open: OrderedDict[NsRef, _Sandbox] = OrderedDict()
        self.capacity = _descriptors() // 2
        self._writes_before = 0
        self._nsfs = os.stat("/proc/self/ns/net").st_dev
        self._host = _Sandbox(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    def __enter__(self) -> Namespaces:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def writes(self) -> int:
        """How many changing netlink requests were sent so far."""
        return self._writes_before + sum(s.socket.writes for s in (self._host, *self._open.values()) if s.socket)

    def inode(self, ns: NsRef) -> int:
        """Return what tells namespaces apart. Raises SandboxMissing."""
        return self._sandbox(ns).inode

    def fd(self, ns: NsRef) -> int:
        """Return an open descriptor, which stays ours. Raises SandboxMissing."""
        return self._sandbox(ns).fd

    def path(self, ns: NsRef) -> Path:
        """Return the file that a sandbox's reference leads to now. Raises SandboxMissing."""
        kind, _, value = ns.partition(":")
        match kind:
            case "netns":
                return self.netns_dir / _checked_name(value)
            case "path":
                return Path(value)
            case "pid":
                return _process_path(ns, value)
            case "pidfile":
                return _process_path(ns, _pidfile_content(ns, value))
            case "container":
                return self._container_path(ns, value)
        raise SandboxMissing(
            f"sandbox {ns}: sandboxes of kind {kind!r} cannot be looked up; use netns, path, pid, pidfile or container"
        )

    def socket(self, ns: NsRef) -> RouteSocket:
        """Return the rtnetlink socket inside a namespace. Raises SandboxMissing, KernelError."""
        sandbox = self._sandbox(ns)
        if sandbox.socket is None:
            with self._entered(sandbox):
                sandbox.socket = RouteSocket()
        return sandbox.socket

    @contextlib.contextmanager
    def enter(self, ns: NsRef) -> Iterator[None]:
        """Run the body with this thread inside `ns`. Raises SandboxMissing, KernelError."""
        with self._entered(self._sandbox(ns)):
            yield

    def names(self) -> tuple[str, ...]:
        """Return the names below the namespace folder that have a namespace behind them, sorted."""
        try:
            with os.scandir(self.netns_dir) as entries:
                return tuple(sorted(entry.name for entry in entries if self._is_namespace(entry.path)))
        except FileNotFoundError:
            return ()
        except OSError as cause:
            raise kernel_error(cause.errno or errno.EIO, f"list {self.netns_dir}") from cause

    def is_present(self, ns: NsRef) -> bool:
        """Return whether a named one has a namespace behind its name."""
        return self._is_namespace(self.path(ns))

    def left_over(self, names: Collection[str]) -> tuple[str, ...]:
        """Return the names of ours that a crash left without a namespace, sorted. Raises KernelError.

        names: those that have one.
        """
        known = frozenset(names)
        try:
            with os.scandir(self.netns_dir) as entries:
                others = sorted(entry.name for entry in entries if entry.name not in known)
        except FileNotFoundError:
            others = []
        except OSError as cause:
            raise kernel_error(cause.errno or errno.EIO, f"list {self.netns_dir}") from cause
        found = tuple(name for name in others if is_left_over(self.netns_dir / name, self._mark))
        self.has_left_over = bool(found)
        return found

    def is_marked(self, loopback: Link) -> bool:
        """Return whether the namespace of this `lo` was made by this instance."""
        return loopback.is_ours and loopback.alias == self._mark

    def is_made_by_us(self, ns: NsRef) -> bool:
        """Return the same of an open one. Raises SandboxMissing, KernelError."""
        reply = self.socket(ns).request(get_loopback())
        return any(self.is_marked(decode_link(a.buffer, a.start, a.end)) for a in reply.answers)

    def create(self, names: Iterable[str]) -> list[ReconcilerError | None]:
        """Make named namespaces with `lo` up and marked; one result each. One of ours that is there already is fine."""
        names = tuple(names)
        try:
            prepare_folder(self.netns_dir)
        except ReconcilerError as error:
            return [error for _ in names]
        return [_error_of(partial(self._create, name)) for name in names]

    def delete(self, names: Iterable[str]) -> list[ReconcilerError | None]:
        """Take named namespaces away, if they are ours and no process is in them; one result each. Gone already is fine."""
        names = tuple(names)
        try:
            running = occupants()
        except ReconcilerError as error:
            return [error for _ in names]
        return [_error_of(partial(self._delete, name, running)) for name in names]

    def forget(self, ns: NsRef) -> None:
        """Close what is open of a namespace."""
        sandbox = self._open.pop(ns, None)
        if sandbox is not None:
            self._close(sandbox)

    def present_inode(self, ns: NsRef) -> int:
        """Return the inode that a reference leads to now, 0 for none, without opening anything."""
        kind, _, name = ns.partition(":")
        try:
            # Asked of every sandbox at every look: a plain string is several times cheaper than a Path.
            path = f"{self.netns_dir}/{_checked_name(name)}" if kind == "netns" else self.path(ns)
            return os.stat(path).st_ino
        except (OSError, PlanError, KernelError):
            return 0

    def refresh(self) -> None:
        """Close what is open of namespaces that are no longer the ones their references lead to."""
        for ns, sandbox in tuple(self._open.items()):
            if self.present_inode(ns) != sandbox.inode:
                self.forget(ns)

    def release(self) -> None:
        """Close all sandboxes, so that those deleted meanwhile by others really go."""
        for ns in tuple(self._open):
            self.forget(ns)

    def close(self) -> None:
        self.release()
        self._host.close()

    @property
    def _mark(self) -> str:
        return f"reconciler:{self._instance}"

    def _sandbox(self, ns: NsRef) -> _Sandbox:
        if ns == HOST:
            return self._host
        sandbox = self._open.get(ns)
        if sandbox is None:
            return self._remember(ns, _Sandbox(self._open_path(ns)))
        self._open.move_to_end(ns)
        return sandbox

    def _remember(self, ns: NsRef, sandbox: _Sandbox) -> _Sandbox:
        while len(self._open) >= self.capacity:
            self._close(self._open.popitem(last=False)[1])
        self._open[ns] = sandbox
        return sandbox

    def _close(self, sandbox: _Sandbox) -> None:
        self._writes_before += sandbox.socket.writes if sandbox.socket else 0
        sandbox.close()

    def _open_path(self, ns: NsRef) -> int:
        path = self.path(ns)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError as cause:
            raise kernel_error(cause.errno or errno.EACCES, f"open namespace {path} of sandbox {ns}") from cause
        except OSError as cause:
            raise _missing(ns, path, cause.strerror or str(cause)) from cause
        if os.fstat(fd).st_dev == self._nsfs and is_network_namespace(fd):
            return fd
        os.close(fd)
        raise _missing(ns, path, "it is not a network namespace")

    def _container_path(self, ns: NsRef, name: str) -> Path:
        found = self.containers.get(name)
        if isinstance(found, Container):
            return _process_path(ns, found.process.removeprefix("pid:"))
        reason = "no engine was asked for it" if found is None else found.reason
        kind = SandboxMissing if found is None or found.may_come else PlanError
        raise kind(f"sandbox {ns}: {reason}")

    @contextlib.contextmanager
    def _entered(self, sandbox: _Sandbox) -> Iterator[None]:
        if (
            sandbox is self._host
        ):  # where we are; setns(2) would ask for a privilege that looking at the host does not need
            yield
            return
        enter(sandbox.fd, f"enter namespace {sandbox.inode}")
        try:
            yield
        finally:
            come_back(self._host.fd)

    def _is_namespace(self, path: Path | str) -> bool:
        try:
            return os.lstat(path).st_dev == self._nsfs
        except OSError:
            return False

    def _create(self, name: str) -> None:
        ns, path = NsRef(f"netns:{name}"), self.netns_dir / _checked_name(name)
        if self._is_namespace(path):
            if not self.is_made_by_us(ns):
                raise NameConflict(
                    f"namespace {path} exists and is not ours; delete it, or use it by its name without making it"
                )
            return
        self.forget(ns)
        place_file(path, self._mark)
        with contextlib.ExitStack() as undo:
            undo.callback(self._remove_file, path)
            sandbox = self._unshared()
            undo.callback(sandbox.close)
            mount(sandbox.fd, path)
            undo.pop_all()
        self._remember(ns, sandbox)

    def _unshared(self) -> _Sandbox:
        """Make a namespace that is marked before anybody can find it."""
        unshare()
        try:
            sandbox = _Sandbox(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            sandbox.socket = RouteSocket()
        finally:
            come_back(self._host.fd)
        number, detail, _ = sandbox.socket.request(mark_loopback(self._mark))
        if number:
            sandbox.close()
            raise kernel_error(number, "mark the loopback of a new namespace", detail)
        return sandbox

    def _delete(self, name: str, running: dict[int, int]) -> None:
        ns, path = NsRef(f"netns:{name}"), self.netns_dir / _checked_name(name)
        self.forget(ns)
        if self._is_namespace(path):
            if not self.is_made_by_us(ns):
                raise NameConflict(f"namespace {path} was not made by us; it is left as it is")
            pid = running.get(self.inode(ns))
            self.forget(ns)
            if pid is not None:
                raise kernel_error(
                    errno.EBUSY,
                    f"delete namespace {path}",
                    f"process {pid} ({command(pid)}) runs in it; stop it first",
                )
            unmount(path)
        self._remove_file(path)

    def _remove_file(self, path: Path) -> None:
        """Remove what a namespace was mounted on. Raises KernelError; nobody else tells of what is left then."""
        try:
            path.unlink(missing_ok=True)
        except OSError as cause:
            self.has_left_over = True
            raise kernel_error(cause.errno or errno.EIO, f"remove {path}") from cause


def _descriptors() -> int:
    """Raise the soft limit of open files to the hard one, and say how many may be used for namespaces."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(64, min(soft, 1 << 16) - _RESERVED_FDS)


def _error_of(work: Callable[[], None]) -> ReconcilerError | None:
    try:
        work()
    except ReconcilerError as error:
        return error
    return None


def _checked_name(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise SandboxMissing(f"{name!r} is no name for a namespace")
    return name


def _process_path(ns: NsRef, pid: str) -> Path:
    """Return the path for `N`, or for `N@TICKS`, which means the process that started then."""
    pid, _, ticks = pid.partition("@")
    if not pid.isascii() or not pid.isdecimal() or int(pid) == 0:
        raise SandboxMissing(f"sandbox {ns}: {pid!r} is no process id")
    if ticks and started_at(pid) != ticks:
        raise SandboxMissing(f"sandbox {ns}: its process has ended; start it again")
    return Path(f"/proc/{pid}/ns/net")


def _pidfile_content(ns: NsRef, path: str) -> str:
    try:
        return beginning(path, _PIDFILE_MAX).strip()
    except OSError as cause:
        raise _missing(ns, Path(path), cause.strerror or str(cause)) from cause


def _missing(ns: NsRef, path: Path, reason: str) -> SandboxMissing:
    return SandboxMissing(f"sandbox {ns}: {path}: {reason}; start what it belongs to, or mend `sandbox` in the specs")
