"""Plugins of global scope on the hosts of a cluster: what they are told of the hosts, and networks that hosts share."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler.cluster.records import member_record
from tests.cluster import DEADLINE_S, SHORT_LIFE, Cluster, ClusterHost, are_watched, cluster_of, put_raw
from tests.fakes.scripted_plugin import ScriptedPlugin
from tests.kernel.reference_plugin import ReferencePlugin, reference_plugin
from tests.kernel.test_pass_killed import Way, every_death
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

GLOBAL = {"NetworkDriver.GetCapabilities": {"Scope": "global"}, "NetworkDriver.DiscoverNew": {}}
FABRIC = "networks: {fabric: {driver: reference}}\n"
JOIN = "networks: {fabric: {external: true}}\n"
SCRIPTED = "networks: {fabric: {driver: scripted}}\n"
LAN = "networks: {lan: }\n"


@pytest.fixture
def cluster(machine: Machine, tmp_path: Path) -> Iterator[Cluster]:
    """Two hosts, each with a place of its own for plugins."""
    with ExitStack() as ending:
        made = ending.enter_context(cluster_of(machine, tmp_path, ("alpha", "beta"), "etcd", dict(SHORT_LIFE)))
        for host in made.hosts.values():
            root = ending.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))
            host.options = (*host.options, "--plugin-root", root)
        yield made
        for host in made.hosts.values():
            print(f"--- {host.name}: {host.condition('fabric')}\n{host.log_text()}")


def sockets(host: ClusterHost) -> Path:
    return Path(host.options[-1]) / "run/docker/plugins"


@pytest.fixture
def plugins(cluster: Cluster, machine: Machine, tmp_path: Path) -> Iterator[dict[str, ReferencePlugin]]:
    """The reference plugin on each host, of global scope."""
    with ExitStack() as ending:
        made = {}
        for host in cluster.hosts.values():
            sockets(host).mkdir(parents=True)
            log, where = tmp_path / f"{host.name}-calls", sockets(host)
            running = reference_plugin(machine, host.name, log, scope="global", sockets=where)
            made[host.name] = ending.enter_context(running)
        yield made


@pytest.fixture
def scripted(cluster: Cluster) -> Iterator[ScriptedPlugin]:
    """A plugin of global scope on alpha."""
    plugin = ScriptedPlugin()
    plugin.answers |= GLOBAL
    with plugin.serving(sockets(cluster["alpha"]) / "scripted.sock"):
        yield plugin


def soon(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    return eventually(condition, deadline_s)


def discovered(plugin: ScriptedPlugin) -> list[tuple[str, str, bool]]:
    """Give what the plugin was told of hosts: method, address, and whether it is its own host."""
    told = [(method.removeprefix("NetworkDriver."), said) for method, said in list(plugin.calls)]
    assert all(said["DiscoveryType"] == 1 for method, said in told if method.startswith("Discover"))
    return [
        (method, said["DiscoveryData"]["Address"], said["DiscoveryData"]["Self"])
        for method, said in told
        if method.startswith("Discover")
    ]


def created(plugin: ScriptedPlugin) -> int:
    return len(plugin.called("NetworkDriver.CreateNetwork"))


def both_told(cluster: Cluster, plugin: ScriptedPlugin) -> list[tuple[str, str, bool]]:
    """Wait until the plugin on alpha was told of both hosts; give what it is to have been told, in any order."""
    expected = [("DiscoverNew", str(cluster[name].address), name == "alpha") for name in ("alpha", "beta")]
    assert soon(lambda: sorted(discovered(plugin)) == expected), discovered(plugin)
    return expected


def calls_of(plugin: ReferencePlugin, method: str) -> list[str]:
    return [id_ for called, id_ in plugin.calls() if called == method]


def test_plugin_is_told_of_hosts_that_come_die_come_back_and_leave(cluster: Cluster, scripted: ScriptedPlugin) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(SCRIPTED)
    beta.declare(LAN)
    cluster.watch()
    both_told(cluster, scripted)
    assert are_watched(cluster)
    address = str(beta.address)

    beta.stop(signal.SIGKILL)
    assert soon(lambda: discovered(scripted)[2:] == [("DiscoverDelete", address, False)], 60)
    beta.watch()
    assert soon(lambda: discovered(scripted)[3:] == [("DiscoverNew", address, False)], 60)
    beta.stop()
    beta.ok("down")

    assert soon(lambda: discovered(scripted)[4:] == [("DiscoverDelete", address, False)], 60)
    alpha.stop()
    alpha.ok("down")
    assert discovered(scripted)[5:] == [("DiscoverDelete", str(alpha.address), True)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_watcher_that_was_started_anew_repeats_nothing(
    number: signal.Signals, cluster: Cluster, scripted: ScriptedPlugin
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(SCRIPTED)
    beta.declare(LAN)
    cluster.watch()
    expected = both_told(cluster, scripted)
    assert are_watched(cluster)

    alpha.stop(number)
    if number is signal.SIGKILL:  # its own sign of life is gone when it starts
        assert soon(lambda: beta.ok("node", "ls").stdout.count(" no ") == 1, 60)
    alpha.declare("networks: {fabric: {driver: scripted}, more: {driver: scripted}}\n")
    alpha.watch()

    assert soon(lambda: created(scripted) == 2 and alpha.is_ready("more"))
    assert sorted(discovered(scripted)) == expected


def test_watcher_that_starts_in_an_outage_takes_nothing_back(cluster: Cluster, scripted: ScriptedPlugin) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(SCRIPTED + "attachments: {one: {networks: [fabric]}}\n")
    beta.declare(LAN)
    beta.ok()
    alpha.ok()
    alpha.ok()
    expected = both_told(cluster, scripted)
    before = len(scripted.calls)
    cluster.server.stop()

    alpha.declare("networks: {fabric: {driver: scripted}, lan: }\nattachments: {one: {networks: [fabric]}}\n")
    alpha.watch()

    assert soon(lambda: alpha.is_ready("lan"), 60)
    assert not alpha.is_ready("fabric")
    assert [method for method, _ in scripted.calls[before:] if method.startswith("NetworkDriver.D")] == []
    assert sorted(discovered(scripted)) == expected


def test_plugin_that_was_started_anew_is_told_of_hosts_again_and_of_networks_not(
    cluster: Cluster, scripted: ScriptedPlugin
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(SCRIPTED)
    beta.declare(LAN)
    beta.ok()
    alpha.ok()
    alpha.ok()
    expected = both_told(cluster, scripted)
    another = ScriptedPlugin()
    another.answers |= GLOBAL

    with another.serving(sockets(alpha) / "scripted.sock"):
        alpha.ok()
        alpha.ok()

    assert sorted(discovered(another)) == expected
    assert created(another) == 0
    alpha.ok()  # without any, nothing changes
    assert sorted(discovered(another)) == expected


def test_network_of_a_global_plugin_is_one_of_the_cluster(
    cluster: Cluster, plugins: dict[str, ReferencePlugin], machine: Machine
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(
        FABRIC + "attachments:\n  one: {networks: {fabric: {aliases: [first]}}}\n  uno: {networks: [fabric]}\n"
    )
    beta.declare(JOIN + "attachments: {two: {networks: [fabric]}}\n")
    waiting = beta()
    assert waiting.exit_code == 1
    assert "no host of the cluster declares it (yet)" in waiting.stderr

    for host in (alpha, beta, alpha):
        host.ok()

    here, there = alpha.network("fabric"), beta.network("fabric")
    assert here["Id"] == there["Id"]
    assert (here["Scope"], there["Scope"], here["IPAM"]["Config"]) == ("global", "global", there["IPAM"]["Config"])
    assert here["IPAM"]["Config"][0]["Subnet"] == "10.0.0.0/24"
    assert alpha.endpoints("fabric") == beta.endpoints("fabric")
    assert sorted(alpha.endpoints("fabric").values()) == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    assert sum(key.startswith("ep-") for key in here["Containers"]) == 1
    assert all(each["MacAddress"].startswith("02:7e:") for each in here["Containers"].values())
    assert cluster.ping("one", alpha.endpoints("fabric")["uno"])
    assert machine.run("two", "getent", "hosts", "first").stdout.split()[0] == alpha.endpoints("fabric")["one"]
    assert (
        calls_of(plugins["alpha"], "CreateNetwork") == calls_of(plugins["beta"], "CreateNetwork") == [here["Id"][:12]]
    )
    for host in (alpha, beta):
        assert host("--dry-run", "--detailed-exitcode").exit_code == 0
        assert "Traceback" not in host.ok("node", "ls").text


def test_network_goes_when_nobody_has_to_do_with_it(cluster: Cluster, plugins: dict[str, ReferencePlugin]) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(FABRIC + "attachments: {one: {networks: [fabric]}}\n")
    beta.declare(JOIN + "attachments: {two: {networks: [fabric]}}\n")
    alpha.ok()
    beta.ok()

    alpha.declare(LAN)
    alpha.ok("--allow-prune")

    assert alpha.network("fabric")["Scope"] == "global"  # beta is still on it, alpha lists it without a plugin
    assert len(calls_of(plugins["alpha"], "DeleteNetwork")) == 1
    assert cluster.ping("two", "10.0.0.1")
    beta.ok("down")
    alpha.ok()
    assert alpha.network("fabric") == {}
    assert len(calls_of(plugins["beta"], "DeleteNetwork")) == 1
    beta.declare("networks: {other: {driver: overlay}}\n")
    beta.ok()
    assert beta.network("other")["IPAM"]["Config"][0]["Subnet"] == "10.0.0.0/24"  # its pool was given back


def test_declarations_names_and_addresses_are_the_clusters(
    cluster: Cluster, plugins: dict[str, ReferencePlugin]
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    fabric = "networks: {fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}}\n"
    alpha.declare(fabric + "attachments: {one: {networks: {fabric: {ipv4_address: 10.70.0.9}}}}\n")
    alpha.ok()
    beta.declare(fabric.replace("reference", "reference, internal: true"))
    refused = beta()
    assert refused.exit_code == 1
    assert "declared differently by alpha" in refused.stderr
    assert calls_of(plugins["beta"], "CreateNetwork") == []

    beta.declare(
        fabric + "attachments:\n"
        "  one: {networks: [fabric]}\n"
        "  two: {networks: {fabric: {ipv4_address: 10.70.0.9}}}\n"
        "  three: {networks: [fabric]}\n"
    )
    partly = beta()

    assert partly.exit_code == 1
    assert "service endpoint with name one already exists on host alpha" in partly.stderr
    assert "10.70.0.9: Address already in use" in partly.stderr
    assert beta.endpoints("fabric") == {"one": "10.70.0.9", "three": "10.70.0.2"}
    assert len(calls_of(plugins["beta"], "Join")) == 1


def test_both_hosts_choose_at_once_and_nobody_gets_anothers_address(
    cluster: Cluster, plugins: dict[str, ReferencePlugin]
) -> None:
    names = {"alpha": ("a1", "a2", "a3"), "beta": ("b1", "b2", "b3")}
    for name, attachments in names.items():
        joins = "".join(f"  {each}: {{networks: [fabric]}}\n" for each in attachments)
        cluster[name].declare(FABRIC + "attachments:\n" + joins)

    cluster.watch()

    hosts = list(cluster.hosts.values())
    assert soon(lambda: all(host.is_ready("fabric") and len(host.endpoints("fabric")) == 6 for host in hosts), 60)
    assert hosts[0].endpoints("fabric") == hosts[1].endpoints("fabric")
    assert len(set(hosts[0].endpoints("fabric").values())) == 6
    for plugin in plugins.values():
        assert plugin.counted_twice() == []


def test_endpoints_without_a_link_or_mac_of_ours_are_known_elsewhere(
    cluster: Cluster, scripted: ScriptedPlugin, machine: Machine
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    alpha.declare(SCRIPTED + "attachments: {one: {networks: [fabric]}}\n")
    beta.declare("networks: {fabric: {external: true}}\nattachments: {two: {networks: [fabric]}}\n")
    alpha.ok()
    another = ScriptedPlugin()
    another.answers |= GLOBAL
    with another.serving(sockets(beta) / "scripted.sock"):
        beta.ok()

    alpha.ok()

    assert alpha.endpoints("fabric") == beta.endpoints("fabric") == {"one": "10.0.0.2", "two": "10.0.0.3"}
    assert machine.run("one", "getent", "hosts", "two").stdout.split()[0] == "10.0.0.3"
    (network,) = [said for method, said in another.calls if method == "NetworkDriver.CreateNetwork"]
    assert network["IPv4Data"] == [{"AddressSpace": "GlobalDefault", "Gateway": "10.0.0.1/24", "Pool": "10.0.0.0/24"}]


def test_scope_of_the_plugin_says_whether_hosts_share_its_networks(
    cluster: Cluster, plugins: dict[str, ReferencePlugin]
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    plugins["beta"].stop()
    plugins["beta"].scope = "local"
    plugins["beta"].start()
    alpha.declare(FABRIC)
    alpha.ok()
    beta.declare(JOIN)
    refused = beta()
    assert refused.exit_code == 1
    assert "says that its scope is local" in refused.stderr

    beta.declare("networks: {fabric: {driver: reference, ipam: {config: [{subnet: 10.70.0.0/24}]}}}\n")
    beta.ok()

    assert (alpha.network("fabric")["Scope"], beta.network("fabric")["Scope"]) == ("global", "local")
    assert alpha.network("fabric")["Id"] != beta.network("fabric")["Id"]
    beta.ok("down")
    alpha.ok()
    assert alpha.network("fabric")["Scope"] == "global"


def test_addresses_of_an_ipam_plugin_are_no_clusters(cluster: Cluster, plugins: dict[str, ReferencePlugin]) -> None:
    alpha = cluster["alpha"]
    alpha.declare(FABRIC.replace("reference", "reference, ipam: {driver: house}"))

    refused = alpha()

    assert refused.exit_code == 1
    assert "leave out ipam driver 'house'" in refused.stderr
    assert calls_of(plugins["alpha"], "CreateNetwork") == []


def test_plugin_that_is_not_there_is_the_reason_and_found_later(
    cluster: Cluster, machine: Machine, tmp_path: Path
) -> None:
    alpha = cluster["alpha"]
    alpha.declare("networks: {fabric: {driver: reference}, lan: }\nattachments: {near: {networks: [lan]}}\n")
    failed = alpha()
    assert failed.exit_code == 1
    assert alpha.condition("fabric")["reason"] == "PluginFailed"
    assert alpha.is_ready("lan")
    sockets(alpha).mkdir(parents=True)

    with reference_plugin(machine, "alpha", tmp_path / "calls", scope="global", sockets=sockets(alpha)):
        alpha.ok()

        assert alpha.network("fabric")["Scope"] == "global"
        alpha.ok("down")


def test_state_folder_lost_leads_to_the_same_network_and_addresses(
    cluster: Cluster, plugins: dict[str, ReferencePlugin], machine: Machine
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    for host, name in ((alpha, "one"), (beta, "two")):
        host.declare(FABRIC + f"attachments: {{{name}: {{networks: [fabric]}}}}\n")
        host.ok()
    before = beta.network("fabric")
    for path in beta.reconcile.machine.state_dir.glob("state.db*"):
        path.unlink()

    beta.ok()

    assert beta.network("fabric") == before
    assert cluster.ping("two", "10.0.0.1")
    assert beta("--dry-run", "--detailed-exitcode").exit_code == 0


def test_hostile_records_of_plugin_networks_harm_nothing(cluster: Cluster, plugins: dict[str, ReferencePlugin]) -> None:
    alpha = cluster["alpha"]
    subnet = {"subnet": "10.9.0.0/24", "aux": {}, "declared": True, "gateway": None, "gateway_declared": False}
    record = {"id": "a" * 64, "created": "2026-01-01T00:00:00Z", "subnets": [{**subnet, "vni": None}]}
    for name, driver, more in (
        ("path", "../../etc", {}),
        ("addresses", "reference", {"ipam": {"driver": "house"}}),
        ("own", "bridge", {}),
    ):
        put_raw(cluster, f"networks/{name}", json.dumps({**record, "declaration": {"driver": driver, **more}}))
    numbered = {**record, "id": "b" * 64, "subnets": [{**subnet, "vni": 7}]}
    put_raw(cluster, "networks/numbered", json.dumps({**numbered, "declaration": {"driver": "reference"}}))
    put_raw(cluster, "networks/fine", json.dumps({**record, "declaration": {"driver": "nowhere"}}))
    for name in ("path", "addresses", "own", "numbered", "fine"):  # a network without members would go
        member = member_record(name, "gamma", "")
        put_raw(cluster, member.path, member.value)
    alpha.declare(FABRIC)

    alpha.ok()

    assert alpha.network("fine")["Driver"] == "nowhere"  # listed, though there is no such plugin here
    assert all(alpha.network(name) == {} for name in ("path", "addresses", "own", "numbered"))
    assert alpha.network("fabric")["Scope"] == "global"


@pytest.mark.long
def test_pass_killed_anywhere_is_completed_and_nothing_is_told_or_claimed_twice(
    cluster: Cluster, plugins: dict[str, ReferencePlugin]
) -> None:
    alpha, beta = cluster["alpha"], cluster["beta"]
    forked = ForkedReconcile(machine=alpha.reconcile.machine, host_ns="alpha", specs=alpha.reconcile.specs)
    alpha.declare(FABRIC + "attachments: {one: {networks: [fabric]}}\n")
    beta.declare(JOIN + "attachments: {two: {networks: [fabric]}}\n")

    def judge(where: str) -> None:
        assert forked(*alpha.options).exit_code == 0, where
        assert cluster.ping("one", "10.0.0.1"), where
        assert alpha.endpoints("fabric") == {"one": "10.0.0.2"}, where
        assert plugins["alpha"].counted_twice() == [], where

    def gone(where: str) -> None:
        assert forked(*alpha.options, "down").exit_code == 0, where

    count = every_death(
        Way(
            run=lambda number: forked(*alpha.options, die_before=number),
            judge=judge,
            again=lambda: forked.ok(*alpha.options),
            share=(0, 8),
        ),
        Way(run=lambda number: forked(*alpha.options, "down", die_before=number), judge=gone, share=(2, 12)),
        ("client", "SqliteStore"),
    )
    assert count > 6
    alpha.ok()
    beta.ok()
    assert beta.endpoints("fabric") == {"one": "10.0.0.2", "two": "10.0.0.3"}
