"""Where news come from, and what they are: sources tell what is to be looked at again, and nothing of what changed there."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Protocol

from msgspec import Struct, field

from reconciler.kernel.neighbours import EntryKey
from reconciler.model.identifiers import NsRef
from reconciler.model.values import Value


class Dirty(Value, frozen=True, kw_only=True):
    """What is to be looked at again. namespaces: also names that came or went and nobody watches.

    host_links: with HOST among the namespaces, which of its links are, by index, besides its addresses and routes; are_all_links:
    all of them. entries: neighbours and forwarding entries in namespaces, by themselves. is_other: what every look reads anyway.
    is_reload: somebody asks for it who knows better. is_end: no more is.
    """

    uncompared: ClassVar[frozenset[str]] = frozenset({"host_links", "are_all_links"})
    namespaces: frozenset[NsRef] = frozenset()
    host_links: frozenset[int] = frozenset()
    are_all_links: bool = False
    entries: frozenset[tuple[NsRef, EntryKey]] = frozenset()
    containers: frozenset[str] = frozenset()
    is_specs: bool = False
    is_everything: bool = False
    is_firewall: bool = False
    is_cluster: bool = False
    is_other: bool = False
    is_reload: bool = False
    is_end: bool = False

    def __bool__(self) -> bool:
        return self != CLEAN

    def __or__(self, other: Dirty) -> Dirty:
        return Dirty(**{name: getattr(self, name) | getattr(other, name) for name in Dirty.__struct_fields__})


CLEAN = Dirty()


class Watched(Struct, frozen=True, kw_only=True):
    """What the last look saw, and is to be watched from then on.

    namespaces: each with its inode then, 0 for the host's own. name_server: its process, 0 for none. networks: shared ones.
    """

    namespaces: Mapping[NsRef, int] = field(default_factory=dict)
    name_server: int = 0
    containers: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()


class EventSource(Protocol):
    """Is readable (`fileno`) when it has news."""

    def fileno(self) -> int: ...

    def drain(self) -> Dirty:
        """Take what is there. Must not wait."""

    def arm(self, watched: Watched) -> Dirty:
        """Watch exactly this from now on; return what may have changed since it was seen: armed first, then looked at."""
        return CLEAN

    def close(self) -> None: ...


class Bell:
    """Wakes another thread, and brings it news. To ring it is harmless after `close`, too."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._news = CLEAN
        self._is_closed = False

    def fileno(self) -> int:
        return self._fd

    def ring(self, news: Dirty = CLEAN) -> None:
        with self._lock:
            if not self._is_closed:
                self._news |= news
                os.eventfd_write(self._fd, 1)

    def drain(self) -> Dirty:
        with self._lock:
            with suppress(BlockingIOError):
                os.eventfd_read(self._fd)
            news, self._news = self._news, CLEAN
        return news

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            os.close(self._fd)
