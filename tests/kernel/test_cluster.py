"""Networks over several hosts, end to end: real servers, real watchers, traffic between sandboxes on different hosts."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster import DEADLINE_S, Cluster, are_stored, are_watched, cluster_of, put_raw, short_life
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

NET = "networks: {net: {driver: overlay, ipam: {config: [{subnet: 10.0.9.0/24}]}}}\n"
JOIN = "networks: {net: {external: true}}\n"
PAIR = "attachments:\n  one: {hosts: [alpha], networks: {net: {aliases: [first]}}}\n  two: {hosts: [beta], networks: [net]}\n"

MakeCluster = Callable[..., Cluster]


@pytest.fixture
def make_cluster(machine: Machine, tmp_path: Path) -> Iterator[MakeCluster]:
    with ExitStack() as ending:

        def make(*names: str, provider: str = "etcd", **options: str) -> Cluster:
            given = {name.replace("_", "."): value for name, value in options.items()}
            made = ending.enter_context(cluster_of(machine, tmp_path, names or ("alpha", "beta"), provider, given))
            ending.callback(tell, made)
            return made

        yield make


def tell(cluster: Cluster) -> None:
    """Print what the watchers said; shown when the test fails."""
    for host in cluster.hosts.values():
        print(f"--- {host.name}: {host.condition('net')}\n{host.log_text()}")


def is_settled(cluster: Cluster, *names: str) -> bool:
    """Wait until all hosts show just these endpoints on `net`."""
    return soon(lambda: all(set(host.endpoints("net")) == set(names) for host in cluster.hosts.values()), 60)


def soon(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    return eventually(condition, deadline_s)


@pytest.mark.parametrize("provider", ["consul", "etcd", "zk"])
def test_two_hosts_share_a_network_by_single_passes(provider: str, make_cluster: MakeCluster) -> None:
    cluster = make_cluster(provider=provider)
    cluster.declare(NET + PAIR)

    for name in ("alpha", "beta", "alpha"):
        cluster[name].ok()

    assert cluster.ping("one", "10.0.9.3")
    assert cluster.ping("one", "two")
    assert cluster.ping("two", "first")
    alpha, beta = cluster["alpha"], cluster["beta"]
    assert alpha.network("net")["Id"] == beta.network("net")["Id"]
    assert alpha.network("net")["Scope"] == "global"
    assert alpha.endpoints("net") == beta.endpoints("net") == {"one": "10.0.9.2", "two": "10.0.9.3"}
    assert sum(key.startswith("ep-") for key in alpha.network("net")["Containers"]) == 1
    for host in (alpha, beta):
        plan = host("--dry-run", "--output", "json", "--detailed-exitcode")
        assert plan.exit_code == 0, plan.text
    listed = alpha.ok("node", "ls").stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["alpha", "beta"]

    alpha.ok("down")
    beta.ok()
    assert beta.endpoints("net") == {"two": "10.0.9.3"}
    beta.ok("down")
    assert alpha.ok("node", "ls").stdout.splitlines()[1:] == []


def test_a_network_declared_once_is_joined_elsewhere_and_listed_everywhere(make_cluster: MakeCluster) -> None:
    cluster = make_cluster("alpha", "beta", "gamma")
    cluster["alpha"].declare(NET + "attachments: {one: {networks: [net]}}\n")
    cluster["beta"].declare(JOIN + "attachments: {two: {networks: [net]}}\n")
    cluster["gamma"].declare("networks: {lan: }\n")
    waiting = cluster["beta"]()
    assert waiting.exit_code == 1
    assert "no host of the cluster declares it (yet)" in waiting.stderr

    for name in ("alpha", "beta", "gamma", "alpha"):
        cluster[name].ok()

    assert cluster.ping("one", "two")
    assert "global" in cluster["gamma"].ok("network", "ls").stdout
    assert cluster["gamma"].network("net")["Id"] == cluster["alpha"].network("net")["Id"]
    cluster["alpha"].declare("networks: {lan: }\n")
    cluster["alpha"].ok("--allow-prune")
    assert cluster["alpha"].network("net")["Scope"] == "global"  # beta is still on it
    cluster["beta"].ok("down")
    cluster["alpha"].ok()
    assert cluster["alpha"].network("net") == {}


def test_the_first_declaration_stands_until_all_agree(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster["alpha"].declare(NET + "attachments: {one: {networks: [net]}}\n")
    cluster["alpha"].ok()
    inside = NET.replace("overlay,", "overlay, internal: true,")
    cluster["beta"].declare(inside + "attachments: {two: {networks: [net]}}\n")

    refused = cluster["beta"]()

    assert refused.exit_code == 1
    assert "declared differently by alpha" in refused.stderr
    assert "internal" in refused.stderr
    cluster["alpha"].declare(inside + "attachments: {one: {networks: [net]}}\n")
    cluster["alpha"].ok()
    cluster["beta"].ok()
    cluster["alpha"].ok()
    assert cluster["alpha"].network("net")["Internal"] is True
    assert cluster.ping("one", "two")

    elsewhere = NET.replace("10.0.9.0", "10.0.8.0")
    cluster["alpha"].declare(elsewhere + "attachments: {three: {networks: [net]}}\n")
    assert (
        "declared differently by beta" in cluster["alpha"]().stderr
    )  # one is withdrawn meanwhile, as nothing is in its way
    cluster["beta"].declare(elsewhere + "attachments: {two: {networks: [net]}}\n")
    cluster["beta"].ok()
    assert set(cluster["beta"].endpoints("net")) == {"two"}
    cluster["alpha"].ok()
    cluster["beta"].ok()
    assert cluster.ping("three", "two")
    assert {host.endpoints("net")["two"] for host in cluster.hosts.values()} <= {"10.0.8.2", "10.0.8.3"}


def test_two_overlays_with_one_subnet_are_two_worlds(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    other = "  other: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.0.9.0/24}]}}\n"
    cluster.declare(
        "networks:\n  net: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.0.9.0/24}]}}\n"
        + other
        + "attachments:\n  one: {hosts: [alpha], networks: [net]}\n  two: {hosts: [beta], networks: [net]}\n"
        "  lone: {hosts: [beta], networks: {other: {ipv4_address: 10.0.9.77}}}\n"
    )

    for name in ("alpha", "beta", "alpha"):
        cluster[name].ok()

    assert cluster.ping("one", "10.0.9.3")
    assert not cluster.ping("one", "10.0.9.77", deadline_s=2)
    assert not cluster.ping("lone", "10.0.9.2", deadline_s=2)


def test_both_families_and_several_subnets_span_hosts(make_cluster: MakeCluster, machine: Machine) -> None:
    cluster = make_cluster()
    cluster.declare(
        "networks:\n"
        "  net: {driver: overlay, enable_ipv6: true}\n"
        "  wide:\n"
        "    driver: overlay\n"
        "    internal: true\n"
        "    driver_opts: {com.docker.network.driver.overlay.vxlanid_list: '700,701'}\n"
        "    ipam: {config: [{subnet: 10.7.0.0/24}, {subnet: 10.7.1.0/24}]}\n"
        "attachments:\n"
        "  one: {hosts: [alpha], networks: {net: , wide: {ipv4_address: 10.7.0.9}}}\n"
        "  two: {hosts: [beta], networks: {net: , wide: {ipv4_address: 10.7.1.9}}}\n"
    )

    for name in ("alpha", "beta", "alpha"):
        cluster[name].ok()

    ipv6 = machine.run("one", "getent", "ahostsv6", "two").stdout.split()[0]
    assert ":" in ipv6
    assert cluster.ping("one", ipv6)
    assert cluster.ping("one", "10.7.1.9")
    assert cluster.ping("two", "10.7.0.9")
    alpha, beta = cluster["alpha"].network("net"), cluster["beta"].network("net")
    assert alpha["IPAM"] == beta["IPAM"]
    assert alpha["EnableIPv6"] is True


@pytest.mark.parametrize("provider", ["consul", "etcd", "zk"])
def test_watchers_follow_each_other(provider: str, make_cluster: MakeCluster) -> None:
    cluster = make_cluster(provider=provider)
    cluster.declare(NET + "attachments: {one: {hosts: [alpha], networks: [net]}}\n")
    cluster.watch()
    assert soon(lambda: cluster["alpha"].is_ready("net") and cluster["beta"].is_ready("net"))

    cluster["beta"].declare(NET + PAIR)

    assert soon(lambda: cluster["beta"].endpoints("net").get("two"))
    assert cluster.ping("one", "two")
    assert cluster.ping("two", "one")
    cluster["beta"].declare(NET + "attachments: {one: {hosts: [alpha], networks: [net]}}\n")
    assert soon(lambda: "two" not in cluster["alpha"].endpoints("net"))
    assert are_watched(cluster)


def test_what_is_changed_by_hand_is_put_back_and_counts_as_drift(make_cluster: MakeCluster, machine: Machine) -> None:
    cluster = make_cluster()
    cluster.declare(NET + PAIR)
    cluster.watch()
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")
    ns = next(name for name in machine.namespaces() if name.startswith("ov-"))

    machine.run(ns, "ip", "link", "del", "vxlan0")

    assert soon(lambda: "vxlan0" in machine.links(ns))
    assert cluster.ping("one", "two")
    assert cluster.ping("two", "one")


@pytest.mark.parametrize("provider", ["consul", "etcd", "zk"])
def test_an_outage_of_the_store_stops_no_traffic_and_heals_by_itself(
    provider: str, make_cluster: MakeCluster, machine: Machine
) -> None:
    cluster = make_cluster(provider=provider)
    cluster.declare("networks: {net: {driver: overlay}, lan: }\n" + PAIR)
    cluster.watch()
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")
    assert soon(lambda: cluster["alpha"].is_ready("net") and cluster["beta"].is_ready("net"))

    cluster.server.stop()
    local = "  three: {hosts: [alpha], networks: [lan]}\n  four: {hosts: [alpha], networks: [net]}\n"
    cluster["alpha"].declare("networks: {net: {driver: overlay}, lan: }\n" + PAIR + local)

    assert soon(lambda: "three" in cluster["alpha"].endpoints("lan"), 60)
    assert soon(lambda: not cluster["alpha"].is_ready("net"), 60)
    assert cluster.ping("one", "two", deadline_s=3)
    assert "four" not in cluster["alpha"].endpoints("net")
    assert cluster["alpha"].is_ready("lan")

    cluster.start_server()

    assert soon(lambda: cluster["alpha"].is_ready("net") and cluster["alpha"].endpoints("net").get("four"), 60)
    assert cluster.ping("two", "four", deadline_s=60)


def test_a_healthy_link_outlives_a_bad_network_and_the_loss_of_state_and_store(
    make_cluster: MakeCluster, machine: Machine
) -> None:
    cluster = make_cluster()
    cluster.declare(NET + PAIR)
    for name in ("alpha", "beta", "alpha"):
        cluster[name].ok()
    shown = cluster["alpha"].endpoints("net")
    alpha = cluster["alpha"]

    alpha.declare(
        NET.replace("net:", "lost: {external: true}, net:", 1) + PAIR.replace("[first]}", "[first]}, lost: {}")
    )
    assert alpha().exit_code == 1
    assert cluster.ping("one", "10.0.9.3", deadline_s=3)
    assert alpha.is_ready("net")
    assert alpha.endpoints("net") == shown
    cluster["beta"].ok()
    assert cluster.ping("two", "one", deadline_s=3)

    alpha.declare(NET + PAIR)
    cluster.server.stop()
    shutil.rmtree(alpha.reconcile.machine.state_dir)
    assert alpha().exit_code == 69
    assert cluster.ping("one", "10.0.9.3", deadline_s=3)
    assert cluster.ping("two", "10.0.9.2", deadline_s=3)

    cluster.start_server()
    alpha.ok()
    assert cluster.ping("one", "two")
    assert alpha.endpoints("net") == shown


def test_what_was_taken_down_in_an_outage_is_taken_back_later(make_cluster: MakeCluster, machine: Machine) -> None:
    cluster = make_cluster()
    cluster.declare(NET + PAIR)
    for name in ("alpha", "beta"):
        cluster[name].ok()
    cluster.server.stop()

    down = cluster["alpha"]("down")

    assert down.exit_code == 69, down.text
    assert "one" not in machine.namespaces()
    assert machine.links("alpha") == ["lo", "underlay0"]
    cluster.start_server()
    cluster["alpha"].ok("down")
    cluster["beta"].ok()
    assert cluster["beta"].endpoints("net") == {"two": "10.0.9.3"}
    assert "alpha" not in cluster["beta"].ok("node", "ls").stdout


def test_a_paused_store_is_an_outage_too(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.declare(NET + PAIR)
    cluster.watch()
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")

    cluster.server.pause()
    cluster["alpha"].declare(NET + PAIR + "  four: {hosts: [alpha], networks: [net]}\n")

    assert soon(lambda: not cluster["alpha"].is_ready("net"), 60)
    assert cluster.ping("one", "two", deadline_s=3)
    cluster.server.resume()
    assert cluster.ping("two", "four", deadline_s=60)


@pytest.mark.parametrize("provider", ["consul", "etcd", "zk"])
def test_a_dead_host_leaves_and_comes_back_with_the_same_addresses(provider: str, make_cluster: MakeCluster) -> None:
    life = {name.replace(".", "_"): value for name, value in short_life(provider).items()}
    cluster = make_cluster(provider=provider, **life)
    cluster.declare("networks: {net: {driver: overlay}}\n" + PAIR)
    cluster.watch()
    assert are_watched(cluster)
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")
    address = cluster["beta"].endpoints("net")["two"]

    cluster["beta"].stop(signal.SIGKILL)

    assert soon(lambda: "two" not in cluster["alpha"].endpoints("net"), 60)
    assert not cluster.ping("one", address, deadline_s=2)
    assert "no" in next(line for line in cluster["alpha"].ok("node", "ls").stdout.splitlines() if "beta" in line)
    cluster["alpha"].declare(
        "networks: {net: {driver: overlay}}\n" + PAIR + "  three: {hosts: [alpha], networks: [net]}\n"
    )
    assert soon(lambda: cluster["alpha"].endpoints("net").get("three"))
    assert cluster["alpha"].endpoints("net")["three"] != address

    cluster["beta"].watch()

    assert soon(lambda: cluster["alpha"].endpoints("net").get("two") == address)
    assert cluster.ping("one", "two")


def test_what_a_dead_host_had_is_free_once_it_is_removed(make_cluster: MakeCluster) -> None:
    life = {name.replace(".", "_"): value for name, value in short_life("etcd").items()}
    cluster = make_cluster(**life)
    cluster.declare("networks: {net: {driver: overlay}}\n" + PAIR)
    cluster.watch()
    assert are_watched(cluster)
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")
    alive = cluster["alpha"]("node", "rm", "beta")
    assert alive.exit_code == 3, alive.text
    address = cluster["beta"].endpoints("net")["two"]
    cluster["beta"].stop(signal.SIGKILL)
    assert soon(lambda: "two" not in cluster["alpha"].endpoints("net"))

    cluster["alpha"].ok("node", "rm", "beta")
    cluster["alpha"].declare(
        "networks: {net: {driver: overlay}}\n" + PAIR + "  three: {hosts: [alpha], networks: [net]}\n"
    )
    assert soon(lambda: cluster["alpha"].endpoints("net").get("three") == address)

    cluster["beta"].watch()

    assert soon(lambda: cluster["alpha"].endpoints("net").get("two") not in (None, address))
    assert cluster.ping("two", "three")
    assert soon(lambda: cluster["beta"].endpoints("net").get("three") == address)


def test_a_partition_heals_without_a_duplicate(make_cluster: MakeCluster) -> None:
    life = {name.replace(".", "_"): value for name, value in short_life("etcd").items()}
    cluster = make_cluster(**life)
    cluster.declare(NET + PAIR)
    cluster.watch()
    assert are_watched(cluster)
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")

    cluster.part("beta")
    assert soon(lambda: "two" not in cluster["alpha"].endpoints("net"), 60)
    more = PAIR + "  three: {hosts: [alpha], networks: [net]}\n  four: {hosts: [beta], networks: [net]}\n"
    cluster.declare(NET + more)
    assert soon(lambda: cluster["alpha"].endpoints("net").get("three"))
    assert "four" not in cluster["beta"].endpoints("net")
    cluster.heal("beta")

    assert soon(lambda: len(cluster["alpha"].endpoints("net")) == len(cluster["beta"].endpoints("net")) == 4, 60)
    found = cluster["alpha"].endpoints("net")
    assert cluster["beta"].endpoints("net") == found
    assert len(set(found.values())) == 4
    assert cluster.ping("four", "three")


@pytest.mark.parametrize("provider", ["consul", "etcd", "zk"])
def test_a_store_that_lost_everything_is_filled_again(provider: str, make_cluster: MakeCluster) -> None:
    cluster = make_cluster(provider=provider)
    cluster.declare("networks: {net: {driver: overlay}}\n" + PAIR)
    cluster.watch()
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")
    before = {key: cluster["alpha"].network("net")[key] for key in ("Id", "IPAM")}
    endpoints = cluster["alpha"].endpoints("net")

    cluster.server.stop()
    for path in (cluster.server.folder / "data").rglob("*"):
        if path.is_file():
            path.unlink()
    cluster.start_server()

    assert are_stored(cluster, "networks/net", "network/net/endpoints/one", "network/net/endpoints/two")
    assert soon(lambda: cluster["alpha"].is_ready("net") and cluster["beta"].is_ready("net"), 60)
    assert soon(lambda: cluster["alpha"].endpoints("net") == cluster["beta"].endpoints("net") == endpoints, 60)
    assert {key: cluster["alpha"].network("net")[key] for key in ("Id", "IPAM")} == before
    assert cluster.ping("one", "two")
    assert not any("keeps changing it" in host.log_text() for host in cluster.hosts.values()), "over who is dead"


def test_a_store_restored_from_an_old_backup_never_gives_one_address_to_two(
    make_cluster: MakeCluster, machine: Machine, tmp_path: Path
) -> None:
    cluster = make_cluster("alpha", "beta", "gamma")
    alpha, beta, gamma = cluster.hosts.values()
    later = (
        PAIR
        + "  three: {hosts: [alpha], networks: [net]}\n  four: {hosts: [beta], networks: {net: {ipv4_address: 10.0.9.44}}}\n"
    )
    for host in (alpha, beta):
        host.declare(NET + PAIR)
        host.watch()
    assert soon(lambda: set(alpha.endpoints("net")) == set(beta.endpoints("net")) == {"one", "two"}, 60)
    backup, data = tmp_path / "backup", cluster.server.folder / "data"
    cluster.server.stop()
    shutil.copytree(data, backup)
    cluster.start_server()
    for host in (alpha, beta):
        host.declare(NET + later)
    assert soon(lambda: len(alpha.endpoints("net")) == len(beta.endpoints("net")) == 4, 60)
    assert cluster.ping("one", "four")
    lost = alpha.endpoints("net")["three"]

    for host in (alpha, beta):
        host.stop(signal.SIGKILL)
    cluster.server.stop()
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    cluster.start_server()
    gamma.declare(
        NET + f"attachments:\n  five: {{networks: {{net: {{ipv4_address: {lost}}}}}}}\n"
        "  six: {networks: {net: {ipv4_address: 10.0.9.44}}}\n"
    )
    assert soon(lambda: gamma().exit_code == 0)
    for host in (alpha, beta, gamma):
        host.watch()

    assert soon(
        lambda: len(alpha.endpoints("net")) == len(beta.endpoints("net")) == len(gamma.endpoints("net")) == 5, 60
    )
    found = alpha.endpoints("net")
    assert beta.endpoints("net") == gamma.endpoints("net") == found
    assert found.keys() == {"one", "two", "three", "five", "six"}
    assert len(set(found.values())) == 5
    assert (found["five"], found["six"]) == (lost, "10.0.9.44")
    refused = "10.0.9.44: Address already in use: attachment six on host gamma has it"
    assert soon(lambda: refused in (beta.status_dir / "summary.json").read_text())
    for sandbox, address in (("five", lost), ("six", "10.0.9.44")):
        with machine.tcp_server(sandbox) as port:
            assert machine.tcp("one", address, port, deadline_s=DEADLINE_S) == found["one"]
            assert machine.tcp("two", address, port, deadline_s=DEADLINE_S) == found["two"]
    assert cluster.ping("two", "three")


def test_two_hosts_after_one_name_or_address_do_not_both_get_it(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster["alpha"].declare(NET + "attachments: {web: {networks: {net: {ipv4_address: 10.0.9.9}}}}\n")
    cluster["beta"].declare(
        NET + "attachments:\n  web: {sandbox: {netns: web2}, networks: [net]}\n"
        "  db: {networks: {net: {ipv4_address: 10.0.9.9}}}\n  app: {networks: [net]}\n"
    )
    cluster["alpha"].ok()

    refused = cluster["beta"]()

    assert refused.exit_code == 1
    assert "service endpoint with name web already exists on host alpha" in refused.stderr
    assert "10.0.9.9: Address already in use: attachment web on host alpha has it" in refused.stderr
    assert cluster["beta"].endpoints("net") == {"app": "10.0.9.2", "web": "10.0.9.9"}
    cluster["alpha"].ok()
    assert cluster.ping("app", "web")


def test_two_hosts_of_one_name_are_told_apart(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.declare(NET)
    cluster["alpha"].ok()
    beta = cluster["beta"]
    beta.options = ["--host", "alpha", *beta.options[2:]]

    refused = beta()

    assert refused.exit_code == 1
    assert f"another host of the cluster, at {cluster['alpha'].address}, is called alpha too" in refused.stderr


def test_records_of_an_enemy_harm_only_themselves(make_cluster: MakeCluster, machine: Machine) -> None:
    cluster = make_cluster()
    cluster.declare(NET + PAIR)
    for name in ("alpha", "beta", "alpha"):
        cluster[name].ok()
    evil = {
        "networks/evil": json.dumps({"id": "a" * 64, "declaration": {"driver": "overlay"}, "subnets": "x" * 1000}),
        "network/net/endpoints/evil": json.dumps(
            {
                "host": "beta",
                "id": "b" * 64,
                "ipv4": "10.0.9.2/24",
                "ipv6": None,
                "mac": "ff:ff:ff:ff:ff:ff",
                "names": ["one"],
            }
        ),
        "network/net/endpoints/thief": json.dumps(
            {
                "host": "beta",
                "id": "c" * 64,
                "ipv4": "10.0.9.1/24",
                "ipv6": None,
                "mac": "02:42:0a:00:09:01",
                "names": ["google"],
            }
        ),
        "nodes/evil/info": "[" * 100000,
    }
    for path, value in evil.items():
        put_raw(cluster, path, value)

    cluster["alpha"].ok()

    assert set(cluster["alpha"].endpoints("net")) == {"one", "two"}
    assert cluster.ping("one", "two")
