"""A watcher that sends packets: what breaks them outside of what it looks at is told, and what vanishes is not."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.kernel.test_watch_operations import page
from tests.waiting import eventually, exit_code_of

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  front: {ipam: {config: [{subnet: 10.5.0.0/24}]}}
attachments:
  web: {networks: {front: {ipv4_address: 10.5.0.10}}}
  db: {networks: {front: {ipv4_address: 10.5.0.11}}}
"""

FOREIGN = """table ip stranger {
    chain input { type filter hook input priority 0; icmp type echo-request drop; }
}"""


def test_a_broken_flow_is_told_until_it_heals_and_a_sandbox_that_goes_is_no_alarm(
    reconcile: Reconcile, tmp_path: Path
) -> None:
    reconcile.write(all=SPECS)
    metrics, machine = tmp_path / "metrics.sock", reconcile.machine
    watcher = reconcile.start("watch", "--probe", "1s", "--metrics", f"unix:{metrics}")

    def probed() -> Any:
        file = machine.state_dir / "status" / "summary.json"
        found = json.loads(file.read_text())["conditions"] if file.exists() else []
        return {each["type"]: each for each in found}.get("Probed", {})

    def says(reason: str) -> bool:
        return bool(probed().get("reason") == reason)

    def shows(figure: str) -> bool:
        return eventually(lambda: figure in page(metrics, "/metrics")[1], deadline_s=20)

    try:
        assert eventually(lambda: says("PacketsAgree"), deadline_s=20)
        assert shows('reconciler_probe_packets{result="differing"} 0.0')

        (tmp_path / "foreign.nft").write_text(FOREIGN)
        machine.run("db", "nft", "-f", str(tmp_path / "foreign.nft"))
        assert eventually(lambda: says("PacketsDisagree"), deadline_s=20)
        assert probed()["status"] == "False"
        assert "web → db at 10.5.0.11 (icmp): does not arrive, and should" in probed()["message"]
        assert shows('reconciler_probe_packets{result="differing"} 2.0')

        machine.run("db", "nft", "delete", "table", "ip", "stranger")
        assert eventually(lambda: says("PacketsAgree"), deadline_s=20)

        for _ in range(3):  # some of these fall into a round
            machine.delete_namespace("db")
            assert eventually(lambda: "db" in machine.namespaces() and machine.ping("web", "10.5.0.11"), deadline_s=20)
        assert shows('reconciler_probe_packets{result="agreed"} 6.0')
        told = [json.loads(line) for line in reconcile.ok("events").stdout.splitlines()]
        assert [each["reason"] for each in told if each["event"] == "probed"] == [
            "PacketsAgree",
            "PacketsDisagree",
            "PacketsAgree",
        ]
        watcher.send_signal(signal.SIGTERM)
        assert exit_code_of(watcher, deadline_s=20) == 0
    finally:
        watcher.kill()
        watcher.wait()
        reconcile("down")
