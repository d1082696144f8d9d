"""The watcher and plugins that come, go and hang."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.fakes.scripted_plugin import ScriptedPlugin, hang
from tests.kernel.reference_plugin import SOCKETS, reference_plugin
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}
  local: {ipam: {config: [{subnet: 10.71.0.0/24}]}}
attachments:
  left: {networks: {fabric: {ipv4_address: 10.70.0.10}}}
  right: {networks: {fabric: {ipv4_address: 10.70.0.11}, local: {}}}
"""
DEADLINE_S = 30.0


@pytest.fixture
def watcher(reconcile: Reconcile) -> Iterator[subprocess.Popen[bytes]]:
    reconcile.write(specs=SPECS)
    process = reconcile.start("-q", "watch", env={"RECONCILE_PLUGIN_TIMEOUT": "1"})
    yield process
    process.kill()
    process.wait()


def condition(machine: Machine, name: str) -> Any:
    try:
        summary = machine.summary()
    except FileNotFoundError:
        return None
    ready = next(each for each in summary["networks"][name]["conditions"] if each["type"] == "Ready")
    return ready["reason"] if ready["status"] == "False" else "Ready"


def test_plugin_that_comes_late_is_found_without_being_told(
    watcher: subprocess.Popen[bytes], machine: Machine, host_ns: str, tmp_path: Path
) -> None:
    assert eventually(lambda: condition(machine, "fabric") == "PluginFailed", DEADLINE_S)
    assert machine.ping("right", "10.71.0.1")

    with reference_plugin(machine, host_ns, tmp_path / "calls") as plugin:
        assert machine.ping("left", "10.70.0.11", deadline_s=DEADLINE_S)
        assert eventually(lambda: condition(machine, "fabric") == "Ready", DEADLINE_S)
        machine.run("left", "ip", "link", "delete", "eth0")
        assert machine.ping("left", "10.70.0.11", deadline_s=DEADLINE_S)
        assert plugin.counted_twice() == []


def test_local_networks_follow_the_specs_while_a_plugin_hangs(
    watcher: subprocess.Popen[bytes], machine: Machine, reconcile: Reconcile
) -> None:
    plugin = ScriptedPlugin()
    plugin.answers["NetworkDriver.CreateNetwork"] = hang()
    with plugin.serving(SOCKETS / "reference.sock"):
        assert eventually(lambda: condition(machine, "fabric") == "PluginFailed", DEADLINE_S)

        (reconcile.specs / "more.yaml").write_text("attachments: {third: {networks: {local: {}}}}\n")

        assert eventually(lambda: "third" in machine.namespaces(), DEADLINE_S)
        assert machine.ping("third", "10.71.0.1")
        assert condition(machine, "local") == "Ready"
