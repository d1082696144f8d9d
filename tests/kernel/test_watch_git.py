"""A watcher whose specs come from a repository: status, events and metrics tell of commits."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.kernel.test_watch_operations import page
from tests.unit.review.repository import commit, git, make_repository
from tests.waiting import eventually, exit_code_of

pytestmark = pytest.mark.kernel

SPECS = {"specs/a.yaml": "networks: {front: {}}\nattachments: {web: {networks: [front]}}\n"}


def test_a_host_follows_a_branch_and_keeps_the_last_good_commit(reconcile: Reconcile, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository", SPECS)
    metrics, machine = tmp_path / "metrics.sock", reconcile.machine
    watcher = reconcile.start(
        "watch", "--git", f"{repository}#main:specs", "--git-interval", "1h", "--metrics", f"unix:{metrics}"
    )

    def summary() -> Any:
        file = machine.state_dir / "status" / "summary.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def is_at(revision: str) -> bool:
        return bool(summary().get("observedRevision", {}).get("commit") == revision)

    try:
        first = git(repository, "rev-parse", "HEAD")
        assert eventually(lambda: is_at(first), deadline_s=20)
        assert machine.links("web") == ["eth0", "lo"]

        commit(repository, {"specs/b.yaml": "networks: {back: {intrenal: true}}\n"})
        watcher.send_signal(signal.SIGHUP)
        assert eventually(lambda: "RevisionRefused" in json.dumps(summary()["conditions"]), deadline_s=20)
        found = summary()
        assert (found["observedRevision"]["commit"], found["specFaults"]) == (first, [])
        assert {each["status"] for each in found["networks"]["front"]["conditions"] if each["type"] == "Ready"} == {
            "True"
        }
        figures = page(metrics, "/metrics")[1]
        assert f'reconciler_specs_info{{commit="{first}"}} 1.0' in figures
        assert 'reconciler_stalled{reason="RevisionRefused",unit="host"} 1.0' in figures

        commit(repository, {"specs/b.yaml": "networks: {back: {internal: true}}\n"})
        second = git(repository, "rev-parse", "HEAD")
        watcher.send_signal(signal.SIGHUP)
        assert eventually(lambda: is_at(second), deadline_s=20)
        assert "RevisionRefused" not in json.dumps(summary()["conditions"])
        told = [
            (each["event"], each.get("revision", each.get("reason")))
            for each in map(json.loads, reconcile.ok("events").stdout.splitlines())
        ]
        assert [each for each in told if each[0] in ("revision", "refused", "settled")] == [
            ("revision", first),
            ("refused", "RevisionRefused"),
            ("revision", second),
            ("settled", "RevisionRefused"),
        ]
        watcher.send_signal(signal.SIGTERM)
        assert exit_code_of(watcher, deadline_s=20) == 0
    finally:
        watcher.kill()
        watcher.wait()
        reconcile("down")
