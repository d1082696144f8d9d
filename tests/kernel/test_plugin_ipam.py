"""Pools and addresses of an IPAM plugin, on networks of our own drivers and of plugins, with real traffic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.fakes.scripted_ipam import ScriptedIpam
from tests.fakes.scripted_plugin import ScriptedPlugin, hang, http
from tests.kernel.reference_plugin import SOCKETS
from tests.kernel.test_pass_killed import Way, each_death
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.pipeline.host_view import records

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  leased: {ipam: {driver: books, options: {zone: a}, config: [{subnet: 10.90.0.0/24}]}}
  local: {ipam: {config: [{subnet: 10.71.0.0/24}]}}
attachments:
  one: {networks: {leased: {}}}
  two: {networks: {leased: {ipv4_address: 10.90.0.7}, local: {}}}
  near: {networks: {local: {}}}
"""
DECLARED = """
networks:
  leased:
    enable_ipv6: true
    ipam:
      driver: books
      config:
        - {subnet: 10.91.0.0/24, ip_range: 10.91.0.128/25, gateway: 10.91.0.9, aux_addresses: {router: 10.91.0.8}}
        - {subnet: "fd00:91::/64"}
attachments:
  one: {networks: {leased: {}}}
  two: {networks: {leased: {}}}
"""
SETTINGS = {"RECONCILE_PLUGIN_TIMEOUT": "2"}


@pytest.fixture
def books() -> ScriptedIpam:
    return ScriptedIpam()


@pytest.fixture
def plugin(books: ScriptedIpam) -> Iterator[ScriptedPlugin]:
    with ScriptedPlugin(answers=books.answers()).serving(SOCKETS / "books.sock") as made:
        yield made


def of_ipam(plugin: ScriptedPlugin) -> list[str]:
    return [method.removeprefix("IpamDriver.") for method in plugin.called() if method.startswith("IpamDriver.Re")]


def asked(plugin: ScriptedPlugin, method: str) -> list[Mapping[str, Any]]:
    return [arguments for name, arguments in plugin.calls if name == f"IpamDriver.{method}"]


def test_addresses_come_from_the_plugin_and_go_back_to_it(
    reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin, books: ScriptedIpam
) -> None:
    reconcile.write(specs=SPECS)

    reconcile.ok()

    assert machine.ping("one", "10.90.0.7")
    assert machine.default_gateway("one") == "10.90.0.254"
    assert books.taken == {"here/10.90.0.0/24": {"10.90.0.254", "10.90.0.7", "10.90.0.100"}}
    assert asked(plugin, "RequestPool") == [
        {"AddressSpace": "here", "Pool": "10.90.0.0/24", "SubPool": "", "Options": {"zone": "a"}, "V6": False}
    ]
    assert asked(plugin, "RequestAddress") == [
        {
            "PoolID": "here/10.90.0.0/24",
            "Address": "",
            "Options": {"RequestAddressType": "com.docker.network.gateway"},
        },
        {"PoolID": "here/10.90.0.0/24", "Address": "", "Options": None},
        {"PoolID": "here/10.90.0.0/24", "Address": "10.90.0.7", "Options": None},
    ]
    assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0
    before = len(plugin.calls)
    reconcile.ok()
    assert len(plugin.calls) == before

    reconcile.ok("down")

    assert (books.pools, books.taken) == ({}, {"here/10.90.0.0/24": set()})
    assert of_ipam(plugin)[-4:] == ["ReleaseAddress"] * 3 + ["ReleasePool"]
    assert records(machine) == {}


def test_inspect_names_the_plugin_and_what_was_asked_for(
    reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()

    network = json.loads(reconcile.ok("network", "inspect", "leased").stdout)[0]
    shown = {
        name: json.loads(reconcile.ok("attachment", "inspect", name).stdout)[0]["NetworkSettings"]["Networks"]["leased"]
        for name in ("one", "two")
    }

    assert network["IPAM"] == {
        "Driver": "books",
        "Options": {"zone": "a"},
        "Config": [{"Subnet": "10.90.0.0/24", "Gateway": "10.90.0.254"}],
    }
    assert (shown["one"]["IPAMConfig"], shown["one"]["IPAddress"]) == (None, "10.90.0.100")
    assert shown["two"]["IPAMConfig"] == {"IPv4Address": "10.90.0.7"}


def test_declared_pools_ranges_gateways_and_auxiliary_addresses_reach_the_plugin(
    reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin, books: ScriptedIpam
) -> None:
    reconcile.write(specs=DECLARED)
    reconcile.ok()

    assert asked(plugin, "RequestPool") == [
        {"AddressSpace": "here", "Pool": "10.91.0.0/24", "SubPool": "10.91.0.128/25", "Options": {}, "V6": False},
        {"AddressSpace": "here", "Pool": "fd00:91::/64", "SubPool": "", "Options": {}, "V6": True},
    ]
    assert {"10.91.0.8", "10.91.0.9"} < books.taken["here/10.91.0.0/24"]
    assert machine.ping("one", "fd00:91::65")
    assert machine.ping("two", "10.91.0.100")
    reconcile.ok("down")
    assert books.pools == {}


def test_plugin_that_requires_macs_is_told_those_that_the_endpoints_get(
    reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin, books: ScriptedIpam
) -> None:
    books.needs_mac = True
    plugin.answers |= books.answers()
    reconcile.write(specs=SPECS)
    reconcile.ok()

    told = [each["Options"]["com.docker.network.endpoint.macaddress"] for each in asked(plugin, "RequestAddress")[1:]]
    links = [
        link["address"]
        for ns in ("one", "two")
        for link in machine.ip_json(ns, "link", "show")
        if link["ifname"] == "eth0"
    ]
    assert told == links


def test_plugin_that_was_started_anew_is_asked_again_for_what_it_gave(reconcile: Reconcile, machine: Machine) -> None:
    books = ScriptedIpam(needs_replay=True)
    plugin = ScriptedPlugin(answers=books.answers())
    reconcile.write(specs=SPECS)
    with plugin.serving(SOCKETS / "books.sock"):
        reconcile.ok()
        reconcile.ok()
        taken = {pool: set(addresses) for pool, addresses in books.taken.items()}
    first = len(of_ipam(plugin))
    books.forget()

    reconcile.ok()  # nobody is there to ask, and nothing needs to be
    with plugin.serving(SOCKETS / "books.sock"):
        reconcile.ok()

        assert books.taken == taken
        assert of_ipam(plugin)[first:] == ["RequestPool", *["RequestAddress"] * 3]
        assert machine.ping("one", "10.90.0.7")
        assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0


def test_network_of_a_plugin_gets_what_the_ipam_plugin_gave(
    reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ScriptedPlugin
) -> None:
    machine.run("", "ip", "-n", host_ns, "link", "add", "given", "type", "veth", "peer", "kept")
    plugin.answers |= {
        f"NetworkDriver.{method}": {}
        for method in ("CreateNetwork", "CreateEndpoint", "DeleteEndpoint", "DeleteNetwork", "Leave")
    }
    plugin.answers["NetworkDriver.GetCapabilities"] = {"Scope": "global"}
    plugin.answers["NetworkDriver.Join"] = {
        "InterfaceName": {"SrcName": "given", "DstPrefix": "eth"},
        "Gateway": "10.90.0.254",
    }
    reconcile.write(
        specs="networks: {leased: {driver: books, ipam: {driver: books}}}\nattachments: {one: {networks: {leased: {}}}}\n"
    )

    reconcile.ok()

    network = next(arguments for method, arguments in plugin.calls if method == "NetworkDriver.CreateNetwork")
    endpoint = next(arguments for method, arguments in plugin.calls if method == "NetworkDriver.CreateEndpoint")
    assert network["IPv4Data"] == [
        {"AddressSpace": "GlobalDefault", "Gateway": "10.90.0.254/24", "Pool": "10.90.0.0/24"}
    ]
    assert endpoint["Interface"]["Address"] == "10.90.0.100/24"
    assert asked(plugin, "RequestPool")[0]["AddressSpace"] == "everywhere"
    assert machine.default_gateway("one") == "10.90.0.254"
    reconcile.ok("down")
    order = [method for method in plugin.called() if "Delete" in method or "Release" in method]
    assert order == [
        "NetworkDriver.DeleteEndpoint",
        "IpamDriver.ReleaseAddress",
        "NetworkDriver.DeleteNetwork",
        "IpamDriver.ReleaseAddress",
        "IpamDriver.ReleasePool",
    ]


BAD: dict[str, tuple[str, Any, str]] = {
    "hang": ("RequestPool", hang(), "no answer in time"),
    "500": ("RequestPool", http(500, b"boom"), "RequestPool answered 500: boom"),
    "error": ("RequestPool", {"Error": "exhausted"}, "RequestPool: exhausted"),
    "no id": ("RequestPool", {"Pool": "10.90.0.0/24"}, "PoolID: Field required"),
    "no pool": ("RequestPool", {"PoolID": "x", "Pool": "ten"}, "Pool: expected a network in CIDR notation"),
    "all": ("RequestPool", {"PoolID": "x", "Pool": "0.0.0.0/0"}, "Pool: expected a network in CIDR notation"),
    "family": ("RequestPool", {"PoolID": "x", "Pool": "fd00::/64"}, "asked for 10.90.0.0/24 and gave fd00::/64"),
    "gateway": (
        "RequestPool",
        {"PoolID": "x", "Pool": "10.90.0.0/24", "Data": {"com.docker.network.gateway": "10.1.0.1/24"}},
        "gave a gateway that is no address of 10.90.0.0/24",
    ),
    "outside": ("RequestAddress", {"Address": "10.1.0.1/24"}, "which is not in 10.90.0.0/24"),
    "no mask": ("RequestAddress", {"Address": "10.90.0.1"}, "Address: expected an address with prefix length"),
}


@pytest.mark.parametrize(("method", "answer", "text"), BAD.values(), ids=BAD)
def test_bad_answer_stalls_its_network_alone_and_is_made_good_later(
    method: str,
    answer: Any,
    text: str,
    reconcile: Reconcile,
    machine: Machine,
    plugin: ScriptedPlugin,
    books: ScriptedIpam,
) -> None:
    plugin.answers[f"IpamDriver.{method}"] = answer
    reconcile.write(specs=SPECS)

    done = reconcile(env=SETTINGS)

    assert done.exit_code == 1, done.text
    assert text in done.stderr
    assert machine.ping("near", "10.71.0.1")
    plugin.answers |= books.answers()
    books.forget()
    reconcile.ok()
    assert machine.ping("one", "10.90.0.7")


def test_running_network_stays_when_its_ipam_plugin_is_down_and_its_records_are_lost(
    reconcile: Reconcile, machine: Machine, books: ScriptedIpam
) -> None:
    reconcile.write(specs=SPECS)
    with ScriptedPlugin(answers=books.answers()).serving(SOCKETS / "books.sock"):
        reconcile.ok()
    for path in machine.state_dir.glob("state.db*"):
        path.unlink()

    assert reconcile().exit_code == 1

    assert machine.ping("one", "10.90.0.7")


@pytest.mark.long
def test_pass_killed_anywhere_is_completed_and_leaks_no_address(
    forked: ForkedReconcile, machine: Machine, host_ns: str, plugin: ScriptedPlugin, books: ScriptedIpam
) -> None:
    """But for what was asked for at the very moment: of a choice of the plugin's own nobody else knows."""
    specs = SPECS.replace("config: [{subnet: 10.90.0.0/24}]", _EXPLICIT).replace("{leased: {}}", _STATIC)
    forked.write(specs=specs)
    forked.ok()
    complete = {pool: set(addresses) for pool, addresses in books.taken.items()}

    def judge(where: str) -> None:
        tolerant(books, plugin, forked.ok)
        assert books.taken == complete, where

    up = Way(run=lambda number: forked(die_before=number), judge=judge, again=forked.ok, share=(1, 4))

    def prepare() -> None:
        forked.ok("down")
        books.forget()

    assert each_death(up, prepare, ("client", "SqliteStore")) > 10


_EXPLICIT = "config: [{subnet: 10.90.0.0/24, gateway: 10.90.0.254}]"
_STATIC = "{leased: {ipv4_address: 10.90.0.9}}"


def tolerant(books: ScriptedIpam, plugin: ScriptedPlugin, run: Callable[[], object]) -> None:
    """Let a pool be asked for that was given to somebody who cannot know of it."""
    strict = plugin.answers["IpamDriver.RequestPool"]

    def request(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        books.pools.pop(f"{asked['AddressSpace']}/{asked['Pool']}", None)
        return books.request_pool(asked)

    plugin.answers["IpamDriver.RequestPool"] = request
    run()
    plugin.answers["IpamDriver.RequestPool"] = strict
