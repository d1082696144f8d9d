"""Containers of real engines as sandboxes: joined when they start, left as they were, whatever their engine does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.container_engines.engines import IMAGE, ContainerEngine, Docker, running
from tests.fakes.scripted_engine import hang, scripted_engine
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually, patient

pytestmark = pytest.mark.kernel

NET = "networks: {net: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n"
WEB = "attachments: {web: {sandbox: {container: web}, hostname: www, networks: {net: {ipv4_address: 10.1.0.10}}}}\n"
DB = "attachments: {db: {sandbox: {container: db}, networks: {net: {ipv4_address: 10.1.0.20}}}}\n"
BOX = "attachments: {box: {networks: {net: {ipv4_address: 10.1.0.30}}}}\n"
FILES = ("/etc/hosts", "/etc/resolv.conf")
DEADLINE_S = 20.0
MISSING = {
    "stopped": "container stopped is not running",
    "onhost": "container onhost has the network mode 'host'",
    "shared": "container shared has the network mode 'container:",
    "absent": "has no container absent",
}
"""Containers that cannot be joined, and what is said of them."""


@pytest.fixture(scope="module")
def docker() -> Iterator[ContainerEngine]:
    with running(Docker) as engine:
        yield engine


@pytest.fixture
def engine(docker: ContainerEngine) -> Iterator[ContainerEngine]:
    """Running, and without containers before and after."""
    yield docker
    if docker.process is None:
        docker.start()
    docker.remove_containers()


Watch = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def watch(reconcile: Reconcile) -> Iterator[Watch]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(*options: str) -> subprocess.Popen[bytes]:
        running.append(reconcile.start(*options, "-q", "watch"))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def files(engine: ContainerEngine, name: str) -> str:
    return "".join(engine.read(name, path) for path in FILES)


def answers(machine: Machine, address: str) -> bool:
    return machine.ping("H", address, deadline_s=0.3)


def soon(condition: Callable[[], object]) -> bool:
    return eventually(condition, DEADLINE_S)


# One pass


def test_container_is_joined_told_its_names_and_left_as_it_was(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    engine.run("web")
    before = files(engine, "web")
    forked.write(net=NET, web=WEB, box=BOX)

    forked.ok()

    assert answers(machine, "10.1.0.10")
    assert "10.1.0.10\twww\n" in engine.read("web", "/etc/hosts")
    assert "nameserver 127.0.0.11\n" in engine.read("web", "/etc/resolv.conf")
    assert forked.ok().writes == ()
    forked.write(net=NET, box=BOX)
    forked.ok()
    assert files(engine, "web") == before
    assert engine.inside("web", "ls", "/sys/class/net").split() == ["lo"]
    assert not (machine.run_dir / "containers").exists()


def test_names_and_published_ports_lead_into_containers(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    engine.run("web", "--volume", "/etc/hostname:/www/name", command=("httpd", "-f", "-h", "/www"))
    published = WEB.replace("hostname: www", 'hostname: www, ports: ["8080:80"]')
    forked.write(net=NET, web=published, box=BOX)

    forked.ok()

    assert "10.1.0.30" in engine.inside("web", "nslookup", "box")
    assert " 0% packet loss" in engine.inside("web", "ping", "-c", "1", "box")
    assert machine.run("box", "getent", "ahostsv4", "web").stdout.split()[0] == "10.1.0.10"
    assert machine.ping("box", "web")
    with machine.inside(uplink), urlopen("http://192.0.2.1:8080/name", timeout=patient(5)) as fetched:
        assert fetched.read() == Path("/etc/hostname").read_bytes()


def test_containers_that_cannot_be_joined_are_named_and_hold_up_nobody(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    engine.run("other")
    engine.run("stopped")
    engine.ask("POST", "/containers/stopped/stop?t=0")
    engine.run("onhost", network="host")
    engine.run("shared", network="container:other")
    specs = {name: WEB.replace("web", name).replace("10.1.0.10", f"10.1.0.{at}") for at, name in enumerate(MISSING, 11)}
    forked.write(net=NET, box=BOX, **specs)

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert [said for said in MISSING.values() if said not in ran.stderr] == []
    assert answers(machine, "10.1.0.30")
    assert engine.inside("other", "ls", "/sys/class/net").split() == ["lo"]


def test_engine_that_does_not_run_is_named_and_holds_up_nobody(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    engine.kill()
    forked.write(net=NET, web=WEB, box=BOX)

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "/run/docker.sock" in ran.stderr
    assert answers(machine, "10.1.0.30")


def test_container_may_be_named_by_the_beginning_of_its_id(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    container = engine.run("other-name")
    forked.write(net=NET, web=WEB.replace("container: web", f'container: "{container[:12]}"'))

    forked.ok()

    assert answers(machine, "10.1.0.10")


def test_two_attachments_that_mean_one_container_are_refused(engine: ContainerEngine, forked: ForkedReconcile) -> None:
    container = engine.run("web")
    forked.write(net=NET, web=WEB, db=DB.replace("container: db", f'container: "{container}"'))

    ran = forked()

    assert ran.exit_code == ExitCode.FAILED
    assert "are the same namespace" in ran.stderr
    assert engine.inside("web", "ls", "/sys/class/net").split() == ["lo"]


def test_restarted_container_is_joined_by_the_next_pass_and_gets_back_what_its_engine_wrote_then(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    engine.run("web")
    forked.write(net=NET, web=WEB)
    forked.ok()
    engine.ask("POST", "/containers/web/restart?t=0")
    written = files(engine, "web")

    forked.ok()

    assert answers(machine, "10.1.0.10")
    assert "nameserver 127.0.0.11\n" in files(engine, "web")
    assert forked.ok().writes == ()
    forked.ok("down")
    assert files(engine, "web") == written


def test_file_that_the_container_changed_is_put_right(engine: ContainerEngine, forked: ForkedReconcile) -> None:
    engine.run("web")
    before = files(engine, "web")
    forked.write(net=NET, web=WEB)
    forked.ok()
    ours = files(engine, "web")

    engine.inside("web", "sh", "-c", "echo 192.0.2.1 evil > /etc/hosts")
    forked.ok()

    assert files(engine, "web") == ours
    forked.ok("down")
    assert files(engine, "web") == before


@pytest.mark.parametrize("trap", ["symlink", "hard link", "folder"])
def test_file_that_no_engine_puts_there_is_left_alone(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine, tmp_path: Path, trap: str
) -> None:
    container = engine.run("web")
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs\n")
    hosts = engine.folder / "data" / "containers" / container / "hosts"
    hosts.rename(hosts.with_name("moved"))
    match trap:
        case "symlink":
            hosts.symlink_to(theirs)
        case "hard link":
            hosts.with_name("theirs").write_text("theirs\n")
            theirs = hosts.with_name("theirs")
            hosts.hardlink_to(theirs)
        case "folder":
            hosts.mkdir()
    forked.write(net=NET, web=WEB)

    forked.ok()

    assert theirs.read_text() == "theirs\n"
    assert answers(machine, "10.1.0.10")
    assert forked.ok().writes == ()


def test_file_that_somebody_mounts_into_the_container_is_left_alone(
    engine: ContainerEngine, forked: ForkedReconcile, tmp_path: Path
) -> None:
    theirs = tmp_path / "hosts"
    theirs.write_text("127.0.0.1 theirs\n")
    engine.run("web", "--volume", f"{theirs}:/etc/hosts")
    forked.write(net=NET, web=WEB)

    forked.ok()

    assert theirs.read_text() == "127.0.0.1 theirs\n"
    assert "nameserver 127.0.0.11\n" in engine.read("web", "/etc/resolv.conf")


def test_pass_killed_while_it_writes_into_a_container_is_healed_by_the_next(
    engine: ContainerEngine, forked: ForkedReconcile
) -> None:
    engine.run("web")
    before = files(engine, "web")
    forked.write(net=NET, web=WEB)
    writes = forked.ok().writes
    ours = files(engine, "web")
    forked.ok("down")
    moments = [number for number, write in enumerate(writes) if "/containers/" in write]
    assert moments

    for moment in (*moments, moments[-1] + 1):
        assert forked(die_before=moment).was_killed
        forked.ok()
        assert files(engine, "web") == ours
        removal = forked("down", die_before=3)
        assert removal.was_killed
        forked.ok("down")
        assert files(engine, "web") == before


def test_exec_and_inspect_know_the_container(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    engine.run("web")
    forked.write(net=NET, web=WEB)
    forked.ok()

    assert "10.1.0.10/24" in forked.ok("exec", "web", "--", "ip", "-brief", "address", "show", "eth0").stdout
    document = json.loads(forked.ok("attachment", "inspect", "web").stdout)[0]
    assert document["NetworkSettings"]["SandboxKey"] == "container:web"
    engine.ask("POST", "/containers/web/stop?t=0")
    ran = forked("exec", "web", "--", "true")
    assert ran.exit_code == ExitCode.FAILED
    assert "container web is not running" in ran.stderr


def test_dry_run_asks_the_engine_and_writes_nothing(engine: ContainerEngine, forked: ForkedReconcile) -> None:
    engine.run("web")
    before = files(engine, "web")
    forked.write(net=NET, web=WEB)

    ran = forked("--dry-run", "--output", "json", "--detailed-exitcode")

    assert ran.exit_code == ExitCode.CHANGES
    assert ran.writes == ()
    assert "ContainerFile" in ran.stdout
    assert files(engine, "web") == before


def test_process_that_got_the_id_of_a_dead_container_is_not_taken_for_it(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine
) -> None:
    """The name server is told the process with its start, so that it never opens a socket in another one's namespace."""
    engine.run("web")
    forked.write(net=NET, web=WEB)
    forked.ok()
    pid = engine.pid("web")

    zones = (machine.run_dir / "dns" / "zones.json").read_text()

    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert f'"pid:{pid}@{started}"' in zones


# The watcher


def test_container_started_after_the_watcher_is_joined_without_being_asked_for_again(
    engine: ContainerEngine, reconcile: Reconcile, machine: Machine, watch: Watch
) -> None:
    reconcile.write(net=NET, web=WEB, db=DB, box=BOX)
    engine.run("web")
    watch()
    assert soon(lambda: answers(machine, "10.1.0.10"))

    engine.run("db")

    assert soon(lambda: answers(machine, "10.1.0.20"))
    assert soon(lambda: " 0% packet loss" in engine.inside("db", "ping", "-c", "1", "-W", "1", "web", check=False))


def test_attachment_declared_later_finds_a_container_that_runs(
    engine: ContainerEngine, reconcile: Reconcile, machine: Machine, watch: Watch
) -> None:
    engine.run("web")
    reconcile.write(net=NET, box=BOX)
    watch()
    assert soon(lambda: answers(machine, "10.1.0.30"))

    (reconcile.specs / "web.yaml").write_text(WEB)

    assert soon(lambda: answers(machine, "10.1.0.10"))


def test_container_that_restarts_again_and_again_is_joined_each_time(
    engine: ContainerEngine, reconcile: Reconcile, machine: Machine, watch: Watch
) -> None:
    engine.run("web")
    reconcile.write(net=NET, web=WEB, box=BOX)
    watch()

    for _ in range(8):
        assert soon(lambda: answers(machine, "10.1.0.10"))
        assert soon(lambda: "nameserver 127.0.0.11\n" in files(engine, "web"))
        engine.ask("POST", "/containers/web/restart?t=0")

    assert soon(lambda: " 0% packet loss" in engine.inside("web", "ping", "-c", "1", "-W", "1", "box", check=False))


def test_stopped_removed_and_renamed_containers_are_told_and_their_successors_joined(
    engine: ContainerEngine, reconcile: Reconcile, machine: Machine, watch: Watch
) -> None:
    def is_told(words: str) -> bool:
        path = machine.status_dir / "summary.json"
        return path.exists() and words in json.dumps(json.loads(path.read_text())["attachments"]["web"])

    engine.run("web")
    reconcile.write(net=NET, web=WEB)
    watch()
    assert soon(lambda: answers(machine, "10.1.0.10"))

    engine.ask("POST", "/containers/web/pause")
    engine.ask("POST", "/containers/web/unpause")
    assert answers(machine, "10.1.0.10")
    engine.ask("POST", "/containers/web/stop?t=0")
    assert soon(lambda: is_told("container web is not running"))
    assert soon(lambda: not [name for name in machine.links("H") if name.startswith("rcv")])
    engine.cli("rm", "web")
    assert soon(lambda: is_told("has no container web"))
    engine.run("web")
    assert soon(lambda: answers(machine, "10.1.0.10"))
    before = engine.read("web", "/etc/resolv.conf")
    assert "127.0.0.11" in before
    engine.cli("rename", "web", "retired")
    assert soon(lambda: is_told("has no container web"))
    engine.run("web")
    assert soon(lambda: answers(machine, "10.1.0.10"))
    assert soon(lambda: "127.0.0.11" in engine.read("web", "/etc/resolv.conf"))
    assert soon(lambda: "127.0.0.11" not in engine.read("retired", "/etc/resolv.conf"))


def test_engine_that_is_killed_and_comes_back_is_followed_again(
    engine: ContainerEngine, reconcile: Reconcile, machine: Machine, watch: Watch
) -> None:
    engine.run("web")
    reconcile.write(net=NET, web=WEB, db=DB, box=BOX)
    watch()
    assert soon(lambda: answers(machine, "10.1.0.10"))

    engine.kill()
    assert answers(machine, "10.1.0.10")
    (reconcile.specs / "box.yaml").write_text(BOX.replace("10.1.0.30", "10.1.0.31"))
    assert soon(lambda: answers(machine, "10.1.0.31"))
    engine.start()

    engine.ask("POST", "/containers/web/start")
    engine.run("db")
    assert soon(lambda: answers(machine, "10.1.0.10"))
    assert soon(lambda: answers(machine, "10.1.0.20"))


def test_engine_that_hangs_holds_up_nobody_else(
    reconcile: Reconcile, machine: Machine, watch: Watch, tmp_path: Path
) -> None:
    containers = "".join(f"  c{number}: {{sandbox: {{container: c{number}}}}}\n" for number in range(50))
    reconcile.write(net=NET, many=f"attachments:\n{containers}")
    with scripted_engine(tmp_path / "engine", hang):
        watch("--container-engine", f"unix://{tmp_path}/engine")
        assert soon((machine.status_dir / "summary.json").exists)

        for address in ("10.1.0.30", "10.1.0.31", "10.1.0.32"):
            (reconcile.specs / "box.yaml").write_text(BOX.replace("10.1.0.30", address))
            assert soon(partial(answers, machine, address))


def test_container_outlives_its_engine_with_its_network(
    engine: ContainerEngine, reconcile: Reconcile, machine: Machine, watch: Watch
) -> None:
    engine.stop()
    engine.options = ("--live-restore",)
    engine.start()
    engine.run("web")
    reconcile.write(net=NET, web=WEB)
    watch()
    assert soon(lambda: answers(machine, "10.1.0.10"))
    pid = engine.pid("web")

    engine.kill()
    engine.start()

    assert engine.pid("web") == pid
    assert os.path.exists(f"/proc/{pid}")
    assert answers(machine, "10.1.0.10")
    engine.ask("POST", "/containers/web/restart?t=0")
    assert soon(lambda: answers(machine, "10.1.0.10"))
    engine.options = ()


# What an engine has, as specs

WALKTHROUGH = {
    "container1": {"bridge": ()},
    "container2": {"bridge": ()},
    "container3": {"isolated_nw": (), "intern": ("--alias", "al")},
    "container4": {"isolated_nw": ("--network-alias", "fourth", "--hostname", "fourhost"), "intern": ()},
}
"""examples/walkthrough, as options of `docker run` and of `docker network connect`."""

SHOP_NETWORKS = {
    "shop_front": (
        "--subnet=10.30.0.0/24 --ip-range=10.30.0.128/25 --gateway=10.30.0.254 --aux-address=router=10.30.0.253 "
        "--opt=com.docker.network.bridge.enable_icc=false --opt=com.docker.network.driver.mtu=1400 --label=tier=front"
    ),
    "shop_back": "--internal --attachable --subnet=10.31.0.0/24",
}
SHOP = {
    "web": {
        "shop_front": (
            *("--network-alias=www", "--ip=10.30.0.10", "--mac-address=02:42:c0:00:00:0a", "--hostname=shop"),
            *("--publish=8080-8082:80-82", "--publish=127.0.0.1:5353:53/udp", "--expose=9000", "--dns=192.0.2.2"),
            *("--add-host=gate:192.0.2.7", "--sysctl=net.ipv4.ip_unprivileged_port_start=0"),
        ),
        "shop_back": ("--alias", "frontend"),
    },
    "db": {"shop_back": ("--network-alias=database",)},
}
"""As Compose would make them."""


def make_on_networks(engine: ContainerEngine, containers: dict[str, dict[str, tuple[str, ...]]]) -> None:
    for name, networks in containers.items():
        (first, options), *others = networks.items()
        engine.run(name, *options, network=first)
        for network, more in others:
            engine.cli("network", "connect", *more, network, name)


def described(network: dict[str, Any]) -> dict[str, Any]:
    """Give what engine and status have to say alike of a network."""
    members = {one["Name"]: (one["IPv4Address"], one["MacAddress"]) for one in network["Containers"].values()}
    # Newer engines tell the gateway that they chose, as we do; this one does not
    ipam = [{key: value for key, value in pool.items() if key != "Gateway"} for pool in network["IPAM"]["Config"]]
    same = {key: network[key] for key in ("Driver", "Internal", "Attachable", "EnableIPv6", "Options", "Labels")}
    return {**same, "IPAM": ipam, "Containers": members}


def test_networks_and_containers_of_an_engine_are_imported_and_the_same_here(
    engine: ContainerEngine, forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    engine.cli("network", "create", "--subnet=172.19.0.0/16", "--gateway=172.19.0.1", "isolated_nw")
    engine.cli("network", "create", "--internal", "--subnet=172.20.0.0/16", "--gateway=172.20.0.1", "intern")
    for network, options in SHOP_NETWORKS.items():
        engine.cli("network", "create", *options.split(), network)
    containers = {**WALKTHROUGH, **SHOP}
    make_on_networks(engine, containers)
    engine.run("alone")
    engine.cli("create", "--name", "old", *engine.run_options, IMAGE, "/bin/busybox")
    names = [each["Name"] for each in json.loads(engine.ask("GET", "/networks")) if each["Driver"] == "bridge"]
    theirs = {name: json.loads(engine.ask("GET", f"/networks/{name}")) for name in names}

    imported = forked.ok("import", "docker", "--output", str(forked.specs))

    assert "not carried: 1 stopped container (old): add --all" in imported.stderr
    waiting = forked("--dry-run")
    assert waiting.exit_code == ExitCode.FAILED
    assert "container web has the network mode 'shop_front'" in " ".join(waiting.stdout.split())
    for name in containers:
        engine.ask("DELETE", f"/containers/{name}?force=true")
        engine.run(name)
    plan = json.loads(forked.ok("--dry-run", "--output", "json").stdout)
    planned = {each["address"] for each in plan["resource_changes"]}
    members = [one for network in theirs.values() for one in network["Containers"].values()]
    assert [one for one in members if not any(one["IPv4Address"] in address for address in planned)] == []
    forked.ok()
    ours = {each["Name"]: each for each in json.loads(forked.ok("network", "inspect", *names).stdout)}
    assert {name: described(ours[name]) for name in names} == {name: described(theirs[name]) for name in names}
    assert " 0% packet loss" in engine.inside("container3", "ping", "-c", "1", "fourth")
    assert "172.19.0.2/16" in engine.inside("container3", "ip", "address", "show", "eth0")
    assert " 0% packet loss" in engine.inside("container1", "ping", "-c", "1", "172.17.0.3")
    assert "10.31.0." in engine.inside("web", "nslookup", "database")
    assert forked.ok("--dry-run", "--detailed-exitcode").writes == ()
    again = forked.ok("import", "docker")
    assert "attachments:" not in again.stdout
    assert "container web: not carried: the container: the specs that this host" in again.stderr
    over = forked("import", "docker", "--output", str(forked.specs))
    assert over.exit_code == ExitCode.BAD_CONFIG
    assert "this host's specs join 7 containers already" in over.stderr
    engine.ask("POST", "/networks/prune")
