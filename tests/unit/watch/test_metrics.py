"""Figures about passes, and what counts as well."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from reconciler.errors import (
    FightingWriter,
    KernelError,
    KvUnavailable,
    NameConflict,
    ReconcilerError,
    SandboxMissing,
    SpecError,
    Suspended,
)
from reconciler.model.objects import HOST_UNIT, KvRecord, Unit
from reconciler.model.report import Probed
from reconciler.watch.metrics import Metrics
from tests.fakes.clock import Clock
from tests.fakes.reports import FRONT, WEB, made, report

FAULT = SpecError("a.yaml", 3, 1, "what is this?")


@dataclass
class Watched:
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(quiet_max_s=600, clock=self.clock, wall=lambda: 1_800_000_000.5)

    def families(self) -> list[Metric]:
        """Read the page as Prometheus does."""
        return list(text_string_to_metric_families(self.metrics.page()[1].decode()))

    def samples(self) -> dict[str, float]:
        """Give our values by name and labels, without the prefix."""
        ours = [
            sample for family in self.families() for sample in family.samples if sample.name.startswith("reconciler_")
        ]
        return {sample.name.removeprefix("reconciler_") + _labels(sample): sample.value for sample in ours}


def _labels(sample: Sample) -> str:
    inner = ",".join(f'{label}="{value}"' for label, value in sample.labels.items())
    return f"{{{inner}}}" if inner else ""


@pytest.fixture
def watched() -> Watched:
    return Watched()


NAMES = """
build_info gauge: build_info{python,version}
passes_total counter: passes_total{result}
pass_duration_seconds histogram: pass_duration_seconds_bucket{le} pass_duration_seconds_count pass_duration_seconds_sum
operations_total counter: operations_total{action,kind,result}
failures_total counter: failures_total{reason}
drift_repaired_total counter: drift_repaired_total{network}
last_success_timestamp_seconds gauge: last_success_timestamp_seconds
networks gauge: networks{state}
attachments gauge: attachments
endpoints gauge: endpoints
stalled gauge: stalled{reason,unit}
probe_packets gauge: probe_packets{result}
status_unwritten gauge: status_unwritten
spec_faults gauge: spec_faults
"""
"""What dashboards and alerts go by: each family, its type, its samples and their labels. Names stay."""


def something_of_everything(watched: Watched) -> None:
    watched.metrics.passed(report(made()), 0.1, is_drift=True)
    probed = Probed(reason="PacketsAgree", message="fine", asked=3)
    degraded = replace(report(problems=((FRONT, NameConflict("taken")),)), probed=probed)
    watched.metrics.passed(degraded, 0.1, is_drift=False)


def test_names_types_and_labels_stay(watched: Watched) -> None:
    something_of_everything(watched)

    text = watched.metrics.page()[1].decode()
    found: dict[str, set[str]] = {}
    for line in text.replace("reconciler_", "").splitlines():
        if line.startswith("# TYPE "):
            found[line.removeprefix("# TYPE ")] = names = set()
        elif not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            heads = ",".join(sorted(re.findall(r'(\w+)="', labels)))
            names.add(f"{name}{{{heads}}}" if heads else name)

    ours = [f"{head}: {' '.join(sorted(names))}" for head, names in found.items() if not head.startswith("process_")]
    assert ours == NAMES.strip().splitlines()
    assert text.count("# HELP ") == text.count("# TYPE ") == len(found)
    assert text.endswith("\n")


def test_the_process_is_told_of_under_the_names_that_all_programs_have(watched: Watched) -> None:
    samples = {sample.name: sample.value for family in watched.families() for sample in family.samples}

    assert 0 < samples["process_resident_memory_bytes"] <= samples["process_virtual_memory_bytes"]
    assert 0 < samples["process_open_fds"] <= samples["process_max_fds"]
    assert samples["process_cpu_seconds_total"] > 0
    assert 0 < samples["process_start_time_seconds"] <= time.time()


OPEN_METRICS = "application/openmetrics-text"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (PROMETHEUS_3, f"{OPEN_METRICS}; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
        (f'{OPEN_METRICS}; version="1.0.0"', f"{OPEN_METRICS}; version=1.0.0; charset=utf-8; escaping=underscores"),
        (OPEN_METRICS, f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        (f"{OPEN_METRICS};version=9.9.9", "text/plain; version=0.0.4; charset=utf-8"),
        (f"{OPEN_METRICS};version=one,text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (f"{OPEN_METRICS};version=9.\xe9;version", "text/plain; version=0.0.4; charset=utf-8"),
    ],
    ids=["none", "any", "Prometheus 3", "quoted", "no version", "text 1.0", "of the future", "no number", "no text"],
)
def test_client_gets_the_format_that_it_accepts(watched: Watched, accept: str, content_type: str) -> None:
    something_of_everything(watched)

    found, page = watched.metrics.page(accept)

    assert found == content_type
    assert page.endswith(b"\n# EOF\n") == found.startswith(OPEN_METRICS)


def test_open_metrics_are_the_same_figures(watched: Watched) -> None:
    """The parser is strict: order, suffixes, units, the bounds of a histogram."""
    something_of_everything(watched)

    strict = open_metrics.text_string_to_metric_families(watched.metrics.page(OPEN_METRICS)[1].decode())

    ours = [sample for family in strict for sample in family.samples if not sample.name.startswith("process_")]
    assert {
        sample.name.removeprefix("reconciler_") + _labels(sample): sample.value for sample in ours
    } == watched.samples()


def test_passes_and_operations_are_counted_by_how_they_ended(watched: Watched) -> None:
    error = KernelError(16, "create bridge")

    watched.metrics.passed(report(made(), made(error=error), made(error=error, skipped=True)), 0.2, is_drift=False)
    watched.metrics.passed(report(problems=((FRONT, error),)), 0.2, is_drift=False)
    watched.metrics.failed(KvUnavailable("no store"))

    samples = watched.samples()
    for result in ("fine", "degraded", "failed"):
        assert samples[f'passes_total{{result="{result}"}}'] == 1
    for result in ("done", "failed", "skipped"):
        assert samples[f'operations_total{{action="create",kind="Bridge",result="{result}"}}'] == 1
    assert samples["last_success_timestamp_seconds"] == 1800000000.5


def test_durations_are_a_cumulative_histogram(watched: Watched) -> None:
    for elapsed_s in (0.005, 0.2, 100.0):
        watched.metrics.passed(report(), elapsed_s, is_drift=False)

    samples = watched.samples()
    found = [
        samples[f'pass_duration_seconds_bucket{{le="{bound}"}}'] for bound in ("0.005", "0.1", "0.25", "60.0", "+Inf")
    ]
    assert found == [1, 1, 2, 2, 3]
    assert samples["pass_duration_seconds_count"] == 3
    assert samples["pass_duration_seconds_sum"] == 100.205


def test_a_failure_counts_when_it_appears_and_again_after_it_was_mended(watched: Watched) -> None:
    failing = report(problems=((FRONT, NameConflict("taken")),), faults=(FAULT,))

    for found in (failing, failing, report(), failing):
        watched.metrics.passed(found, 0.1, is_drift=False)

    assert watched.samples()['failures_total{reason="OwnershipConflict"}'] == 2
    assert watched.samples()['failures_total{reason="ValidationFailed"}'] == 2
    assert watched.samples()["spec_faults"] == 1


def test_repaired_drift_is_counted_by_network_but_not_our_own_records(watched: Watched) -> None:
    record = made(KvRecord(unit=FRONT, path="network/front", value="{}"))

    watched.metrics.passed(report(made()), 0.1, is_drift=False)
    watched.metrics.passed(report(made(), made(), record), 0.1, is_drift=True)

    assert watched.samples()['drift_repaired_total{network="front"}'] == 2


def test_series_of_networks_that_are_gone_do_not_pile_up(watched: Watched) -> None:
    watched.metrics.passed(report(made()), 0.1, is_drift=True)

    watched.metrics.passed(report(made(), networks=("back",)), 0.1, is_drift=True)

    assert not any("front" in name for name in watched.samples())


@pytest.mark.parametrize(
    ("unit", "error", "state"),
    [
        (FRONT, None, "ready"),
        (FRONT, NameConflict("taken"), "stalled"),
        (HOST_UNIT, NameConflict("taken"), "stalled"),
        (FRONT, KvUnavailable("no store"), "reconciling"),
        (FRONT, Suspended("by root"), "suspended"),
        (HOST_UNIT, Suspended("by root"), "suspended"),
        (Unit(attachment="web"), SandboxMissing("gone"), "ready"),
    ],
    ids=["fine", "a person must act", "of the host", "tried again", "suspended", "all suspended", "of an attachment"],
)
def test_networks_are_counted_by_state(watched: Watched, unit: Unit, error: ReconcilerError | None, state: str) -> None:
    watched.metrics.passed(report(problems=((unit, error),) if error else ()), 0.1, is_drift=False)

    found = {name: value for name, value in watched.samples().items() if name.startswith("networks{")}
    assert found.pop(f'networks{{state="{state}"}}') == 1
    assert set(found.values()) == {0}


def test_endpoints_and_attachments_are_those_of_the_last_pass(watched: Watched) -> None:
    watched.metrics.passed(report(), 0.1, is_drift=False)

    assert (watched.samples()["attachments"], watched.samples()["endpoints"]) == (1, 1)


def test_watcher_is_not_well_before_its_first_pass(watched: Watched) -> None:
    assert not watched.metrics.health().is_well


def test_watcher_is_well_after_a_pass_until_there_is_none_for_too_long(watched: Watched) -> None:
    watched.metrics.passed(report(), 0.1, is_drift=False)

    assert (watched.metrics.health().is_well, watched.metrics.health().reason) == (True, "fine")
    watched.clock.now_s += 601
    assert not watched.metrics.health().is_well
    assert "601 s" in watched.metrics.health().reason


def test_degraded_is_well_and_says_why(watched: Watched) -> None:
    watched.metrics.passed(report(problems=((FRONT, NameConflict("docker0\nis taken")),)), 0.1, is_drift=False)

    health = watched.metrics.health()
    assert (health.is_well, health.reason) == (True, "degraded: 1 not as declared: network front: docker0 is taken")


def test_bad_specs_are_degraded(watched: Watched) -> None:
    watched.metrics.passed(report(faults=(FAULT,)), 0.1, is_drift=False)

    assert watched.metrics.health().reason == "degraded: 1 fault in the specs: a.yaml:3:1: what is this?"


def test_impossible_passes_are_not_well_until_one_is_possible(watched: Watched) -> None:
    watched.metrics.passed(report(), 0.1, is_drift=False)

    watched.metrics.failed(KvUnavailable("no store"))
    assert not watched.metrics.health().is_well
    assert "no store" in watched.metrics.health().reason
    watched.metrics.passed(report(), 0.1, is_drift=False)
    assert watched.metrics.health().is_well


@pytest.mark.parametrize(
    ("evil", "told"), [('a"b\\c\nd', 'a"b\\c\nd'), ("a\udcffb", "a?b")], ids=["what is escaped", "what has no bytes"]
)
@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_no_text_spoils_the_page(watched: Watched, evil: str, told: str, accept: str) -> None:
    watched.metrics._repaired[evil] = 1  # no name can look so; the format is safe all the same

    page = watched.metrics.page(accept)[1].decode()

    parse = open_metrics.text_string_to_metric_families if accept else text_string_to_metric_families
    labels = [sample.labels for family in parse(page) for sample in family.samples if "drift" in sample.name]
    assert labels == [{"network": told}]


def test_what_waits_for_a_person_is_named_with_its_reason(watched: Watched) -> None:
    taken, fight = NameConflict("taken"), FightingWriter("put back 6 times")
    watched.metrics.passed(
        report(problems=((FRONT, taken), (WEB, fight), (HOST_UNIT, KvUnavailable("down")))), 0.1, is_drift=False
    )

    stalled = {name: value for name, value in watched.samples().items() if name.startswith("stalled")}

    assert stalled == {
        'stalled{reason="OwnershipConflict",unit="network front"}': 1,
        'stalled{reason="FightingWriter",unit="attachment web"}': 1,
    }
