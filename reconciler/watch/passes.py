"""The passes of a process that stays: what it need not look at again, and whether it put back what others had changed."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reconciler import pipeline
from reconciler.apply.executor import Progress
from reconciler.backends import Backends
from reconciler.errors import ReconcilerError, surroundings_error
from reconciler.guard.retries import take_retries
from reconciler.guard.suspension import next_end, suspended_at
from reconciler.kernel.lock import HostLock
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST
from reconciler.model.objects import HOST_UNIT, NAMES_UNIT
from reconciler.model.plan import Outcome
from reconciler.model.report import Report
from reconciler.model.wanted import SandboxKind
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs
from reconciler.status.tell import Status
from reconciler.status.verdict import OTHERS_IN_FORCE, unsettled
from reconciler.watch.brake import Brake
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.loop import Passed
from reconciler.watch.path_events import PathEvents
from reconciler.watch.presence import Presence
from reconciler.watch.source import Dirty, Watched

if TYPE_CHECKING:
    from reconciler.watch.git_source import GitSource
    from reconciler.watch.prober import Prober

log = logging.getLogger(__name__)

_CONTAINER = f"{SandboxKind.CONTAINER}:"


class Passes:
    """A `watch.loop.Host`.

    files: says whether all changes of specs are told of. kernel: tells what changed there meanwhile. presence: None in no cluster.
    repository: where the specs come from, None for a folder of people. prober: None where nobody sends packets.
    """

    def __init__(
        self,
        settings: Settings,
        backends: Backends,
        files: PathEvents,
        kernel: KernelEvents,
        presence: Presence | None,
        lock: HostLock,
        progress: Progress | None,
        repository: GitSource | None = None,
        prober: Prober | None = None,
    ) -> None:
        self._settings, self._backends, self._progress = settings, backends, progress
        self._files, self._kernel, self._presence, self._lock = files, kernel, presence, lock
        self._repository, self._prober = repository, prober
        backends.memory.news = self._hear
        self._brake = Brake()
        self._loaded: LoadedSpecs | None = None
        self._last: Report | None = None
        self._suspended_at = suspended_at(settings.state_dir)
        self._status = Status(settings, is_staying=True)

    # ---- what makes no event

    @property
    def is_sign_awaited(self) -> bool:
        cluster = self._backends.cluster
        return self._presence is not None and cluster is not None and not cluster.is_watched

    def glance(self) -> Dirty:
        self._lock.forget_askers()
        before, self._suspended_at = self._suspended_at, suspended_at(self._settings.state_dir)
        names = take_retries(self._settings.state_dir)
        self._brake.release_units(names)
        return Dirty(is_everything=before != self._suspended_at or bool(names), is_cluster=self._is_sign_of_life_new())

    def found_again(self) -> Dirty:
        namespaces = self._backends.namespaces
        known = self._backends.memory.sandboxes.items()
        found = (ns for ns, found in known if not found.fact.inode and namespaces.present_inode(ns))
        return Dirty(namespaces=frozenset(found))

    def _is_sign_of_life_new(self) -> bool:
        """Return whether this host's record has yet to say whether it is watched. A sign that the store lost is given again.

        Without a sign the record must not say so: the others would take this host for dead, as after a loss of the whole store.
        """
        cluster, presence = self._backends.cluster, self._presence
        if cluster is None or presence is None or not presence.is_established:
            return False
        has_sign = cluster.has_sign_of_life
        if not has_sign and cluster.outage is None:
            presence.wake()
        return has_sign != cluster.is_watched

    # ---- a pass

    def run(self, dirty: Dirty) -> Passed:
        self._forget(dirty)
        if self._prober is not None:
            self._prober.begins(dirty)
        is_first, began = self._last is None, time.time()
        try:
            is_new = self._load() if dirty.is_specs or self._loaded is None else False
            assert self._loaded is not None
            report = pipeline.run_pass(
                self._loaded,
                self._settings,
                self._backends,
                blocked=self._brake.braked(time.monotonic()),
                progress=self._progress,
                tell=self._told,
            )
            passed = self._passed(report, began, is_new=is_new)
        except ReconcilerError:
            self._backends.memory.forget_all()  # its causes stand, so all is looked at when it is tried again
            raise
        except (OSError, MemoryError) as error:
            log.debug("no adapter expected this", exc_info=error)
            self._backends.memory.forget_all()
            raise surroundings_error(error) from error
        if is_first:
            _spare_the_collector()
        return passed

    def _hear(self) -> bool:
        """Take the news of the kernel before a look; return whether all that happens on the host is told.

        What happens in namespaces that are not followed yet is told to nobody: they are looked into each time.
        """
        if HOST not in self._kernel.followed:
            return False
        self._forget(self._kernel.drain())
        memory = self._backends.memory
        overlays, followed = {each.ns for each in memory.overlays.values() if each is not None}, self._kernel.followed
        for ns in (memory.sandboxes.keys() - followed) | (overlays - followed):
            found = memory.sandboxes.get(ns)
            if found is None or found.fact.inode:
                memory.forget((ns,))
        return HOST in self._kernel.followed

    def _forget(self, dirty: Dirty) -> None:
        """Forget what may not be so any more."""
        if dirty.is_reload:
            self._brake.release()
        memory, cluster = self._backends.memory, self._backends.cluster
        if dirty.is_everything:
            memory.forget_all()
            self._backends.decide.doubt()
            self._status.forget()
            self._backends.revision.forget()
            self._loaded = None if self._loaded is None else self._loaded.unread()
            if cluster is not None:
                cluster.doubt()
        memory.forget_containers(dirty.containers)
        memory.stale_entries |= dirty.entries
        if HOST in dirty.namespaces and not dirty.are_all_links:
            memory.forget_host_links(dirty.host_links)
            memory.forget(dirty.namespaces - {HOST})
        else:
            memory.forget(dirty.namespaces)
        if dirty.is_firewall:
            memory.firewall.clear()
        if cluster is not None and self._presence is not None:
            cluster.is_watched = self._presence.is_established and cluster.has_sign_of_life

    def _load(self) -> bool:
        """Read the specs; return whether they say something new."""
        before, source = self._loaded, self._repository
        if source is not None and source.problem is not None and not source.commit:
            raise source.problem
        loaded = pipeline.load(self._settings, before)
        is_new = before is None or (loaded.digest, loaded.faults) != (before.digest, before.faults)
        self._loaded = loaded
        if is_new:
            self._brake.release()
        return is_new

    def _told(self, report: Report) -> Report:
        """Write the status where it may differ from the last, or from its files."""
        last, source = self._last, self._repository
        if self._prober is not None:
            report = replace(report, probed=self._prober.judged(report))
        if source is not None and source.problem is not None:
            report = report.with_problem(HOST_UNIT, source.problem)
        is_new = report.outcomes or last is None or _essence(report) != _essence(last)
        if is_new or not self._status.is_current():
            return self._status.told(report)
        return report if last is None else replace(report, revision=last.revision)

    def _passed(self, report: Report, began: float, *, is_new: bool) -> Passed:
        """Note what the pass did; began: by the wall clock."""
        now_s, last, self._last = time.monotonic(), self._last, report
        is_drift = not is_new and bool(report.outcomes) and last is not None and _asked_for(last) == _asked_for(report)
        if is_drift and last is not None:
            self._brake.corrected(_corrections(report, last), now_s)
        missing = (ns for ns, found in self._backends.memory.sandboxes.items() if not found.fact.inode)
        end = next_end(self._settings.state_dir, began)
        return Passed(
            report=report,
            watched=self._watched(),
            is_drift=is_drift,
            is_retryable=any(i.is_retryable and i.reason not in OTHERS_IN_FORCE for i in unsettled(report)),
            has_missing=not all(ns.startswith(_CONTAINER) for ns in missing),  # of those their engine tells
            is_blind=self._files.needs_polling or any(fault.is_retryable for fault in report.spec_faults),
            released_s=self._brake.next_release_s(),
            resumed_s=None if end is None else now_s + max(0.0, end - time.time()),
        )

    def _watched(self) -> Watched:
        memory, cluster = self._backends.memory, self._backends.cluster
        overlays = {overlay.ns: inode for (_, inode), overlay in memory.overlays.items() if overlay is not None}
        sandboxes = {ns: found.fact.inode for ns, found in memory.sandboxes.items() if found.fact.inode}
        return Watched(
            namespaces={HOST: 0, **overlays, **sandboxes},
            name_server=memory.name_server,
            containers=frozenset(memory.containers),
            networks=frozenset() if cluster is None else frozenset(cluster.followed),
        )


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


def _asked_for(report: Report) -> tuple[object, ...]:
    """Return what the host's objects follow from. As long as that stays, news from other hosts and a new resolv.conf included, who
    changed what is ours was somebody else.
    """
    desired: DesiredState = report.desired
    host = desired.host
    return desired.networks, desired.attachments, desired.nodes, host.resolv_conf, host.resolved_conf, host.hosts


def _essence(report: Report) -> tuple[object, ...]:
    """Return what the status files are made of, but for what was done."""
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
        report.probed,
        [str(fault) for fault in report.spec_faults],
    )
