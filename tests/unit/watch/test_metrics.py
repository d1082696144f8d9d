"""Figures about passes, and what counts as well."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

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
from reconciler.watch.metrics import Metrics
from tests.fakes.reports import FRONT, WEB, made, report

FAULT = SpecError("a.yaml", 3, 1, "what is this?")


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Watched:
    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(quiet_max_s=600, clock=self.clock, wall=lambda: 1_800_000_000.5)

    def samples(self) -> dict[str, str]:
        """Give the values by name and labels, without the prefix."""
        lines = [line for line in self.metrics.text().splitlines() if not line.startswith("#")]
        return dict(line.removeprefix("reconciler_").rsplit(" ", 1) for line in lines)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_every_family_is_explained_once_and_ends_with_a_line_break(watched: Watched) -> None:
    text = watched.metrics.text()

    heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(heads) == len(set(heads)) == text.count("# HELP ")
    assert all(head.startswith("reconciler_") for head in heads)
    assert text.endswith("\n")


def test_passes_and_operations_are_counted_by_how_they_ended(watched: Watched) -> None:
    error = KernelError(16, "create bridge")

    watched.metrics.passed(report(made(), made(error=error), made(error=error, skipped=True)), 0.2, is_drift=False)
    watched.metrics.passed(report(problems=((FRONT, error),)), 0.2, is_drift=False)
    watched.metrics.failed(KvUnavailable("no store"))

    samples = watched.samples()
    for result in ("fine", "degraded", "failed"):
        assert samples[f'passes_total{{result="{result}"}}'] == "1"
    for result in ("done", "failed", "skipped"):
        assert samples[f'operations_total{{kind="Bridge",action="create",result="{result}"}}'] == "1"
    assert samples["last_success_timestamp_seconds"] == "1800000000.5"


def test_durations_are_a_cumulative_histogram(watched: Watched) -> None:
    for elapsed_s in (0.005, 0.2, 100.0):
        watched.metrics.passed(report(), elapsed_s, is_drift=False)

    samples = watched.samples()
    found = [
        samples[f'pass_duration_seconds_bucket{{le="{bound}"}}'] for bound in ("0.005", "0.1", "0.25", "60.0", "+Inf")
    ]
    assert found == ["1", "1", "2", "2", "3"]
    assert samples["pass_duration_seconds_count"] == "3"
    assert samples["pass_duration_seconds_sum"] == "100.205"


def test_a_failure_counts_when_it_appears_and_again_after_it_was_mended(watched: Watched) -> None:
    failing = report(problems=((FRONT, NameConflict("taken")),), faults=(FAULT,))

    for found in (failing, failing, report(), failing):
        watched.metrics.passed(found, 0.1, is_drift=False)

    assert watched.samples()['failures_total{reason="OwnershipConflict"}'] == "2"
    assert watched.samples()['failures_total{reason="ValidationFailed"}'] == "2"
    assert watched.samples()["spec_faults"] == "1"


def test_repaired_drift_is_counted_by_network_but_not_our_own_records(watched: Watched) -> None:
    record = made(KvRecord(unit=FRONT, path="network/front", value="{}"))

    watched.metrics.passed(report(made()), 0.1, is_drift=False)
    watched.metrics.passed(report(made(), made(), record), 0.1, is_drift=True)

    assert watched.samples()['drift_repaired_total{network="front"}'] == "2"


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
    assert found.pop(f'networks{{state="{state}"}}') == "1"
    assert set(found.values()) == {"0"}


def test_endpoints_and_attachments_are_those_of_the_last_pass(watched: Watched) -> None:
    watched.metrics.passed(report(), 0.1, is_drift=False)

    assert (watched.samples()["attachments"], watched.samples()["endpoints"]) == ("1", "1")


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


def test_labels_are_escaped(watched: Watched) -> None:
    evil = 'a"b\\c\nd'

    watched.metrics.passed(
        report(made(KvRecord(unit=Unit(network=evil), path="p", value="")), made(), networks=("front",)),
        0.1,
        is_drift=True,
    )
    watched.metrics._repaired[evil] = 1  # no name can look so; the format is safe all the same

    assert 'drift_repaired_total{network="a\\"b\\\\c\\nd"} 1' in watched.metrics.text()


def test_what_waits_for_a_person_is_named_with_its_reason(watched: Watched) -> None:
    taken, fight = NameConflict("taken"), FightingWriter("put back 6 times")
    watched.metrics.passed(
        report(problems=((FRONT, taken), (WEB, fight), (HOST_UNIT, KvUnavailable("down")))), 0.1, is_drift=False
    )

    stalled = {name: value for name, value in watched.samples().items() if name.startswith("stalled")}

    assert stalled == {
        'stalled{unit="network front",reason="OwnershipConflict"}': "1",
        'stalled{unit="attachment web",reason="FightingWriter"}': "1",
    }
