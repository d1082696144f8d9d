"""When to run a pass: spec files, kernel events, signals and a timer, all leading to the same pass. Never what a pass does."""

from __future__ import annotations

import gc
import logging
import selectors
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, cast

from reconciler import pipeline
from reconciler.apply.executor import Progress
from reconciler.backends import Backends
from reconciler.container_engine.client import ContainerEngine
from reconciler.errors import LockHeld, ReconcilerError, TrialPending, surroundings_error
from reconciler.guard.retries import take_retries
from reconciler.guard.suspension import next_end, suspended_at
from reconciler.kernel.lock import WATCHER, HostLock
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import NAMES_UNIT
from reconciler.model.plan import Outcome
from reconciler.model.report import Report
from reconciler.model.wanted import SandboxKind
from reconciler.observe.host_facts import HOST_FILES
from reconciler.observe.memory import Memory
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs
from reconciler.status.verdict import unsettled
from reconciler.status.write import told_status
from reconciler.watch.brake import Brake
from reconciler.watch.cluster_events import ClusterEvents
from reconciler.watch.container_events import ContainerEvents
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.names_events import NamesEvents
from reconciler.watch.noise import Noise
from reconciler.watch.path_events import PathEvents
from reconciler.watch.presence import Presence
from reconciler.watch.rest import Rest

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
_CONTAINER: Final = f"{SandboxKind.CONTAINER}:"
_TRIAL_POLL_S: Final = 1.0
"""How often to see whether other specs are still on trial."""

_RETRY_FIRST_S: Final = 0.2
_RETRY_MAX_S: Final = 60.0
_HEARTBEAT_S: Final = 5.0


class Listener(Protocol):
    """Is told what the watcher does. Must not take long and must not raise."""

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        """A pass has ended. is_drift: the specs had not changed, so what it did was putting back what others changed."""

    def failed(self, error: ReconcilerError) -> None:
        """A pass could not be made at all; it will be tried again."""

    def beat(self) -> None:
        """The loop makes progress; called at least every few seconds."""

    def reloading(self) -> None:
        """SIGHUP came: a full pass follows."""

    def stopping(self) -> None:
        """The watcher ends; the networks stay."""


class Server(Protocol):
    """Answers others from the watcher's loop, without waiting."""

    def fileno(self) -> int: ...

    def serve(self) -> None:
        """Called when readable."""


@dataclass(slots=True)
class _Cause:
    """What is to be looked at again, and why. is_host_file: what every look reads anyway.

    host_links: with HOST among the namespaces, which of its links; None: all.
    """

    is_spec: bool = False
    is_everything: bool = False
    is_firewall: bool = False
    is_names: bool = False
    is_host_file: bool = False
    is_cluster: bool = False
    containers: frozenset[str] = frozenset()
    namespaces: set[NsRef] = field(default_factory=set)
    host_links: set[int] | None = field(default_factory=set)

    def __bool__(self) -> bool:
        is_here = self.is_spec or self.is_everything or self.is_firewall or self.is_names or self.is_host_file
        return is_here or self.is_cluster or bool(self.namespaces or self.containers)


class Watcher:
    """Keeps one host converged until SIGTERM or SIGINT. One thread makes all passes; nothing is torn down at the end."""

    def __init__(
        self,
        settings: Settings,
        backends: Backends,
        listeners: Sequence[Listener],
        *,
        servers: Sequence[Server] = (),
        progress: Progress | None = None,
    ) -> None:
        self._servers, self._progress = servers, progress
        self._containers = ContainerEvents(ContainerEngine(settings.container_engine))
        self._settings, self._listeners = settings, listeners
        self._backends = replace(backends, containers=self._containers)
        self._files = PathEvents(settings.specs_dir, *HOST_FILES)
        self._kernel = KernelEvents(backends.namespaces)
        self._names = NamesEvents(settings.run_dir)
        self._cluster = None if backends.cluster is None else ClusterEvents(backends.cluster, backends.cluster.kv)
        self._presence = _presence(settings, backends)
        self._noise, self._brake, self._rest = Noise(), Brake(), Rest()
        self._loaded: LoadedSpecs | None = None
        self._last: Report | None = None
        self._deferred: dict[NsRef, float] = {}
        self._retry_wait_s = 0.0
        self._due: dict[str, float] = {}
        self._is_stopping = False
        self._suspended_at = suspended_at(settings.state_dir)

    def run(self) -> None:
        """Watch. Raises LockHeld when another watcher is at work on this host."""
        with HostLock(WATCHER) as lock, _Signals() as signals, selectors.DefaultSelector() as selector:
            for source in (signals, self._files, self._kernel, self._names, self._containers):
                selector.register(source, selectors.EVENT_READ, source)
            if self._cluster is not None:
                selector.register(self._cluster, selectors.EVENT_READ, self._cluster)
            for server in self._servers:
                selector.register(server, selectors.EVENT_READ, server)
            self._pass(_Cause(is_spec=True, is_everything=True))
            _spare_the_collector()
            cause = _Cause()
            while not self._is_stopping:
                if cause:
                    self._pass(cause)
                ready = selector.select(self._idle_s())
                for listener in self._listeners:
                    listener.beat()
                cause = self._gather(selector, [key.data for key, _ in ready], signals)
                cause.is_everything |= self._are_suspensions_new() | self._is_retry_asked()
                cause.is_cluster |= self._is_sign_of_life_new()
                lock.forget_askers()
        for listener in self._listeners:
            listener.stopping()

    def close(self) -> None:
        if self._presence is not None:
            self._presence.close()
        if self._cluster is not None:
            self._cluster.close()
        self._files.close()
        self._kernel.close()
        self._names.close()
        self._containers.close()

    def _idle_s(self) -> float:
        now = time.monotonic()
        cluster = self._backends.cluster
        is_sign_awaited = self._presence is not None and cluster is not None and not cluster.is_watched
        beat_s = _PRESENCE_POLL_S if is_sign_awaited else _HEARTBEAT_S
        due = [*self._due.values(), *self._deferred.values(), now + beat_s]
        return max(0.0, min(due) - now)

    def _gather(self, selector: selectors.BaseSelector, ready: Iterable[object], signals: _Signals) -> _Cause:
        """Collect what happened, until nothing more comes for a moment."""
        cause, began = _Cause(), time.monotonic()
        while ready:
            for source in ready:
                self._take(source, cause, signals)
            if time.monotonic() - began > _SETTLE_MAX_S:
                break
            ready = [key.data for key, _ in selector.select(_SETTLE_S)]
        self._defer_noise(cause)
        self._add_due(cause)
        self._defer_others(cause)
        return cause

    def _take(self, source: object, cause: _Cause, signals: _Signals) -> None:
        if source is self._files:
            told = self._files.drain()
            cause.is_spec |= self._settings.specs_dir in told
            cause.is_host_file |= not told.isdisjoint(HOST_FILES)
        elif source is self._kernel:
            dirty = self._kernel.drain()
            cause.namespaces |= dirty.namespaces
            if cause.host_links is not None:
                cause.host_links = None if dirty.host_links is None else cause.host_links | dirty.host_links
            cause.is_firewall |= dirty.is_firewall
        elif source is self._names:
            self._names.drain()
            cause.is_names = True
        elif self._cluster is not None and source is self._cluster:
            self._cluster.drain()
            cause.is_cluster = True
        elif source is self._containers:
            cause.containers |= self._containers.drain()
        elif any(source is server for server in self._servers):
            cast(Server, source).serve()
        else:
            for number in signals.drain():
                self._signalled(number, cause)

    def _signalled(self, number: int, cause: _Cause) -> None:
        if number == signal.SIGHUP:
            for listener in self._listeners:
                listener.reloading()
            cause.is_spec = cause.is_everything = True
            self._brake.release()
        else:
            self._is_stopping = True

    def _defer_noise(self, cause: _Cause) -> None:
        """Let namespaces wait that told of changes before which were none of our business."""
        now = time.monotonic()
        for ns in tuple(cause.namespaces):
            wait_s = self._noise.wait_s(ns)
            if wait_s > 0:
                cause.namespaces.discard(ns)
                self._deferred.setdefault(ns, now + wait_s)

    def _defer_others(self, cause: _Cause) -> None:
        """Let news of other hosts rest that come in a storm; with another cause they are served all the same."""
        until_s = self._rest.until_s(time.monotonic())
        if cause.is_cluster and until_s is not None:
            cause.is_cluster = False
            self._due["cluster"] = until_s

    def _add_due(self, cause: _Cause) -> None:
        now = time.monotonic()
        come = {ns for ns, due in self._deferred.items() if due <= now}
        cause.namespaces |= come
        if HOST in come:
            cause.host_links = None  # what changed there is forgotten, so all of it is looked at
        for ns in come:
            del self._deferred[ns]
        due = {name for name, at in self._due.items() if at <= now}
        for name in due:
            del self._due[name]
        cause.is_everything |= not due.isdisjoint({"resync", "retry", "brake", "resumption"})
        cause.is_cluster |= "cluster" in due
        cause.is_spec |= not due.isdisjoint({"specs", "resync"})  # a writer that never closes its file makes no event
        if "missing" in due:
            cause.namespaces |= self._found_again()
            self._due["missing"] = now + _MISSING_POLL_S

    def _are_suspensions_new(self) -> bool:
        """Say whether somebody suspended or resumed something since the last time; seen at the latest with the next heartbeat."""
        before, self._suspended_at = self._suspended_at, suspended_at(self._settings.state_dir)
        return before != self._suspended_at

    def _is_retry_asked(self) -> bool:
        """Say whether somebody asked for what is left alone to be tried again; seen at the latest with the next heartbeat."""
        names = take_retries(self._settings.state_dir)
        if names:
            self._brake.release_units(names)
        return bool(names)

    def _is_sign_of_life_new(self) -> bool:
        """Say whether this host's record has yet to say whether it is watched. A sign that the store lost is given again at once.

        Without a sign the record must not say so: the others would take this host for dead, as after a loss of the whole store.
        """
        cluster, presence = self._backends.cluster, self._presence
        if cluster is None or presence is None or not presence.is_established:
            return False
        has_sign = cluster.has_sign_of_life
        if not has_sign and cluster.outage is None:
            presence.wake()
        return has_sign != cluster.is_watched

    def _found_again(self) -> set[NsRef]:
        """Give the sandboxes that were missing or unusable and lead somewhere now."""
        namespaces = self._backends.namespaces
        known = self._backends.memory.sandboxes.items()
        return {ns for ns, found in known if not found.fact.inode and namespaces.present_inode(ns)}

    def _pass(self, cause: _Cause) -> None:
        self._due.pop("cluster", None)
        memory = self._backends.memory
        if cause.is_everything:
            memory.forget_all()
            if self._backends.cluster is not None:
                self._backends.cluster.doubt()
        memory.forget_containers(cause.containers)
        if HOST in cause.namespaces and cause.host_links is not None:
            memory.forget_host_links(frozenset(cause.host_links))
            memory.forget(cause.namespaces - {HOST})
        else:
            memory.forget(cause.namespaces)
        if cause.is_firewall:
            memory.firewall = None
        cluster = self._backends.cluster
        if cluster is not None and self._presence is not None:
            cluster.is_watched = self._presence.is_established and cluster.has_sign_of_life
        began = time.monotonic()
        try:
            is_new = self._load() if cause.is_spec or self._loaded is None else False
            assert self._loaded is not None
            blocked = self._brake.braked(began)
            report = pipeline.run_pass(
                self._loaded,
                self._settings,
                self._backends,
                blocked=blocked,
                progress=self._progress,
                tell=self._told,
            )
            ended = time.monotonic()
            if cause.is_cluster:
                self._rest.worked(began, ended)
            self._passed(report, ended - began, cause, is_new=is_new)
        except ReconcilerError as error:
            self._could_not(error)
        except (OSError, MemoryError) as error:
            log.debug("no adapter expected this", exc_info=error)
            self._could_not(surroundings_error(error))

    def _load(self) -> bool:
        """Read the specs; give whether they say something new."""
        loaded = pipeline.load(self._settings, self._loaded)
        is_new = self._loaded is None or (loaded.digest, loaded.faults) != (self._loaded.digest, self._loaded.faults)
        if is_new:
            self._loaded = loaded
            self._brake.release()
        return is_new

    def _could_not(self, error: ReconcilerError) -> None:
        """The pass as a whole was impossible: its causes stand, so all is looked at when it is tried again."""
        self._backends.memory.forget_all()
        is_lock = isinstance(error, LockHeld)
        wait_s = _TRIAL_POLL_S if isinstance(error, TrialPending) else _RETRY_FIRST_S if is_lock else None
        self._schedule_retry(wait_s)
        self._due["specs"] = self._due["retry"]  # what told of them is taken, and they may not have been read
        if not is_lock:
            log.error("%s", error)
            for listener in self._listeners:
                listener.failed(error)

    def _told(self, report: Report) -> Report:
        """Write the status where it may differ from the last."""
        if report.outcomes or self._last is None or _essence(report) != _essence(self._last):
            return told_status(self._settings, report)
        return report

    def _passed(self, report: Report, elapsed_s: float, cause: _Cause, *, is_new: bool) -> None:
        now = time.monotonic()
        is_drift = not is_new and bool(report.outcomes) and self._wants_the_same(report)
        if is_drift:
            assert self._last is not None
            self._brake.corrected(_corrections(report, self._last), now)
        self._noise.looked(cause.namespaces, now, was_fruitful=bool(report.outcomes))
        memory = self._backends.memory
        self._kernel.watch(_looked_into(memory))
        self._names.watch(memory.name_server)
        if self._cluster is not None and self._backends.cluster is not None:
            self._cluster.follow(self._backends.cluster.followed)
        self._containers.follow(memory.containers)
        self._last = report
        self._plan_ahead(report, now, elapsed_s)
        for listener in self._listeners:
            listener.passed(report, elapsed_s, is_drift=is_drift)

    def _wants_the_same(self, report: Report) -> bool:
        """Say whether what is desired did not change, as by news from other hosts or a new resolv.conf of this one: then somebody
        had changed what is ours.
        """
        if self._last is None:
            return False
        return _asked_for(self._last.desired) == _asked_for(report.desired)

    def _plan_ahead(self, report: Report, now: float, elapsed_s: float) -> None:
        self._due.setdefault("resync", now + RESYNC_S)
        self._due.pop("retry", None)
        if any(issue.is_retryable for issue in unsettled(report)):
            self._schedule_retry()
        else:
            self._retry_wait_s = 0.0
        missing = (ns for ns, found in self._backends.memory.sandboxes.items() if not found.fact.inode)
        if not all(ns.startswith(_CONTAINER) for ns in missing):  # of those their engine tells
            self._due.setdefault("missing", now + _MISSING_POLL_S)
        if self._files.needs_polling:
            self._due.setdefault("specs", now + _SPEC_POLL_S)
        release_s = self._brake.next_release_s()
        if release_s is not None:
            self._due["brake"] = release_s
        end_s = next_end(self._settings.state_dir, time.time() - elapsed_s)
        if end_s is not None:
            self._due["resumption"] = now + max(0.0, end_s - time.time())

    def _schedule_retry(self, wait_s: float | None = None) -> None:
        if wait_s is None:
            self._retry_wait_s = wait_s = min(_RETRY_MAX_S, max(_RETRY_FIRST_S, 2 * self._retry_wait_s))
        self._due["retry"] = time.monotonic() + wait_s


def _presence(settings: Settings, backends: Backends) -> Presence | None:
    """Give signs of life for a host that others can reach."""
    if backends.cluster is None or not settings.cluster_advertise:
        return None
    return Presence(backends.cluster.kv, settings.host, backends.cluster.instance, backends.cluster.discovery)


def _looked_into(memory: Memory) -> dict[NsRef, int]:
    """Give the namespaces that were looked into, each with its inode then; 0 for the host's own."""
    overlays = {overlay.ns: inode for (_, inode), overlay in memory.overlays.items() if overlay is not None}
    sandboxes = {ns: found.fact.inode for ns, found in memory.sandboxes.items() if found.fact.inode}
    return {HOST: 0, **overlays, **sandboxes}


def _spare_the_collector() -> None:
    """Take what the first pass made out of the cyclic garbage collector's sight.

    It lives as long as the watcher; going through its half a million values again and again would be the longest step of a pass.
    """
    gc.collect()
    gc.freeze()


def _corrections(report: Report, last: Report) -> Iterator[Outcome]:
    """Leave out what came of a container or process that is another one now: who restarts often is no writer that fights."""
    restarted = {
        attachment.name
        for attachment in report.desired.attachments
        if attachment.wanted.sandbox.kind is not SandboxKind.NETNS
        and report.sandboxes.get(attachment.ns) != last.sandboxes.get(attachment.ns)
    }
    for outcome in report.outcomes:
        unit = outcome.operation.unit
        if unit.attachment not in restarted and not (restarted and unit == NAMES_UNIT):
            yield outcome


def _asked_for(desired: DesiredState) -> tuple[object, ...]:
    """Give what the host's objects follow from."""
    host = desired.host
    return desired.networks, desired.attachments, desired.nodes, host.resolv_conf, host.resolved_conf, host.hosts


def _essence(report: Report) -> tuple[object, ...]:
    """Give what the status files are made of, but for what was done."""
    desired = report.desired
    problems = [(unit, str(error)) for unit, error in (*report.plan.problems, *report.drift.problems)]
    return (
        desired.networks,
        desired.attachments,
        desired.held,
        report.running,
        desired.remarks,
        problems,
        report.drift.operations,
        report.digest,
        [str(fault) for fault in report.spec_faults],
    )


class _Signals:
    """Turns SIGTERM, SIGINT and SIGHUP into something to wait for. Puts the handlers back in the end."""

    _HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __enter__(self) -> _Signals:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, lambda *_: None) for number in self._HANDLED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._reader.close()
        self._writer.close()

    def fileno(self) -> int:
        return self._reader.fileno()

    def drain(self) -> bytes:
        """Give the numbers of the signals that came."""
        try:
            return self._reader.recv(4096)
        except BlockingIOError:
            return b""
