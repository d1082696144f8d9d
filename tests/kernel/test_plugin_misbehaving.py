"""Plugins that do what they should not: a clear error on their network, nothing leaked, and everything else as declared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Ran, Reconcile
from tests.fakes.scripted_plugin import Answer, ScriptedPlugin, drip, flood, hang, http, raw
from tests.kernel.reference_plugin import SOCKETS
from tests.machine import Machine
from tests.pipeline.host_view import records

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  fabric: {driver: scripted, ipam: {config: [{subnet: 10.70.0.0/24}]}}
  local: {ipam: {config: [{subnet: 10.71.0.0/24}]}}
attachments:
  far: {networks: {fabric: {ipv4_address: 10.70.0.10}}}
  near: {networks: {local: {}}}
  both: {networks: {fabric: {}, local: {}}}
"""
NETWORK, ENDPOINT, JOIN = (f"NetworkDriver.{method}" for method in ("CreateNetwork", "CreateEndpoint", "Join"))
SETTINGS = {"RECONCILE_PLUGIN_TIMEOUT": "2"}

HANGS = (hang(), drip())
BREAKS = (raw(b""), raw(b"HTTP/1.1 200 OK\r\nContent-Le"), http(200, b"{}", announced=100))
REFUSES = (http(500, b"boom"), {"Err": "no room"})
GARBLES = (http(200, b"{"), http(200, b"\xff"), flood(100 * 1024 * 1024))


@pytest.fixture
def plugin() -> Iterator[ScriptedPlugin]:
    with ScriptedPlugin().serving(SOCKETS / "scripted.sock") as made:
        yield made


def pass_that_fails(reconcile: Reconcile, machine: Machine) -> Ran:
    """Run a pass, see that all but the plugin's network is as declared, and give what it said."""
    done = reconcile("--quiet", env=SETTINGS)
    assert done.exit_code == 1, done.text
    assert machine.ping("near", "10.71.0.1"), done.text
    assert machine.ping("both", "10.71.0.1"), done.text
    return done


def make_link(machine: Machine, host_ns: str) -> None:
    """Make what a plugin would make: `given`, for a sandbox."""
    machine.run("", "ip", "-n", host_ns, "link", "add", "given", "type", "veth", "peer", "kept")


def conditions(machine: Machine, kind: str, name: str) -> Mapping[str, Any]:
    summary = machine.summary()
    return {condition["type"]: condition for condition in summary[kind][name]["conditions"]}


def told_of(machine: Machine) -> list[str]:
    return [path for path in records(machine) if path.startswith("plugin/")]


_FAILURES = {"hang": HANGS[0], "close": BREAKS[0], "500": REFUSES[0], "json": GARBLES[0]}
_CALLS = ["Plugin.Activate", "NetworkDriver.GetCapabilities", NETWORK, ENDPOINT, JOIN]


# Every call, and every failure, in turn: which failure it is, is found out below all calls, as the test of bad answers shows.
@pytest.mark.parametrize(
    ("method", "failure"), [(call, list(_FAILURES)[(n + i) % 4]) for n, call in enumerate(_CALLS) for i in (0, 2)]
)
def test_call_that_fails_stalls_its_network_alone_and_is_made_good_later(
    method: str, failure: str, reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin
) -> None:
    good = plugin.answers[method]
    plugin.answers[method] = _FAILURES[failure]
    reconcile.write(specs=SPECS)

    said = pass_that_fails(reconcile, machine)

    assert "plugin 'scripted': " in said.stderr
    assert conditions(machine, "networks", "local")["Ready"]["status"] == "True"
    stalled = ("attachments", "far") if method in (ENDPOINT, JOIN) else ("networks", "fabric")
    assert conditions(machine, *stalled)["Ready"]["reason"] == "PluginFailed"
    inspected = json.loads(reconcile("network", "inspect", "fabric").stdout)
    assert [each["Containers"] for each in inspected if each["Containers"]] == []

    plugin.answers[method] = good
    reconcile.ok()
    assert alive(plugin) == {"network": 1, "endpoint": 2}
    reconcile.ok("down")
    assert alive(plugin) == {"network": 0, "endpoint": 0}
    assert told_of(machine) == []


def alive(plugin: ScriptedPlugin) -> dict[str, int]:
    """Count what a plugin that did as it was told would have now. Raises AssertionError for what was made twice."""
    kinds = {"Network": set[str](), "Endpoint": set[str]()}
    for method, arguments in plugin.calls:
        for kind, ids in kinds.items():
            if method.endswith(f".Create{kind}"):
                assert arguments[f"{kind}ID"] not in ids, f"{method} twice"
                ids.add(arguments[f"{kind}ID"])
            elif method.endswith(f".Delete{kind}"):
                ids.discard(arguments[f"{kind}ID"])
    return {kind.lower(): len(ids) for kind, ids in kinds.items()}


@pytest.mark.parametrize(
    "answer",
    [*HANGS, *BREAKS, *REFUSES, *GARBLES],
    ids=["hang", "drip", "close", "cut head", "cut body", "500", "error", "no JSON", "no text", "100 MB"],
)
def test_every_bad_answer_to_create_endpoint_leaves_nothing_behind(
    answer: Answer, reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin
) -> None:
    plugin.answers[ENDPOINT] = answer
    reconcile.write(specs=SPECS)
    pass_that_fails(reconcile, machine)

    reconcile("--quiet", "down", env=SETTINGS)
    plugin.answers[ENDPOINT] = {}
    reconcile.ok("down")

    assert alive(plugin) == {"network": 0, "endpoint": 0}
    assert (told_of(machine), machine.namespaces()) == ([], ["H"])


def test_down_plugin_delays_no_network_of_another(
    reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin
) -> None:
    plugin.answers[NETWORK] = hang()
    reconcile.write(specs=SPECS)

    done = reconcile("-v", env=SETTINGS)

    lines = done.stderr.splitlines()
    failed = next(number for number, line in enumerate(lines) if "NetworkDriver.CreateNetwork" in line)
    local = [number for number, line in enumerate(lines) if "10.71.0" in line and line.startswith("create ")]
    assert local
    assert max(local) < failed
    # One that did not answer is asked for nothing more in this pass.
    assert plugin.called(NETWORK, ENDPOINT) == [NETWORK]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", "there is none on the host"),
        ("lo", "it is the host's loopback"),
        ("uplink0", "it has an address"),
        ("docker0", "it is one of ours"),
        ("bridge9", "it is a bridge"),
        ("port9", "it is a port of another link"),
        ("lower9", "upper9 stands on it"),
        ("routed9", "routes of the host lead through it"),
        ("a/b", "expected a link name"),
        ("..", "expected a link name"),
        ("x" * 16, "expected a link name"),
    ],
)
def test_interface_that_is_not_the_plugins_to_give_stays_where_it_is(
    name: str, reason: str, reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str, plugin: ScriptedPlugin
) -> None:
    for command in (
        "link add bridge9 type bridge",
        "link add port9 type veth peer port9b",
        "link set port9 master bridge9",
        "link add lower9 type veth peer lower9b",
        "link add link lower9 upper9 type macvlan",
        "link add routed9 type veth peer routed9b",
        "link set routed9 up",
        "route add 203.0.113.0/24 dev routed9",
    ):
        machine.run("", "ip", "-n", host_ns, *command.split())
    links = machine.links(host_ns)
    plugin.answers[JOIN] = {"InterfaceName": {"SrcName": name, "DstPrefix": "eth"}}
    reconcile.write(specs=SPECS)

    said = pass_that_fails(reconcile, machine)

    assert reason in said.stderr
    assert set(links) <= set(machine.links(host_ns))
    assert machine.links("far") == ["lo"]
    assert alive(plugin) == {"network": 1, "endpoint": 0}
    assert plugin.called()[-2:] == ["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"]
    assert told_of(machine) == ["plugin/PluginNetwork/fabric", "plugin/PluginScope/fabric"]


def test_one_link_is_not_given_to_two_endpoints(
    reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ScriptedPlugin
) -> None:
    make_link(machine, host_ns)
    plugin.answers[JOIN] = {"InterfaceName": {"SrcName": "given", "DstPrefix": "eth"}}
    reconcile.write(specs=SPECS)

    said = pass_that_fails(reconcile, machine)

    assert "Join names interface given, which is that of attachment both on network fabric" in said.stderr
    assert alive(plugin) == {"network": 1, "endpoint": 1}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"Interface": {"Address": "10.70.0.99/24"}}, "driver modified interface address: Address 10.70.0.10/24"),
        ({"Interface": {"Address": "127.0.0.1/8"}}, "Interface.Address: expected an IPv4 address with prefix length"),
        ({"Interface": {"MacAddress": "ff:ff:ff:ff:ff:ff"}}, "Interface.MacAddress: expected a unicast MAC address"),
        ({"Interface": "eth0"}, "Interface: Input should be an object"),
    ],
)
def test_answer_that_changes_what_was_asked_for_is_refused(
    answer: Answer, text: str, reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin
) -> None:
    plugin.answers[ENDPOINT] = answer
    reconcile.write(
        specs=SPECS.replace("  both: {networks: {fabric: {}, local: {}}}", "  both: {networks: {local: {}}}")
    )

    assert text in pass_that_fails(reconcile, machine).stderr
    assert alive(plugin) == {"network": 1, "endpoint": 0}


def test_missing_plugin_is_told_with_the_places_searched(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(specs=SPECS)

    said = pass_that_fails(reconcile, machine)

    assert "plugin 'scripted' not found: there is no scripted.sock in /run/docker/plugins" in said.stderr
    assert told_of(machine) == []


def test_plugin_that_refuses_to_delete_keeps_nothing_from_going(
    reconcile: Reconcile, machine: Machine, plugin: ScriptedPlugin
) -> None:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    for method in ("Leave", "DeleteEndpoint", "DeleteNetwork"):
        plugin.answers[f"NetworkDriver.{method}"] = {"Err": "unknown"}

    done = reconcile.ok("down")

    assert "goes all the same: plugin 'scripted': NetworkDriver.DeleteNetwork: unknown" in done.stderr
    assert told_of(machine) == []


def test_plugin_that_is_down_is_told_to_delete_when_it_is_back(
    reconcile: Reconcile, machine: Machine, tmp_path: Path
) -> None:
    plugin = ScriptedPlugin()
    reconcile.write(specs=SPECS)
    with plugin.serving(SOCKETS / "scripted.sock"):
        reconcile.ok()
    assert reconcile("down").exit_code == 1
    assert alive(plugin) == {"network": 1, "endpoint": 2}

    with plugin.serving(SOCKETS / "scripted.sock"):
        reconcile.ok("down")

    assert alive(plugin) == {"network": 0, "endpoint": 0}
    assert told_of(machine) == []


def test_sandbox_without_a_way_out_of_its_plugin_gets_the_gateway_network(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str, plugin: ScriptedPlugin
) -> None:
    make_link(machine, host_ns)
    plugin.answers[JOIN] = {"InterfaceName": {"SrcName": "given", "DstPrefix": "fab"}}
    reconcile.write(specs=SPECS.partition("  near:")[0])

    reconcile.ok()

    assert machine.links("far") == ["eth0", "fab0", "lo"]
    assert machine.ping("far", "192.0.2.2")
    plugin.answers[JOIN] = {**plugin.answers[JOIN], "DisableGatewayService": True}  # type: ignore[dict-item]
    reconcile.ok("down")
    machine.run("", "ip", "-n", host_ns, "link", "show", "given")
    reconcile.ok()
    assert machine.links("far") == ["fab0", "lo"]
    assert machine.default_gateway("far") is None


def test_static_routes_and_a_gateway_behind_one_are_as_the_plugin_says(
    reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ScriptedPlugin
) -> None:
    make_link(machine, host_ns)
    plugin.answers[JOIN] = {
        "InterfaceName": {"SrcName": "given", "DstName": "cali9"},
        "Gateway": "169.254.1.1",
        "StaticRoutes": [
            {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
            {"Destination": "10.99.0.0/16", "RouteType": 0, "NextHop": "10.70.0.77"},
        ],
    }
    reconcile.write(specs=SPECS.partition("  near:")[0])

    reconcile.ok()

    routes = {route["dst"]: route for route in machine.ip_json("far", "route", "show")}
    assert routes["default"]["gateway"] == "169.254.1.1"
    assert (routes["169.254.1.1"]["dev"], "gateway" in routes["169.254.1.1"]) == ("cali9", False)
    assert routes["10.99.0.0/16"]["gateway"] == "10.70.0.77"
    assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0


def test_ports_are_the_plugins_to_publish_at_the_gateway_endpoint(
    reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ScriptedPlugin
) -> None:
    make_link(machine, host_ns)
    plugin.answers[JOIN] = {"InterfaceName": {"SrcName": "given", "DstPrefix": "eth"}, "Gateway": "10.70.0.1"}
    specs = SPECS.partition("  near:")[0].replace(
        "ipv4_address: 10.70.0.10}}", 'ipv4_address: 10.70.0.10}}, ports: ["8080:80"]'
    )
    reconcile.write(specs=specs)

    reconcile.ok()  # 404: a plugin without a notion of ports

    program = "NetworkDriver.ProgramExternalConnectivity"
    (_, arguments) = next(call for call in plugin.calls if call[0] == program)
    assert arguments["Options"]["com.docker.network.portmap"] == [
        {"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080}
    ]
    reconcile.ok("down")
    assert plugin.called()[-4:] == [
        "NetworkDriver.RevokeExternalConnectivity",
        "NetworkDriver.Leave",
        "NetworkDriver.DeleteEndpoint",
        "NetworkDriver.DeleteNetwork",
    ]


def test_plugin_that_gives_the_addresses_itself_is_believed(
    reconcile: Reconcile, machine: Machine, host_ns: str, plugin: ScriptedPlugin
) -> None:
    make_link(machine, host_ns)
    plugin.answers[ENDPOINT] = {"Interface": {"Address": "10.88.0.5/24", "MacAddress": "02:00:00:00:00:05"}}
    plugin.answers[JOIN] = {"InterfaceName": {"SrcName": "given", "DstPrefix": "eth"}, "Gateway": "10.88.0.1"}
    reconcile.write(
        specs="networks: {fabric: {driver: scripted, ipam: {driver: 'null'}}}\nattachments: {far: {networks: {fabric: {}}}}\n"
    )

    reconcile.ok()

    asked = next(arguments for method, arguments in plugin.calls if method == NETWORK)
    assert asked["IPv4Data"] == [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]
    assert machine.default_gateway("far") == "10.88.0.1"
    inspected = json.loads(reconcile.ok("network", "inspect", "fabric").stdout)[0]["Containers"]
    (shown,) = inspected.values()
    assert (shown["IPv4Address"], shown["MacAddress"]) == ("10.88.0.5/24", "02:00:00:00:00:05")
    assert reconcile.ok("--dry-run", "--detailed-exitcode").exit_code == 0
