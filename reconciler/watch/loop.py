"""When to run a pass: news from sources, and what is due by the clock, all leading to the same pass. Never what a pass does."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import LockHeld, ReconcilerError, TrialPending, surroundings_error
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.report import Report
from reconciler.watch.agenda import Agenda
from reconciler.watch.listener import PassListener
from reconciler.watch.noise import Noise
from reconciler.watch.source import CLEAN, Dirty, EventSource, Watched

log = logging.getLogger(__name__)

RESYNC_S: Final = 300.0
"""Everything is looked at again this often, whatever events say: settings below /proc/sys, for one, tell of nothing."""

_SETTLE_S: Final = 0.004
"""A change comes as several events; wait for the next one this long, so that one pass serves them all."""

_SETTLE_MAX_S: Final = 0.05
_MISSING_POLL_S: Final = 1.0
"""How often to see whether a sandbox that is not there has come: a pidfile or a process makes no event."""

_PRESENCE_POLL_S: Final = 1.0
"""How often to see whether our sign of life stands, until it does: what tells of it may come before the watch of it, and a host
that dies before its record says that it is watched is not missed."""

_SPEC_POLL_S: Final = 5.0
_TRIAL_POLL_S: Final = 1.0
"""How often to see whether other specs are still on trial."""

_REST_MAX_S: Final = 2.0
"""After a pass for the sake of other hosts their news rest as long as it took, and no longer than this."""

_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 60.0
_HEARTBEAT_S: Final = 5.0


class Due(StrEnum):
    """What stands on the agenda, beside namespaces that wait."""

    RESYNC = "resync"
    RETRY = "retry"
    BRAKE = "brake"
    RESUMPTION = "resumption"
    SPECS = "specs"
    MISSING = "missing"
    CLUSTER = "cluster"
    GLANCE = "glance"


_EVERYTHING: Final = frozenset({Due.RESYNC, Due.RETRY, Due.BRAKE, Due.RESUMPTION})
_SPECS: Final = frozenset({Due.SPECS, Due.RESYNC})
"""A writer that never closes its file makes no event, so a resync reads them too."""


class Passed(Struct, frozen=True, kw_only=True):
    """A pass and what it leaves to be done. is_drift: it put back what others had changed.

    is_retryable: another try may help. has_missing: sandboxes whose coming nobody tells of. is_blind: nor of all specs that change
    or can be read again.
    released_s, resumed_s: when the next unit is no longer left alone, or no longer suspended, by the loop's clock.
    """

    report: Report
    watched: Watched
    is_drift: bool = False
    is_retryable: bool = False
    has_missing: bool = False
    is_blind: bool = False
    released_s: float | None = None
    resumed_s: float | None = None


class WatchedHost(Protocol):
    """What the loop keeps converged."""

    @property
    def is_sign_awaited(self) -> bool:
        """Return whether this host's sign of life has yet to be seen."""

    def run(self, dirty: Dirty) -> Passed:
        """Run a pass. Raises ReconcilerError when none could be made."""

    def glance(self) -> Dirty:
        """Return what somebody changed that makes no event; asked at each turn, at least every few seconds."""

    def found_again(self) -> Dirty:
        """Return the sandboxes that were missing and are there now."""


Wait = Callable[[float], Iterable[EventSource]]
"""Waits for news, so long at most, and returns the sources that have some."""


class Loop:
    """Selects, takes, passes, arms and reports. One thread runs all passes; nothing is torn down at the end."""

    def __init__(
        self,
        host: WatchedHost,
        sources: Sequence[EventSource],
        listeners: Sequence[PassListener],
        wait: Wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._sources, self._listeners = host, sources, listeners
        self._wait, self._clock = wait, clock
        self._agenda, self._noise = Agenda(), Noise()
        self._armed, self._is_deaf = CLEAN, False
        self._retry_wait_s = self._rest_until_s = 0.0

    def run(self) -> None:
        """Begin with a full pass; end when a source says so."""
        dirty = Dirty(is_specs=True, is_everything=True)
        while not dirty.is_end:
            if dirty:
                self._pass(dirty)
            ready = self._wait(self._idle_s())
            for listener in self._listeners:
                listener.beat()
            dirty = self._gather(ready)
        for listener in self._listeners:
            listener.stopping()

    def _idle_s(self) -> float:
        now_s = self._clock()
        self._agenda.add(Due.GLANCE, now_s + (_PRESENCE_POLL_S if self._host.is_sign_awaited else _HEARTBEAT_S))
        return 0.0 if self._armed else max(0.0, self._agenda.next_s() - now_s)

    def _gather(self, ready: Iterable[EventSource]) -> Dirty:
        """Collect what happened, until nothing more comes for a moment, and what is due."""
        dirty, self._armed = self._armed, CLEAN
        until_s = self._clock() + _SETTLE_MAX_S
        while ready:
            for source in ready:
                dirty |= self._asked(source.drain)
            ready = self._wait(_SETTLE_S) if self._clock() <= until_s else ()
        if dirty.is_reload:
            for listener in self._listeners:
                listener.reloading()
        now_s = self._clock()
        dirty = self._without_noise(dirty, now_s) | self._due(now_s)
        return self._without_storms(dirty, now_s) | self._asked(self._host.glance)

    def _asked(self, ask: Callable[[], Dirty]) -> Dirty:
        """Return what there is to tell. Whoever cannot say, as for want of memory, may have missed all: it is looked at again."""
        try:
            return ask()
        except ReconcilerError as error:
            told = error
        except (OSError, MemoryError) as error:
            told = surroundings_error(error)
        if not self._is_deaf:
            log.warning("all is looked at again, as news may have been lost: %s", told)
        self._is_deaf = True
        self._retry(None, Due.SPECS)
        return CLEAN

    def _without_noise(self, dirty: Dirty, now_s: float) -> Dirty:
        """Let namespaces wait that told of changes before which were none of our business."""
        waits = {ns: self._noise.wait_s(ns) for ns in dirty.namespaces}
        noisy = {ns: wait_s for ns, wait_s in waits.items() if wait_s > 0}
        for ns, wait_s in noisy.items():
            self._agenda.add(ns, now_s + wait_s)
        return replace(dirty, namespaces=dirty.namespaces.difference(noisy))

    def _due(self, now_s: float) -> Dirty:
        due = self._agenda.take(now_s)
        namespaces = frozenset(NsRef(key) for key in due.difference(Due))
        found = self._asked(self._host.found_again) if Due.MISSING in due else CLEAN
        if Due.MISSING in due:
            self._agenda.add(Due.MISSING, now_s + _MISSING_POLL_S)
        return found | Dirty(
            namespaces=namespaces,
            are_all_links=HOST in namespaces,  # which of them changed is forgotten
            is_everything=not due.isdisjoint(_EVERYTHING),
            is_specs=not due.isdisjoint(_SPECS),
            is_cluster=Due.CLUSTER in due,
        )

    def _without_storms(self, dirty: Dirty, now_s: float) -> Dirty:
        """Let news of other hosts rest that come in a storm, as each pass for them costs as much as one for all of them.

        News that come singly never wait; with other news they are served all the same.
        """
        if not dirty.is_cluster or now_s >= self._rest_until_s:
            return dirty
        self._agenda.add(Due.CLUSTER, self._rest_until_s)
        return replace(dirty, is_cluster=False)

    def _pass(self, dirty: Dirty) -> None:
        self._agenda.cancel(Due.CLUSTER)
        self._is_deaf &= not dirty.is_everything
        began_s = self._clock()
        try:
            passed = self._host.run(dirty)
        except ReconcilerError as error:
            self._could_not(error)
            return
        ended_s = self._clock()
        if dirty.is_cluster:
            self._rest_until_s = ended_s + min(_REST_MAX_S, ended_s - began_s)
        self._noise.looked(dirty.namespaces, ended_s, was_fruitful=bool(passed.report.outcomes))
        for source in self._sources:
            self._armed |= self._asked(partial(source.arm, passed.watched))
        self._plan_ahead(passed, ended_s)
        for listener in self._listeners:
            listener.passed(passed.report, ended_s - began_s, is_drift=passed.is_drift)

    def _could_not(self, error: ReconcilerError) -> None:
        """The pass as a whole was impossible; the specs may not have been read, and what told of them is taken."""
        is_lock = isinstance(error, LockHeld)
        wait_s = _TRIAL_POLL_S if isinstance(error, TrialPending) else _RETRY_FIRST_S if is_lock else None
        self._retry(wait_s, Due.SPECS)
        if not is_lock:
            log.error("%s", error)
            for listener in self._listeners:
                listener.failed(error)

    def _plan_ahead(self, passed: Passed, now_s: float) -> None:
        self._agenda.add(Due.RESYNC, now_s + RESYNC_S)
        if not self._is_deaf:
            self._agenda.cancel(Due.RETRY)
        if passed.is_retryable:
            self._retry()
        elif not self._is_deaf:
            self._retry_wait_s = 0.0
        if passed.has_missing:
            self._agenda.add(Due.MISSING, now_s + _MISSING_POLL_S)
        if passed.is_blind:
            self._agenda.add(Due.SPECS, now_s + _SPEC_POLL_S)
        for key, at_s in ((Due.BRAKE, passed.released_s), (Due.RESUMPTION, passed.resumed_s)):
            self._agenda.cancel(key)
            if at_s is not None:
                self._agenda.add(key, at_s)

    def _retry(self, wait_s: float | None = None, *also: Due) -> None:
        """Try again, without a time given later each time."""
        if wait_s is None:
            self._retry_wait_s = wait_s = min(_RETRY_MAX_S, max(_RETRY_FIRST_S, 2 * self._retry_wait_s))
        for key in (Due.RETRY, *also):
            self._agenda.add(key, self._clock() + wait_s)


@contextmanager
def waiting_for(sources: Iterable[EventSource]) -> Iterator[Wait]:
    """Wait for any of them, in the kernel."""
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ, source)
        yield lambda timeout_s: [key.data for key, _ in selector.select(timeout_s)]
