"""Follows the container engine from a thread of its own, so that one that hangs holds up nothing but its own containers."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Final

from reconciler.container_engine.client import ContainerEngine
from reconciler.container_engine.events import ContainerEvent, EventStream
from reconciler.errors import ContainerEngineError
from reconciler.kv.backoff import Backoff
from reconciler.model.containers import Container, ContainerAnswer, NoContainer
from reconciler.watch.source import CLEAN, Bell, Dirty, EventSource, Watched

log = logging.getLogger(__name__)

ANSWER_WAIT_S: Final = 0.5
"""How long a look waits for the first answer about a container; not again while the engine is late."""

_OTHER_ENGINE_S: Final = 30.0
"""How often to see whether an engine has come that goes before the one that is followed."""

_END_WAIT_S: Final = 5.0
_NOT_YET: Final = NoContainer(reason="the container engine has not answered yet")


class ContainerEvents(EventSource):
    """Knows of the containers that it was asked for, and can be read from when that has changed.

    Its methods are for the watcher's thread. The other one, `_run`, starts with the first container that is asked for and ends
    with `close`.
    """

    def __init__(self, engine: ContainerEngine) -> None:
        self._engine = engine
        self._bell = Bell()
        self._waking = Bell()
        self._thread: threading.Thread | None = None
        self._condition = threading.Condition()
        self._names: frozenset[str] = frozenset()
        self._answers: dict[str, ContainerAnswer] = {}
        self._changed: set[str] = set()
        self._is_late = False
        self._is_ending = False

    def fileno(self) -> int:
        return self._bell.fileno()

    def find(self, names: Iterable[str]) -> Mapping[str, ContainerAnswer]:
        """Return what is known, and follow these from now on."""
        wanted = frozenset(names)
        assert self._thread is None or self._thread.is_alive(), (
            "the thread that follows the container engine has failed"
        )
        with self._condition:
            if wanted - self._names:
                self._names |= wanted
                self._wake()
            if not self._is_late:
                self._is_late = not self._condition.wait_for(lambda: wanted <= self._answers.keys(), ANSWER_WAIT_S)
            self._changed -= wanted & self._answers.keys()
            return {name: self._answers.get(name, _NOT_YET) for name in wanted}

    def arm(self, watched: Watched) -> Dirty:
        """Follow exactly these containers from now on."""
        with self._condition:
            self._names = watched.containers
            self._answers = {name: found for name, found in self._answers.items() if name in self._names}
        return CLEAN

    def drain(self) -> Dirty:
        """Return the containers of which something else is known than `find` gave last."""
        with self._condition:
            self._bell.drain()
            changed, self._changed = self._names & self._changed, set()
        return Dirty(containers=changed)

    def close(self) -> None:
        with self._condition:
            self._is_ending = True
        if self._thread is not None:
            self._waking.ring()
            self._thread.join(_END_WAIT_S)
            if self._thread.is_alive():
                return  # it ends with the process, and must not find its descriptors in another's use
        self._waking.close()
        self._bell.close()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="container-engine", daemon=True)
            self._thread.start()
        self._waking.ring()

    def _run(self) -> None:
        """Listen to the engine; where there is none, look for one now and then."""
        backoff = Backoff()
        while not self._is_ending:
            try:
                with closing(self._engine.events()) as stream:
                    backoff.succeeded()
                    self._listen(stream)
                    continue
            except ContainerEngineError as error:
                if not backoff.delay_s() and not self._is_ending:
                    log.warning("%s", error)
                self._publish(dict.fromkeys(self._unknown(), NoContainer(reason=str(error))), is_engines=False)
            backoff.failed()
            self._wait(None, backoff.delay_s())

    def _listen(self, stream: EventStream) -> None:
        """Ask for all, then for whom something happened to. Raises ContainerEngineError when the engine ends."""
        unanswered, backoff, retry_at = self._ask(self._names), Backoff(), 0.0
        while not self._is_ending and self._engine.socket == stream.path:
            wait_s = max(0.0, retry_at - time.monotonic()) if unanswered else _OTHER_ENGINE_S
            events = stream.read() if self._wait(stream, wait_s) else []
            touched = {name for name in self._names if any(self._concerns(event, name) for event in events)}
            if unanswered and time.monotonic() >= retry_at:
                touched |= unanswered & self._names
            unanswered = (unanswered - touched) | self._ask(touched | self._unknown())
            if touched:
                backoff.failed() if unanswered else backoff.succeeded()
                retry_at = time.monotonic() + backoff.delay_s()

    def _concerns(self, event: ContainerEvent, name: str) -> bool:
        """Podman tells of a container that was renamed without saying what it was called before."""
        known = self._answers.get(name)
        return event.concerns(name) or (isinstance(known, Container) and known.id == event.id)

    def _wait(self, stream: EventStream | None, wait_s: float) -> bool:
        """Wait until the other thread asks for more, or there is something to read, which it tells."""
        poll = select.poll()
        poll.register(self._waking, select.POLLIN)
        if stream is not None:
            poll.register(stream, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(wait_s * 1000)]
        self._waking.drain()
        return stream is not None and stream.fileno() in ready

    def _unknown(self) -> frozenset[str]:
        with self._condition:
            return self._names - self._answers.keys()

    def _ask(self, names: Iterable[str]) -> frozenset[str]:
        """Publish the engine's answers; give the names for which it gave none. Of those what was known before stays known."""
        asked = sorted(names)
        answers = dict(zip(asked, self._engine.ask(asked), strict=True))
        failed = {name: error for name, error in answers.items() if isinstance(error, ContainerEngineError)}
        unknown = self._unknown() & failed.keys()
        self._publish({name: NoContainer(reason=str(failed[name])) for name in unknown}, is_engines=False)
        found = {name: found for name, found in answers.items() if not isinstance(found, ContainerEngineError)}
        self._publish(found, is_engines=True)
        return frozenset(failed)

    def _publish(self, answers: Mapping[str, ContainerAnswer], *, is_engines: bool) -> None:
        """Make answers known. is_engines: it is not late any more."""
        with self._condition:
            followed = {name: found for name, found in answers.items() if name in self._names}
            changed = {name for name, found in followed.items() if self._answers.get(name) != found}
            self._answers.update(followed)
            self._changed |= changed
            self._is_late &= not (is_engines and answers)
            if changed and not self._is_ending:
                self._bell.ring()
            self._condition.notify_all()
