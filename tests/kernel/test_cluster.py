"""Networks over several hosts, end to end: real servers, real watchers, traffic between sandboxes on different hosts."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from reconciler.errors import ExitCode
from tests.cluster import (
    DEADLINE_S,
    STORE,
    Cluster,
    ClusterHost,
    are_stored,
    are_watched,
    cluster_of,
    opened_store,
    put_raw,
    short_life,
)
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

NET = "networks: {net: {driver: overlay, ipam: {config: [{subnet: 10.0.9.0/24}]}}}\n"
SHARED = NET.replace("}}}\n", "}}, chosen: {driver: overlay}, lan: }\n")
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


def is_settled(cluster: Cluster, *names: str, of: Sequence[ClusterHost] = ()) -> bool:
    """Wait until these hosts, all unless told, show just these endpoints on `net`."""
    hosts = of or tuple(cluster.hosts.values())
    return soon(lambda: all(set(host.endpoints("net")) == set(names) for host in hosts), 60)


def are_ready(cluster: Cluster) -> bool:
    """Wait until `net` is as declared on all hosts."""
    return soon(lambda: all(host.is_ready("net") for host in cluster.hosts.values()), 60)


def nodes(host: ClusterHost) -> list[str]:
    return [line.split()[0] for line in host.ok("node", "ls").stdout.splitlines()[1:]]


def summary(host: ClusterHost) -> str:
    return (host.status_dir / "summary.json").read_text()


def subnet_of(host: ClusterHost) -> str:
    subnet: str = host.network("net")["IPAM"]["Config"][0]["Subnet"]
    return subnet


def asking_for(address: str) -> str:
    """Give an attachment of alpha that wants this address and no other."""
    return f"  heir: {{hosts: [alpha], networks: {{net: {{ipv4_address: {address}}}}}}}\n"


def soon(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> bool:
    return eventually(condition, deadline_s)


def test_two_hosts_share_a_network_by_single_passes(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    cluster.declare(NET + PAIR)

    cluster["alpha"].ok()
    early = cluster["alpha"]("explain", "one", "--to", "two")
    for name in ("beta", "alpha"):
        cluster[name].ok()

    assert early.exit_code == ExitCode.UNREACHED, early.text
    assert "the cluster's store tells this host nothing of two on beta" in " ".join(early.stdout.split()), early.text
    explained = cluster["alpha"].ok("explain", "one", "--to", "two", "--probe").stdout
    assert " to host beta (" in " ".join(explained.split()), explained
    assert "sent: one to 10.0.9.3 (icmp): answered" in explained, explained
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
    snapshot = alpha.reconcile.specs.with_name("snapshot.json")
    snapshot.write_text(alpha.ok("snapshot").stdout)
    assert '"seed": ""' in snapshot.read_text(), "what VNIs are drawn by is a secret"
    assert nodes(alpha) == ["alpha", "beta"]

    cluster.declare(NET + PAIR.replace("two: ", "new: "))
    forms = ("--dry-run", "--output", "json", "--host", "alpha")
    assert alpha(*forms, "--against", f"snapshot:{snapshot}").text == alpha(*forms).text
    replaced = beta.ok("--allow-prune")
    assert "taken" not in replaced.text
    assert beta.endpoints("net") == {"one": "10.0.9.2", "new": "10.0.9.3"}
    alpha.ok()
    assert cluster.ping("one", "10.0.9.3")

    alpha.ok("down")
    assert cluster.machine.run("alpha", "nft", "list", "tables").stdout == ""
    beta.ok()
    assert beta.endpoints("net") == {"new": "10.0.9.3"}
    beta.ok("down")
    assert nodes(alpha) == []


@pytest.mark.long
def test_watchers_share_a_network_through_all_that_befalls_it(make_cluster: MakeCluster) -> None:
    """With one store. tests/drill plays a history with each, and tests/contracts has each go away, come back and lose its data."""
    cluster = make_cluster(provider="etcd")
    cluster.declare(SHARED + "attachments: {one: {hosts: [alpha], networks: [net]}}\n")
    cluster.watch()
    assert are_ready(cluster)

    watchers_follow_each_other(cluster)
    what_is_changed_by_hand_is_put_back(cluster)
    an_outage_is_told_stops_no_traffic_and_heals(cluster, cluster.server.stop, cluster.start_server, "three")
    an_outage_is_told_stops_no_traffic_and_heals(cluster, cluster.server.pause, cluster.server.resume, "four")
    a_store_that_lost_everything_is_filled_again(cluster)
    shorten_lives(cluster)  # not before: hosts would be taken for dead when the store was away for so long
    a_dead_host_leaves_and_comes_back_with_its_address(cluster)

    assert not any("keeps changing it" in host.log_text() for host in cluster.hosts.values()), "over who is dead"
    for host in cluster.hosts.values():
        host.stop()
        host.ok("down")
    assert nodes(cluster["alpha"]) == []


def watchers_follow_each_other(cluster: Cluster) -> None:
    cluster["beta"].declare(SHARED + PAIR)
    assert is_settled(cluster, "one", "two")
    assert cluster.ping("one", "two")
    assert cluster.ping("two", "one")

    cluster["beta"].declare(SHARED + "attachments: {one: {hosts: [alpha], networks: [net]}}\n")
    assert is_settled(cluster, "one")
    assert are_watched(cluster)

    cluster.declare(SHARED + PAIR)
    assert is_settled(cluster, "one", "two")


def what_is_changed_by_hand_is_put_back(cluster: Cluster) -> None:
    machine = cluster.machine
    ns = next(name for name in machine.namespaces() if name.startswith("ov-"))

    machine.run("", "ip", "-n", ns, "link", "del", "vxlan0")

    assert soon(lambda: "vxlan0" in machine.links(ns))
    tables = machine.run(ns, "nft", "list", "ruleset").stdout
    assert "elements" in tables
    machine.run(ns, "nft", "flush", "ruleset")
    assert soon(lambda: machine.run(ns, "nft", "list", "ruleset").stdout == tables)
    assert cluster.ping("one", "two")
    assert cluster.ping("two", "one")


def an_outage_is_told_stops_no_traffic_and_heals(
    cluster: Cluster, begin: Callable[[], object], end: Callable[[], object], new: str
) -> None:
    """What is declared meanwhile: `new` on the shared network waits for the store, the one on this host's does not."""
    alpha = cluster["alpha"]
    assert are_ready(cluster)
    began_s = time.monotonic()
    begin()
    for host in cluster.hosts.values():
        assert soon(lambda: host.condition("net")["reason"] == "KVUnavailable", 60)  # noqa: B023  # called at once
        print(
            f"{cluster.server.provider}: {begin.__name__} told by {host.name} after {time.monotonic() - began_s:.1f} s"
        )
    told = alpha("status").stdout
    assert "cluster: False (KVUnavailable): " in told
    assert STORE in alpha.condition("net")["message"]

    later = f"  {new}: {{hosts: [alpha], networks: [net]}}\n  {new}-lan: {{hosts: [alpha], networks: [lan]}}\n"
    alpha.declare(SHARED + PAIR + later)

    assert soon(lambda: f"{new}-lan" in alpha.endpoints("lan"), 60)
    assert cluster.ping("one", "two", deadline_s=3)
    assert new not in alpha.endpoints("net")
    assert alpha.is_ready("lan")
    assert not alpha.is_ready("net")

    end()

    assert are_ready(cluster)
    assert is_settled(cluster, "one", "two", new)
    assert cluster.ping("two", new)


def a_store_that_lost_everything_is_filled_again(cluster: Cluster) -> None:
    cluster.declare(SHARED + PAIR)
    assert is_settled(cluster, "one", "two")
    alpha, beta = cluster.hosts.values()
    before = [alpha.network(name)[key] for name in ("net", "chosen") for key in ("Id", "IPAM")]
    addresses = alpha.endpoints("net")

    cluster.server.stop()
    for path in (cluster.server.folder / "data").rglob("*"):
        if path.is_file():
            path.unlink()
    cluster.start_server()

    assert are_stored(cluster, "networks/net", "network/net/endpoints/one", "network/net/endpoints/two")
    assert are_ready(cluster)
    assert soon(lambda: alpha.endpoints("net") == beta.endpoints("net") == addresses, 60)
    assert [alpha.network(name)[key] for name in ("net", "chosen") for key in ("Id", "IPAM")] == before
    assert cluster.ping("one", "two")


def shorten_lives(cluster: Cluster) -> None:
    life = [f"{name}={value}" for name, value in short_life(cluster.server.provider).items()]
    for host in cluster.hosts.values():
        host.stop()
        host.options = [*host.options, *(part for each in life for part in ("--cluster-store-opt", each))]
        host.watch()
    assert are_watched(cluster)
    assert is_settled(cluster, "one", "two")


def a_dead_host_leaves_and_comes_back_with_its_address(cluster: Cluster) -> None:
    alpha, beta = cluster.hosts.values()
    addresses = alpha.endpoints("net")

    beta.stop(signal.SIGKILL)

    assert is_settled(cluster, "one", of=(alpha,))
    assert not cluster.ping("one", addresses["two"], deadline_s=2)
    assert "no" in next(line for line in alpha.ok("node", "ls").stdout.splitlines() if "beta" in line)
    alpha.declare(SHARED + PAIR + asking_for(addresses["two"]))
    assert soon(lambda: "Address already in use: attachment two on host beta has it" in summary(alpha))

    beta.watch()

    assert is_settled(cluster, "one", "two")
    assert alpha.endpoints("net") == addresses
    assert cluster.ping("one", "two")


def test_what_a_lost_host_had_is_kept_until_it_is_back_and_free_once_it_is_removed(make_cluster: MakeCluster) -> None:
    life = {name.replace(".", "_"): value for name, value in short_life("etcd").items()}
    cluster = make_cluster(**life)
    alpha, beta = cluster.hosts.values()
    cluster.declare(NET + PAIR)
    cluster.watch()
    assert is_settled(cluster, "one", "two")
    assert are_watched(cluster)
    assert cluster.ping("one", "two")
    addresses = alpha.endpoints("net")

    cluster.part("beta")
    assert is_settled(cluster, "one", of=(alpha,))
    more = PAIR + "  three: {hosts: [alpha], networks: [net]}\n  four: {hosts: [beta], networks: [net]}\n"
    cluster.declare(NET + more)
    assert soon(lambda: alpha.endpoints("net").get("three"))
    assert soon(lambda: not beta.is_ready("net"), 60)
    assert "four" not in beta.endpoints("net")
    cluster.heal("beta")

    assert is_settled(cluster, "one", "two", "three", "four")
    assert soon(lambda: alpha.endpoints("net") == beta.endpoints("net"), 60)
    found = alpha.endpoints("net")
    assert found.items() >= addresses.items()
    assert len(set(found.values())) == 4
    assert cluster.ping("four", "three")

    assert are_watched(cluster)
    alive = alpha("node", "rm", "beta")
    assert alive.exit_code == 3, alive.text
    beta.stop(signal.SIGKILL)
    assert is_settled(cluster, "one", "three", of=(alpha,))
    alpha.ok("node", "rm", "beta")
    alpha.declare(NET + more + asking_for(addresses["two"]))
    assert soon(lambda: alpha.endpoints("net").get("heir") == addresses["two"])

    beta.watch()

    assert is_settled(cluster, "one", "two", "three", "four", "heir")
    found = alpha.endpoints("net")
    assert found["heir"] == addresses["two"]
    assert len(set(found.values())) == 5
    assert cluster.ping("two", "heir")


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
    cluster["beta"].ok()
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

    cluster.watch()
    assert are_watched(cluster)
    assert cluster["beta"].watcher is not None
    cluster["beta"].watcher.send_signal(signal.SIGSTOP)
    back = NET + "attachments:\n  three: {hosts: [alpha], networks: [net]}\n  two: {hosts: [beta], networks: [net]}\n"
    cluster.declare(back)
    assert soon(lambda: "declared differently by beta" in cluster["alpha"].condition("net")["message"])
    cluster["beta"].watcher.send_signal(signal.SIGCONT)
    assert soon(lambda: {subnet_of(host) for host in cluster.hosts.values()} == {"10.0.9.0/24"}, 60)
    assert are_ready(cluster)
    assert is_settled(cluster, "two", "three")
    assert cluster.ping("three", "two")


def test_networks_span_hosts_in_both_families_over_several_subnets_and_are_worlds_apart(
    make_cluster: MakeCluster, machine: Machine
) -> None:
    cluster = make_cluster()
    cluster.declare(
        "networks:\n"
        "  net: {driver: overlay, enable_ipv6: true}\n"
        "  wide:\n"
        "    driver: overlay\n"
        "    internal: true\n"
        "    driver_opts: {com.docker.network.driver.overlay.vxlanid_list: '700,701'}\n"
        "    ipam: {config: [{subnet: 10.7.0.0/24}, {subnet: 10.7.1.0/24}]}\n"
        "  other: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.7.0.0/24}]}}\n"
        "attachments:\n"
        "  one: {hosts: [alpha], networks: {net: , wide: {ipv4_address: 10.7.0.9}}}\n"
        "  two: {hosts: [beta], networks: {net: , wide: {ipv4_address: 10.7.1.9}}}\n"
        "  lone: {hosts: [beta], networks: {other: {ipv4_address: 10.7.0.77}}}\n"
    )

    for name in ("alpha", "beta", "alpha"):
        cluster[name].ok()

    ipv6 = machine.run("one", "getent", "ahostsv6", "two").stdout.split()[0]
    assert ":" in ipv6
    assert cluster.ping("one", ipv6)
    assert cluster.ping("one", "10.7.1.9")
    assert cluster.ping("two", "10.7.0.9")
    assert not cluster.ping("one", "10.7.0.77", deadline_s=2)
    assert not cluster.ping("lone", "10.7.0.9", deadline_s=2)
    alpha, beta = cluster["alpha"].network("net"), cluster["beta"].network("net")
    assert alpha["IPAM"] == beta["IPAM"]
    assert alpha["EnableIPv6"] is True


def test_a_healthy_link_outlives_a_bad_network_and_the_loss_of_state_and_store_and_goes_when_taken_down_without_it(
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

    cluster.server.stop()
    down = alpha("down")
    assert down.exit_code == 69, down.text
    assert "one" not in machine.namespaces()
    assert machine.links("alpha") == ["lo", "underlay0"]
    cluster.start_server()
    alpha.ok("down")
    cluster["beta"].ok()
    assert cluster["beta"].endpoints("net") == {"two": shown["two"]}
    assert nodes(cluster["beta"]) == ["beta"]


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


def test_what_waits_for_a_network_keeps_its_addresses_elsewhere_in_a_store_that_lost_its_data(
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster()
    alpha, beta = cluster.hosts.values()
    alpha.declare(
        NET.replace("}}}\n", "}}, auto: {external: true}}\n") + "attachments: {one: {networks: [net, auto]}}\n"
    )
    beta.declare(NET.replace("}}}\n", "}}, auto: {driver: overlay}}\n"))
    beta.ok()
    alpha.ok()
    had = alpha.endpoints("net")["one"]
    with opened_store(cluster) as store:
        for entry in store.list(""):
            store.delete(entry.key)

    beta.declare(NET)
    beta.ok("--allow-prune")
    for _ in range(2):
        waiting = alpha()
        assert waiting.exit_code == 1
        assert "no host of the cluster declares it (yet)" in waiting.stderr

    with opened_store(cluster) as store:
        assert [entry.key for entry in store.list("network/") if "/endpoints/" in entry.key] == [
            "network/net/endpoints/one"
        ]
    beta.declare(NET + f"attachments: {{two: {{networks: {{net: {{ipv4_address: {had}}}}}}}}}\n")
    refused = beta()
    assert f"{had}: Address already in use: attachment one on host alpha has it" in refused.stderr
    beta.declare(NET.replace("}}}\n", "}}, auto: {driver: overlay}}\n") + "attachments: {two: {networks: [net]}}\n")
    beta.ok()
    alpha.ok()
    assert cluster.ping("two", "one")
    assert alpha.endpoints("net")["one"] == had


def test_two_hosts_after_one_name_or_address_do_not_both_get_it_nor_have_two_hosts_one_name(
    make_cluster: MakeCluster,
) -> None:
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
