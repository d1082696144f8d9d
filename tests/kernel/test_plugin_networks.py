"""Networks of a plugin, end to end: the reference plugin in its own process, real traffic, every kind of restart."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.kernel.reference_plugin import ReferencePlugin, reference_plugin
from tests.kernel.test_pass_killed import Way, each_death, every_death, leftovers
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.pipeline.host_view import everything, records, settled

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}
  local: {ipam: {config: [{subnet: 10.71.0.0/24}]}}
attachments:
  left: {networks: {fabric: {ipv4_address: 10.70.0.10, aliases: [port-side]}}}
  right: {networks: {fabric: {ipv4_address: 10.70.0.11}, local: {}}}
"""


@pytest.fixture
def plugin(machine: Machine, host_ns: str, tmp_path: Path) -> Iterator[ReferencePlugin]:
    with reference_plugin(machine, host_ns, tmp_path / "calls") as made:
        yield made


def inspected(reconcile: Reconcile, *what: str) -> Any:
    return json.loads(reconcile.ok(*what).stdout)[0]


def creations(plugin: ReferencePlugin) -> list[str]:
    return [method for method, _ in plugin.calls() if method.startswith("Create")]


def test_members_of_a_plugins_network_reach_each_other_and_go_without_a_trace(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str, plugin: ReferencePlugin
) -> None:
    before = everything(machine, host_ns)
    reconcile.write(specs=SPECS)

    reconcile.ok()

    assert machine.ping("left", "10.70.0.11")
    assert machine.ping("right", "10.71.0.1")
    assert machine.default_gateway("left") == "10.70.0.1"
    assert machine.run("right", "getent", "hosts", "port-side").stdout.split()[0] == "10.70.0.10"
    assert machine.links("left") == ["eth0", "lo"]
    assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0
    assert [method for method, _ in plugin.calls()] == [
        "Activate",
        "GetCapabilities",
        "CreateNetwork",
        *["CreateEndpoint", "Join", "EndpointOperInfo"] * 2,
        *["ProgramExternalConnectivity"] * 2,
    ]
    reconcile.ok("down")
    assert everything(machine, host_ns) == before
    assert [method for method, _ in plugin.calls()][-6:] == [
        "RevokeExternalConnectivity",
        *["Leave", "DeleteEndpoint"] * 2,
        "DeleteNetwork",
    ]


def test_inspect_shows_what_the_plugin_chose(reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()

    network = inspected(reconcile, "network", "inspect", "fabric")
    endpoint = inspected(reconcile, "attachment", "inspect", "left")["NetworkSettings"]["Networks"]["fabric"]

    assert (network["Driver"], network["Scope"], network["IPAM"]["Driver"]) == ("reference", "local", "default")
    (link,) = [link for link in machine.ip_json("left", "link", "show") if link["ifname"] == "eth0"]
    assert endpoint["MacAddress"] == link["address"]
    assert endpoint["MacAddress"].startswith("02:7e:")
    assert endpoint["Gateway"] == "10.70.0.1"
    assert endpoint["EndpointOperInfo"] == {"port": f"rpn{endpoint['EndpointID'][:11]}"}


def test_plugin_killed_and_restarted_between_passes_is_told_nothing_twice(
    reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    plugin.stop(signal.SIGKILL)
    before = plugin.calls()

    reconcile.ok()
    assert machine.ping("left", "10.70.0.11")
    reconcile.write(specs=SPECS + "  third: {networks: {fabric: {}}, }\n")
    failed = reconcile()
    assert failed.exit_code == 1
    assert "plugin 'reference'" in failed.stderr
    plugin.start()
    reconcile.ok()

    assert machine.ping("third", "10.70.0.10")
    assert plugin.counted_twice() == []
    assert creations(plugin) == ["CreateNetwork", *["CreateEndpoint"] * 3]
    assert plugin.calls()[: len(before)] == before


def test_sandbox_made_anew_is_joined_anew(reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    first = len(plugin.calls())
    machine.delete_namespace("left")

    reconcile.ok()

    assert machine.ping("left", "10.70.0.11")
    assert [method for method, _ in plugin.calls()[first:]] == [
        "Activate",
        "RevokeExternalConnectivity",
        "Leave",
        "DeleteEndpoint",
        "GetCapabilities",
        "CreateEndpoint",
        "Join",
        "EndpointOperInfo",
        "ProgramExternalConnectivity",
    ]
    assert plugin.counted_twice() == []


@pytest.mark.parametrize("victim", ["link in the sandbox", "link and mark"])
def test_link_that_somebody_took_away_comes_back(
    victim: str, reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ReferencePlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    if victim == "link in the sandbox":
        machine.run("left", "ip", "link", "delete", "eth0")
    else:
        machine.run("left", "ip", "link", "set", "eth0", "group", "0")
        machine.run("left", "ip", "link", "set", "eth0", "netns", "1", check=False)
        machine.run("left", "ip", "link", "delete", "eth0", check=False)

    reconcile.ok()

    assert machine.ping("left", "10.70.0.11")
    assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0
    assert plugin.counted_twice() == []


def test_addresses_and_routes_taken_off_a_plugins_link_are_put_back(
    reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    calls = plugin.calls()
    machine.run("left", "ip", "address", "flush", "dev", "eth0")

    reconcile.ok()

    assert machine.ping("left", "10.70.0.11")
    assert machine.default_gateway("left") == "10.70.0.1"
    assert plugin.calls() == calls


def test_options_changed_make_the_network_and_its_endpoints_anew(
    reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    first = len(plugin.calls())
    reconcile.write(specs=SPECS.replace("driver: reference,", 'driver: reference, driver_opts: {mtu: "1300"},'))

    reconcile.ok()

    assert machine.ping("left", "10.70.0.11", size_bytes=1272)
    (link,) = [link for link in machine.ip_json("left", "link", "show") if link["ifname"] == "eth0"]
    assert link["mtu"] == 1300
    assert [m for m, _ in plugin.calls()[first:] if m not in ("Activate", "GetCapabilities")] == [
        *["RevokeExternalConnectivity"] * 2,
        *["Leave", "DeleteEndpoint"] * 2,
        "DeleteNetwork",
        "CreateNetwork",
        *["CreateEndpoint", "Join", "EndpointOperInfo"] * 2,
        *["ProgramExternalConnectivity"] * 2,
    ]
    assert plugin.counted_twice() == []


def test_network_of_an_attachment_may_come_and_go(
    reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ReferencePlugin
) -> None:
    alone = SPECS.replace("fabric: {ipv4_address: 10.70.0.11}, local: {}", "local: {}")
    reconcile.write(specs=alone)
    reconcile.ok()
    reconcile.write(specs=SPECS)
    reconcile.ok()
    assert machine.ping("right", "10.70.0.10")

    reconcile.write(specs=alone)
    reconcile.ok()

    assert machine.links("right") == ["eth0", "lo"]
    assert machine.ping("right", "10.71.0.1")
    assert [link for link in machine.links(host_ns) if link.startswith("rpf")] == []


def test_interface_name_may_be_declared(reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin) -> None:
    reconcile.write(specs=SPECS.replace("aliases: [port-side]", "interface_name: fab0"))
    reconcile.ok()

    assert machine.links("left") == ["fab0", "lo"]
    assert machine.ping("left", "10.70.0.11")


def test_network_with_ipv6_and_internal_has_both_families_and_no_way_out(
    reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin
) -> None:
    reconcile.write(
        specs="""
networks:
  fabric:
    driver: reference
    internal: true
    enable_ipv6: true
    ipam: {config: [{subnet: 10.70.0.0/24}, {subnet: "fd00:70::/64"}]}
attachments:
  left: {networks: {fabric: {ipv6_address: "fd00:70::a"}}}
  right: {networks: {fabric: {}}}
"""
    )
    reconcile.ok()

    assert machine.ping("right", "fd00:70::a")
    assert machine.default_gateway("left") is None
    assert machine.default_gateway("left", "-6") is None


def test_state_folder_lost_leads_to_the_same_networks(
    reconcile: Reconcile, machine: Machine, plugin: ReferencePlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    for path in machine.state_dir.glob("state.db*"):
        path.unlink()

    reconcile.ok()

    assert machine.ping("left", "10.70.0.11")
    assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0


CALLS = ("client", "SqliteStore")
"""Calls to the plugin, and the records of them."""


@pytest.mark.long
def test_pass_and_down_killed_anywhere_are_completed_and_nothing_is_made_twice(
    forked: ForkedReconcile, machine: Machine, uplink: str, plugin: ReferencePlugin
) -> None:
    before = everything(machine, "H")
    forked.write(specs=SPECS)

    def built(where: str) -> None:
        forked.ok()
        assert machine.ping("left", "10.70.0.11"), where
        assert plugin.counted_twice() == [], where
        assert leftovers(machine) == [], where

    def gone(where: str) -> None:
        forked.ok("down")
        assert everything(machine, "H") == before, where
        assert records(machine) == {}, where
        assert plugin.counted_twice() == [], where

    count = every_death(
        Way(run=lambda number: forked(die_before=number), judge=built, again=forked.ok, share=(1, 4)),
        Way(run=lambda number: forked("down", die_before=number), judge=gone, share=(2, 4)),
        CALLS,
    )

    assert count > 20
    assert settled(lambda: everything(machine, "H")) == before


@pytest.mark.long
def test_down_killed_anywhere_is_undone_by_a_pass(
    forked: ForkedReconcile, machine: Machine, uplink: str, plugin: ReferencePlugin
) -> None:
    forked.write(specs=SPECS)
    forked.ok()

    def judge(where: str) -> None:
        forked.ok()
        assert machine.ping("left", "10.70.0.11"), where
        assert plugin.counted_twice() == [], where

    down = Way(run=lambda number: forked("down", die_before=number), judge=judge, again=forked.ok, share=(1, 4))
    assert each_death(down, forked.ok, CALLS) > 10
