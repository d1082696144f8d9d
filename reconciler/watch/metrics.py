"""Figures about the watcher, which `prometheus_client` renders, and whether it is well. `watch.metrics_server` serves them.

Counted here, since a pass tells all of its figures at once and series of networks that are gone must go; collected per scrape.
Imported only where metrics are wanted: the library is 2 MB of the watcher's memory, mostly for servers that are not used here.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from msgspec import Struct
from prometheus_client import PROCESS_COLLECTOR
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from reconciler import __version__
from reconciler.errors import ReconcilerError
from reconciler.model.objects import HOST_UNIT, SERVICES, STATUS_UNIT, Unit
from reconciler.model.plan import Outcome
from reconciler.model.report import Report
from reconciler.model.words import counted
from reconciler.status.verdict import OTHERS_IN_FORCE, Unsettled, unsettled
from reconciler.watch.listener import PassListener

_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_STATES: Final = ("ready", "reconciling", "stalled", "suspended", "drifted")
_MESSAGE_MAX: Final = 500
_VERSION: Final = "1.0.0"
"""Of both formats that are rendered on request, OpenMetrics and Prometheus' text; without one it is the text of old, 0.0.4."""

_Counts = Mapping[str, int] | Mapping[tuple[str, str], int] | Mapping[tuple[str, str, str], int]
"""Numbers by the values of labels."""


class Health(Struct, frozen=True):
    """is_well: somebody who could restart the watcher should not. reason: one line."""

    is_well: bool
    reason: str


class Metrics(PassListener):
    """Counts what the watcher does.

    quiet_max_s: with no pass for so long the watcher counts as stuck. clock, wall: monotonic time, and seconds since the epoch.
    """

    def __init__(
        self,
        quiet_max_s: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._quiet_max_s, self._clock, self._wall = quiet_max_s, clock, wall
        self._tried_s = clock()
        self._passes: Counter[str] = Counter()
        self._buckets = [0] * (len(_BUCKETS_S) + 1)
        self._duration_s = 0.0
        self._operations: Counter[tuple[str, str, str]] = Counter()
        self._failures: Counter[str] = Counter()
        self._repaired: Counter[str] = Counter()
        self._success_time = 0.0
        self._report: Report | None = None
        self._issues: tuple[Unsettled, ...] = ()
        self._error = ""

    def passed(self, report: Report, elapsed_s: float, *, is_drift: bool) -> None:
        """Count a pass. A failure counts when it appears, not again in each pass until it is mended."""
        issues = unsettled(report)
        is_fine = not report.spec_faults and all(issue.is_on_purpose for issue in issues)
        self._passes["fine" if is_fine else "degraded"] += 1
        self._buckets[bisect_left(_BUCKETS_S, elapsed_s)] += 1
        self._duration_s += elapsed_s
        self._operations.update(map(_operation_labels, report.outcomes))
        known = {(issue.unit, issue.reason) for issue in self._issues}
        new = [i.reason for i in issues if not i.is_on_purpose and (i.unit, i.reason) not in known]
        self._failures.update(new)
        if report.spec_faults and not (self._report and self._report.spec_faults):
            self._failures["ValidationFailed"] += 1
        if is_drift:
            self._repaired.update(_repaired_networks(report.outcomes))
            self._forget_repairs(keep={"", *SERVICES, *_networks(report)})
        self._tried_s, self._report, self._issues, self._error = self._clock(), report, issues, ""
        if is_fine:
            self._success_time = self._wall()

    def failed(self, error: ReconcilerError) -> None:
        self._passes["failed"] += 1
        self._failures[type(error).__name__] += 1
        self._tried_s, self._error = self._clock(), str(error)

    def health(self) -> Health:
        quiet_s = self._clock() - self._tried_s
        if self._report is None and not self._error:
            return Health(False, "starting: no pass has ended yet")
        if quiet_s > self._quiet_max_s:
            return Health(
                False, f"stuck: no pass could begin for {quiet_s:.0f} s, as when another process keeps the lock"
            )
        if self._error:
            return Health(False, f"no pass was possible: {_one_line(self._error)}")
        return Health(True, self._degradation() or "fine")

    def _forget_repairs(self, keep: set[str]) -> None:
        """Of networks that come and go, for years, nothing may pile up."""
        self._repaired = Counter({name: count for name, count in self._repaired.items() if name in keep})

    def _degradation(self) -> str:
        assert self._report is not None
        if self._report.spec_faults:
            return _one_line(
                f"degraded: {counted(len(self._report.spec_faults), 'fault')} in the specs: {self._report.spec_faults[0]}"
            )
        issues = [issue for issue in self._issues if not issue.is_on_purpose]
        if issues:
            return _one_line(f"degraded: {len(issues)} not as declared: {issues[0].unit}: {issues[0].message}")
        return ""

    def page(self, accept: str = "") -> tuple[str, bytes]:
        """Return a content type that suits the client's Accept header, and all figures in it, in a fixed order."""
        render, content_type = choose_encoder(",".join(filter(_is_rendered, accept.replace('"', "").split(","))))
        return content_type, render(self)

    def collect(self) -> Iterator[Metric]:
        """A collector of `prometheus_client`. Figures of the process are left out where /proc does not show it."""
        build = InfoMetricFamily("reconciler_build", "The version that runs.")
        build.add_metric((), {"python": platform.python_version(), "version": __version__})
        yield build
        if self._report is not None and self._report.revision:
            specs = InfoMetricFamily("reconciler_specs", "The commit that the specs are at.")
            specs.add_metric((), {"commit": self._report.revision})
            yield specs
        yield _counter("passes", "Passes, by how they ended.", ("result",), self._passes)
        yield HistogramMetricFamily(
            "reconciler_pass_duration_seconds",
            "How long passes took.",
            buckets=tuple(zip((*map(str, _BUCKETS_S), "+Inf"), accumulate(self._buckets), strict=True)),
            sum_value=self._duration_s,
        )
        heads = ("kind", "action", "result")
        yield _counter("operations", "Changes carried out or tried.", heads, self._operations)
        yield _counter("failures", "Failures that appeared.", ("reason",), self._failures)
        help_ = 'Changes by others that were put back; "": of the host, or of a sandbox.'
        yield _counter("drift_repaired", help_, ("network",), self._repaired)
        help_ = "When a pass last left everything as declared."
        yield _gauge("last_success_timestamp_seconds", help_, self._success_time)
        yield from self._states()
        yield from PROCESS_COLLECTOR.collect()

    def _states(self) -> Iterator[Metric]:
        desired = self._report.desired if self._report else None
        networks = Counter(self._network_states())
        yield _gauges("networks", "Networks, by state.", ("state",), {state: networks[state] for state in _STATES})
        attachments = desired.members if desired else ()
        yield _gauge("attachments", "Attachments of this host.", len(attachments))
        count = sum(len(attachment.endpoints) for attachment in attachments)
        yield _gauge("endpoints", "Attachments' places on networks.", count)
        help_ = "Networks and attachments that wait for a person, by what is in the way."
        stalled = Counter({(str(issue.unit), issue.reason) for issue in self._issues if _is_stalled(issue)})
        yield _gauges("stalled", help_, ("unit", "reason"), stalled)
        probed = self._report.probed if self._report else None
        counts = {"agreed": probed.asked - probed.differing, "differing": probed.differing} if probed else {}
        help_ = "Packets of the last round of --probe that counted, by whether they went as the specs say."
        yield _gauges("probe_packets", help_, ("result",), counts)
        unwritten = any(issue.unit == STATUS_UNIT for issue in self._issues)
        help_ = "Whether files of the status or state folder could not be written after the last pass."
        yield _gauge("status_unwritten", help_, unwritten)
        yield _gauge("spec_faults", "Faults in the specs.", len(self._report.spec_faults) if self._report else 0)

    def _network_states(self) -> Iterator[str]:
        by_unit = {issue.unit: issue for issue in sorted(self._issues, key=lambda issue: not issue.is_retryable)}
        of_host = by_unit.get(HOST_UNIT)
        names = _networks(self._report)
        names |= {unit.network for unit in by_unit if unit.network and not unit.attachment} - SERVICES
        for name in names:
            yield _state(by_unit.get(Unit(network=name)) or of_host)


def _networks(report: Report | None) -> set[str]:
    return {network.name for network in report.desired.networks} if report else set()


def _state(issue: Unsettled | None) -> str:
    if issue is None or issue.reason in OTHERS_IN_FORCE:  # what is in force instead is as declared
        return "ready"
    if issue.is_on_purpose:
        return "suspended" if issue.reason == "Suspended" else "drifted"
    return "reconciling" if issue.is_retryable else "stalled"


def _is_stalled(issue: Unsettled) -> bool:
    return not issue.is_on_purpose and not issue.is_retryable


def _operation_labels(outcome: Outcome) -> tuple[str, str, str]:
    operation = outcome.operation
    result = "skipped" if outcome.skipped else "done" if outcome.error is None else "failed"
    return operation.object.kind, str(operation.action), result


def _repaired_networks(outcomes: Iterable[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.error is None and not outcome.operation.is_news:
            yield outcome.operation.unit.network


def _is_rendered(media: str) -> bool:
    """Return whether `prometheus_client` may see this: it claims to know each later version, and fails on one that is no number."""
    parameters = (part.strip().partition("=") for part in media.split(";"))
    return {value for key, _, value in parameters if key == "version"} <= {_VERSION}


def _counter(name: str, help_: str, heads: Sequence[str], counts: _Counts) -> Metric:
    return _filled(CounterMetricFamily(f"reconciler_{name}", help_, labels=heads), counts)


def _gauges(name: str, help_: str, heads: Sequence[str], counts: _Counts) -> Metric:
    return _filled(GaugeMetricFamily(f"reconciler_{name}", help_, labels=heads), counts)


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"reconciler_{name}", help_, value=value)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, counts: _Counts) -> Metric:
    """Sort. No text, however it came, may keep all figures from being rendered."""
    for labels, count in sorted(((key,) if isinstance(key, str) else key, count) for key, count in counts.items()):
        family.add_metric([label.encode(errors="replace").decode() for label in labels], count)
    return family


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MESSAGE_MAX]
