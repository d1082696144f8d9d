"""The bench of networks over several hosts, on a small scale: that it runs. Its figures mean nothing here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_cluster import reach_times, storm
from tests.bench.cluster_costs import event_cost, store_cost
from tests.machine import Machine

pytestmark = pytest.mark.kernel


def test_bench_reaches_new_endpoints_from_another_host(machine: Machine, tmp_path: Path) -> None:
    times = reach_times(machine, tmp_path / "reach", "etcd", rounds=2)

    assert len(times) == 2


def test_hosts_that_join_at_once_converge_without_a_duplicate(machine: Machine, tmp_path: Path) -> None:
    found = storm(machine, tmp_path / "storm", "etcd", hosts=3, per_host=4)

    assert found.addresses == found.endpoints == 12
    assert found.entries == 8


@pytest.mark.long
def test_bench_tells_what_events_cost_and_that_other_networks_are_not_read(machine: Machine, tmp_path: Path) -> None:
    cost = event_cost(machine, tmp_path / "events", "etcd", 20, events=2)
    store = store_cost(machine, tmp_path / "store", "etcd", endpoints=40, events=2, watchers=2)

    assert cost.come_ms > 0
    assert cost.read_bytes > 0
    assert store.publish_ms > 0
    assert store.other_bytes < 40 * 100  # what 40 endpoints say takes more than twice that
