"""Where something changed in the kernel that was not there at the last look. What changed is for the look to say."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable, Sequence, Set
from typing import Final

from msgspec import Struct

from reconciler.errors import KernelError, SandboxMissing
from reconciler.firewall.ruleset import TABLE
from reconciler.kernel.firewall_events import FirewallEvents
from reconciler.kernel.links import NSID_NOT_ASSIGNED, decode_nsid, get_nsid
from reconciler.kernel.mounts import MountEvents
from reconciler.kernel.multicast import BUFFER_BYTES
from reconciler.kernel.neighbours import EntryKey
from reconciler.kernel.netlink import NetlinkMessage
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.route_events import RouteEvents, new_nsid
from reconciler.model.identifiers import HOST, OVERLAY_PREFIX, NsRef
from reconciler.watch.source import Dirty, EventSource, Watched

_OPEN_MAX: Final = 256
"""Namespaces opened at once to ask for their numbers."""

_NAMED: Final = "netns:"
_OVERLAY: Final = f"{_NAMED}{OVERLAY_PREFIX}"


class _Followed(Struct, frozen=True):
    """nsid: the host's number for it, None for the host's own."""

    inode: int
    nsid: int | None


class KernelEvents(EventSource):
    """Listens to the host's namespace and to sandboxes; `fileno()` is readable when something happened.

    Must be made by the thread and in the namespace of `namespaces`. Our own changes of links, addresses and routes are told like
    anybody's; those of the firewall are not. No namespace is kept open or alive. Raises KernelError.
    """

    def __init__(self, namespaces: Namespaces, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._namespaces = namespaces
        self._watched: dict[NsRef, _Followed] = {}
        self._told: dict[NsRef, int] = {}
        self._overlays: set[NsRef] = set()
        self._by_nsid: dict[int | None, set[NsRef]] = {}
        self._unseen: set[NsRef] = set()
        with contextlib.ExitStack() as stack:
            self._routes = RouteEvents(buffer_bytes=buffer_bytes)
            stack.callback(self._routes.close)
            self._firewall = FirewallEvents(buffer_bytes=buffer_bytes)
            stack.callback(self._firewall.close)
            self._mounts = MountEvents()
            stack.callback(self._mounts.close)
            self._epoll = select.epoll()
            stack.callback(self._epoll.close)
            self._close = stack.pop_all().close
        for source in (self._routes, self._firewall):
            self._epoll.register(source, select.EPOLLIN)
        self._epoll.register(self._mounts, select.EPOLLPRI)
        self._nsfs = os.stat("/proc/self/ns/net").st_dev
        self._names = self._names_now()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._close()

    def arm(self, watched: Watched) -> Dirty:
        """Listen to exactly these namespaces from now on; what is listened to already goes on without a gap.

        Return those whose events may have been missed since the last look, and those that lead elsewhere by now.
        """
        refs = watched.namespaces
        # Where a name leads otherwise than the look saw, mounts tell, and `drain` looks.
        others = [ref for ref, _ in refs.items() - self._told.items()]
        present = {ref: self._namespaces.present_inode(ref) for ref in others if ref != HOST}
        if HOST in refs:
            present[HOST] = self._namespaces.inode(HOST)
        for ref in (self._watched.keys() - refs.keys()) | (self._watched.keys() & present.keys()):
            # Somebody may have numbered the host itself meanwhile.
            if ref == HOST or present.get(ref) != self._watched[ref].inode:
                self._forget(ref)
        new = [ref for ref in present if ref not in self._watched]
        self._unseen.update(ref for ref, inode in present.items() if ref != HOST and inode != refs[ref])
        for start in range(0, len(new), _OPEN_MAX):
            self._listen(new[start : start + _OPEN_MAX])
        unseen, self._unseen = self._unseen, set()
        return Dirty(
            namespaces=frozenset(unseen),
            are_all_links=HOST in unseen,
            is_firewall=self._firewall.follow(self._guarded()),
        )

    @property
    def followed(self) -> Set[NsRef]:
        """The namespaces of which all that happens is told."""
        return self._watched.keys()

    def _guarded(self) -> frozenset[int]:
        """Return the numbers of namespaces that tables of ours stand in, besides the host's."""
        found = (self._watched[ref].nsid for ref in self._overlays)
        return frozenset(nsid for nsid in found if nsid is not None)

    def drain(self) -> Dirty:
        found: set[NsRef] = set()
        entries: set[tuple[NsRef, EntryKey]] = set()
        links: set[int] = set()
        are_all_links = False
        for event in self._routes.read():
            if event is None:
                found |= self._lost()
                are_all_links = True
            elif event.gone is not None:
                found |= self._gone(event.gone)
            elif event.entry is not None and event.nsid is not None:
                refs = self._by_nsid.get(event.nsid, ())
                entries |= {(ref, event.entry) for ref in refs if ref.startswith(_OVERLAY)}
            else:
                found |= self._by_nsid.get(event.nsid, frozenset())
                found |= frozenset() if event.numbered is None else self._by_nsid.get(event.numbered, frozenset())
                links |= {event.link} if event.nsid is None and event.link is not None else set()
        if self._mounts.has_changed():
            found |= self._moved()
        return Dirty(
            namespaces=frozenset(found),
            is_firewall=self._firewall.concern(TABLE),
            host_links=frozenset(links),
            are_all_links=are_all_links,
            entries=frozenset(entries),
        )

    def _listen(self, refs: Sequence[NsRef]) -> None:
        """Find out the host's numbers of namespaces; have those numbered that are not."""
        inodes = self._opened(refs)
        host_inode = self._namespaces.inode(HOST)
        numbers = self._numbers(inodes)
        unnumbered = [ref for ref, inode in inodes.items() if numbers[ref] is None and inode != host_inode]
        self._namespaces.socket(HOST).batch([new_nsid(self._namespaces.fd(ref)) for ref in unnumbered])
        numbers |= self._numbers(unnumbered)
        self._unseen.update(unnumbered)
        for ref, inode in inodes.items():
            if numbers[ref] is not None or inode == host_inode:
                self._follow(ref, _Followed(inode, numbers[ref]))
                self._by_nsid.setdefault(numbers[ref], set()).add(ref)
                self._by_nsid.setdefault(None, set()).update((ref,) if inode == host_inode else ())
            if ref != HOST:
                self._namespaces.forget(ref)

    def _follow(self, ref: NsRef, followed: _Followed) -> None:
        self._watched[ref] = followed
        if ref.startswith(_NAMED):
            self._told[ref] = followed.inode
        if ref.startswith(_OVERLAY):
            self._overlays.add(ref)

    def _unfollow(self, ref: NsRef) -> _Followed | None:
        self._told.pop(ref, None)
        self._overlays.discard(ref)
        return self._watched.pop(ref, None)

    def _opened(self, refs: Iterable[NsRef]) -> dict[NsRef, int]:
        """Return the inodes of those that can be opened."""
        inodes = {}
        for ref in refs:
            try:
                inodes[ref] = self._namespaces.inode(ref)
            except SandboxMissing:
                self._unseen.add(ref)
            except KernelError:
                continue  # a look fails alike, and says so
        return inodes

    def _numbers(self, refs: Iterable[NsRef]) -> dict[NsRef, int | None]:
        refs = tuple(refs)
        replies = self._namespaces.socket(HOST).batch([get_nsid(self._namespaces.fd(ref)) for ref in refs])
        return {ref: _number(reply) for ref, reply in zip(refs, replies, strict=True)}

    def _forget(self, ref: NsRef) -> None:
        followed = self._unfollow(ref)
        assert followed is not None
        for refs in (self._by_nsid.get(followed.nsid), self._by_nsid.get(None)):
            if refs:
                refs.discard(ref)

    def _lost(self) -> set[NsRef]:
        """Anything may have changed, and numbers may be those of other namespaces by now: `watch` asks for them again."""
        found = set(self._watched)
        for known in (self._watched, self._told, self._overlays, self._by_nsid):
            known.clear()
        return found

    def _gone(self, nsid: int) -> set[NsRef]:
        found = self._by_nsid.pop(nsid, set())
        for ref in found:
            self._unfollow(ref)
        return found

    def _moved(self) -> set[NsRef]:
        """Return the names of namespaces that came, went or lead elsewhere, and watched references of other kinds that do."""
        before, self._names = self._names, self._names_now()
        found = {NsRef(f"{_NAMED}{name}") for name, _ in before.items() ^ self._names.items()}
        for ref in self._watched.keys() - self._told.keys() - {HOST}:
            if self._namespaces.present_inode(ref) != self._watched[ref].inode:
                found.add(ref)
        for ref in found & self._watched.keys():
            self._forget(ref)
        return found

    def _names_now(self) -> dict[str, int]:
        """Return the inode behind each name of a namespace."""
        try:
            with os.scandir(self._namespaces.netns_dir) as entries:
                found = ((entry.name, _status(entry.path)) for entry in entries)
                return {name: status.st_ino for name, status in found if status and status.st_dev == self._nsfs}
        except OSError:
            return {}


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _number(reply: NetlinkMessage) -> int | None:
    numbers = (decode_nsid(answer.buffer, answer.start, answer.end) for answer in reply.answers)
    return next((number for number in numbers if number != NSID_NOT_ASSIGNED), None)
