"""Every folder of examples/ works as it stands: valid, applied, verified, nothing to do the second time, gone without a trace."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.command_line import Reconcile
from tests.container_engines.engines import Docker, running
from tests.examples.comparison import files, golden, without_ids
from tests.kernel.reference_plugin import reference_plugin
from tests.machine import Machine
from tests.waiting import eventually, patient

pytestmark = pytest.mark.kernel

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
TOPICS = sorted({folder.name for folder in EXAMPLES.iterdir() if any(folder.glob("*.yaml*"))} - {"ci"})


def everything(machine: Machine, ns: str) -> dict[str, object]:
    """Give all that could be changed in a namespace and on the machine, but for statistics."""
    return {
        "namespaces": machine.namespaces(),
        "links": [{**link, "stats64": None} for link in machine.ip_json(ns, "-details", "link", "show")],
        "addresses": machine.ip_json(ns, "address", "show"),
        "routes": machine.ip_json(ns, "route", "show", "table", "all"),
        "routes6": machine.ip_json(ns, "-6", "route", "show", "table", "all"),
        "neighbours": machine.ip_json(ns, "neighbour", "show", "nud", "permanent"),
        "firewall": machine.run(ns, "nft", "list", "ruleset").stdout,
        "files": files(machine.etc_netns_dir),
        "settings": settings(machine, ns),
    }


def settings(machine: Machine, ns: str) -> dict[str, str]:
    """Give what a namespace's forwarding and the links it will have are governed by."""
    with machine.inside(ns):
        folders = [
            Path("/proc/sys/net", family, "conf", whose) for family in ("ipv4", "ipv6") for whose in ("all", "default")
        ]
        paths = [
            Path("/proc/sys/net/ipv4/ip_forward"),
            *(path for folder in folders for path in folder.iterdir() if path.is_file()),
        ]
        return {str(path): path.read_text() for path in paths if path.name != "stable_secret"}


@contextlib.contextmanager
def namespaces_of_others(machine: Machine) -> Iterator[None]:
    """What examples/existing-namespaces expects to find."""
    machine.add_namespace("blue")
    machine.add_namespace("green-of-podman")
    process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        own = Path("/proc/self/ns/net").readlink()
        assert eventually(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != own)
        Path("/run/worker.pid").write_text(f"{process.pid}\n")
        yield
    finally:
        process.kill()
        process.wait()
        Path("/run/worker.pid").unlink(missing_ok=True)


@contextlib.contextmanager
def physical_network(machine: Machine) -> Iterator[None]:
    """What examples/macvlan expects to find: `eth0` of the host, with a router and somebody in the guests' subnets behind it."""
    machine.add_veth("H", "eth0", "outside", "lan0")
    for address in ("10.80.0.1/24", "10.81.0.200/24", "fd00:81::200/64"):
        machine.run("", "ip", "-n", "outside", "address", "add", address, "dev", "lan0")
    yield


@contextlib.contextmanager
def containers_of_others(machine: Machine) -> Iterator[None]:
    """What examples/containers expects to run."""
    with running(Docker) as engine:
        engine.run("shop-web", "--volume", "/etc/hostname:/www/name", command=("httpd", "-f", "-h", "/www"))
        engine.run("shop-db")
        yield


@contextlib.contextmanager
def plugin_of_the_example(machine: Machine) -> Iterator[None]:
    """The process that examples/plugin speaks to."""
    with reference_plugin(machine, "H", Path("/run/reference-plugin.log")):
        yield


PREPARE: dict[str, Callable[[Machine], contextlib.AbstractContextManager[None]]] = {
    "containers": containers_of_others,
    "existing-namespaces": namespaces_of_others,
    "macvlan": physical_network,
    "plugin": plugin_of_the_example,
}


@pytest.fixture
def example(request: pytest.FixtureRequest, reconcile: Reconcile, machine: Machine, uplink: str) -> Iterator[Path]:
    """The folder of the topic that the test is parametrised with, applied on the host `alpha`."""
    topic: str = request.param
    with prepared(topic, machine):
        reconcile.ok("--host", "alpha", specs=EXAMPLES / topic)
        yield EXAMPLES / topic


def prepared(topic: str, machine: Machine) -> contextlib.AbstractContextManager[None]:
    return PREPARE[topic](machine) if topic in PREPARE else contextlib.nullcontext()


def using(topic: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [topic], indirect=True)


@pytest.mark.parametrize("topic", TOPICS)
def test_example_comes_stays_and_goes(
    topic: str, reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    shutil.copytree(EXAMPLES / topic, reconcile.specs, dirs_exist_ok=True)  # its revision is none of the status
    alpha = ("--host", "alpha")
    plan = ("--dry-run", "--output", "json", "--detailed-exitcode")
    with prepared(topic, machine):
        before = everything(machine, host_ns)
        reconcile.ok(*alpha, "validate")
        first, again = (reconcile(*alpha, *plan) for _ in range(2))
        assert first.exit_code == 2, first.text
        assert first.stdout == again.stdout
        assert everything(machine, host_ns) == before
        assert files(machine.state_dir) == {}

        reconcile.ok(*alpha)
        status = files(machine.status_dir)
        assert status
        done = reconcile(*alpha, *plan)
        assert done.exit_code == 0, done.text
        reconcile.ok(*alpha)
        assert files(machine.status_dir) == status

        reconcile.ok(*alpha, "down")
        assert everything(machine, host_ns) == before


def test_specs_folder_is_the_walkthrough() -> None:
    assert (EXAMPLES.parent / "specs").resolve() == EXAMPLES / "walkthrough"


@using("icc-off")
def test_icc_off_members_reach_the_outside_but_not_each_other(example: Path, machine: Machine) -> None:
    assert machine.ping("left", "192.0.2.2")
    assert machine.ping("left", "10.20.0.1")
    assert not machine.ping("left", "10.20.0.11", deadline_s=1)


@using("ipv6")
def test_ipv6_members_reach_each_other_and_the_outside_but_not_the_other_network(
    example: Path, machine: Machine
) -> None:
    assert machine.ping("ada", "fd00:30::b")
    assert machine.ping("ada", "10.30.0.1")
    assert machine.ping("sia", "2001:db8::2")
    assert not machine.ping("sia", "fd00:30::a", deadline_s=1)


@using("static-addresses")
def test_static_addresses_are_inspected_as_the_engine_printed_them(
    example: Path, reconcile: Reconcile, machine: Machine
) -> None:
    seven = json.loads(reconcile.ok("network", "inspect", "--mode", "20.10", "seven").stdout)[0]

    containers = {entry["Name"]: entry for entry in seven["Containers"].values()}
    recorded = golden("seven")
    assert without_ids({**seven, "Containers": {"": containers["s1"]}}) == without_ids(recorded)
    assert containers["s2"]["MacAddress"] == "02:42:0a:07:00:aa"
    assert (containers["s2"]["IPv4Address"], containers["s2"]["IPv6Address"]) == ("10.7.0.20/24", "fd00:7::200/64")
    assert machine.links("s2") == ["lan0", "lo"]


@using("host-and-none")
@pytest.mark.parametrize(("network", "record"), [("host", "host-with-hh"), ("none", "none-with-n1")])
def test_members_of_host_and_none_are_inspected_as_the_engine_printed_them(
    example: Path, reconcile: Reconcile, machine: Machine, network: str, record: str
) -> None:
    document = json.loads(reconcile.ok("network", "inspect", "--mode", "20.10", network).stdout)[0]

    assert without_ids(document) == without_ids(golden(record))
    assert machine.links("n1") == ["lo"]


@using("existing-namespaces")
def test_existing_namespaces_reach_each_other_and_stay(example: Path, reconcile: Reconcile, machine: Machine) -> None:
    assert machine.ping("blue", "10.40.0.3")
    assert machine.ping("blue", "10.40.0.4")

    reconcile.ok("down")

    assert {"blue", "green-of-podman"} <= set(machine.namespaces())
    assert machine.links("blue") == ["lo"]


@using("templates")
def test_template_renders_the_hosts_own_number_of_replicas(example: Path, machine: Machine) -> None:
    assert {name for name in machine.namespaces() if name.startswith("web")} == {"web1", "web2", "web3"}


@using("ports-and-links")
def test_published_ports_and_links_lead_where_the_readme_says(
    example: Path, reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    document = json.loads(reconcile.ok("attachment", "inspect", "db").stdout)[0]
    database = document["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]

    with machine.tcp_server("web", port=80), machine.tcp_server("web", port=81):
        assert machine.tcp(uplink, "192.0.2.1", 8080)
        assert machine.tcp(host_ns, "127.0.0.1", 8080)
        assert machine.tcp(host_ns, "127.0.0.1", 8081)
        assert machine.tcp(uplink, "192.0.2.1", 8081, deadline_s=1) is None
    with machine.udp_server("web", "0.0.0.0", port=53):
        assert machine.udp(uplink, "192.0.2.1", 5353)
    with machine.tcp_server("db", port=5432):
        assert machine.tcp("web", database, 5432)
        assert machine.tcp("stranger", database, 5432, deadline_s=1) is None
    assert machine.run("web", "getent", "hosts", "database").stdout.split()[0] == database
    assert f"DATABASE_PORT=tcp://{database}:5432" in reconcile.ok("exec", "web", "--", "env").stdout.splitlines()


@using("names")
def test_names_lead_where_the_readme_says(example: Path, machine: Machine) -> None:
    def found(ns: str, name: str) -> set[str]:
        printed = machine.run(ns, "getent", "ahostsv4", name, check=False).stdout
        return {line.split()[0] for line in printed.splitlines()}

    assert found("web", "api") == found("web", "gate") == found("web", "api.front") == {"10.60.0.10"}
    assert found("db1", "api") == found("db1", "api.back") == {"10.61.0.10"}
    assert found("api", "www") == found("api", "web") == {"10.60.0.2"}
    assert found("api", "db") == {"10.61.0.11", "10.61.0.12"}
    assert found("web", "db1") == set()


@using("macvlan")
def test_macvlan_members_are_on_the_physical_network(example: Path, machine: Machine, host_ns: str) -> None:
    assert machine.ping("camera", "10.80.0.1")
    assert machine.ping("outside", "10.80.0.20")
    assert machine.default_gateway("recorder") == "10.80.0.1"
    assert machine.run("camera", "getent", "ahostsv4", "video").stdout.split()[0] == "10.80.0.128"
    assert machine.ping("camera", "10.80.0.128")
    assert not machine.ping(host_ns, "10.80.0.20", deadline_s=1)

    assert machine.ping("guest1", "10.81.0.200")
    assert machine.ping("guest1", "fd00:81::200")
    assert not machine.ping("guest1", "10.81.0.2", deadline_s=1)

    recorder = machine.run("archive", "getent", "ahostsv4", "recorder").stdout.split()[0]
    assert recorder.startswith("10.82.0.")
    assert machine.ping("archive", recorder)
    assert machine.run("archive", "getent", "ahostsv4", "video", check=False).stdout == ""
    assert not machine.ping("archive", "10.80.0.1", deadline_s=1)


@using("containers")
def test_containers_find_each_other_and_are_reached_from_outside(
    example: Path, reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    assert machine.run("probe", "getent", "ahostsv4", "www").stdout.split()[0] == "10.70.0.10"
    assert machine.ping("probe", "db")
    assert (
        reconcile.ok("--host", "alpha", "exec", "web", "--", "getent", "hosts", "db").stdout.split()[0] == "10.70.0.11"
    )
    with machine.inside(uplink), urlopen("http://192.0.2.1:8080/name", timeout=patient(5)) as fetched:
        assert fetched.read() == Path("/etc/hostname").read_bytes()


@using("plugin")
def test_members_of_the_plugins_network_reach_each_other_by_name(example: Path, machine: Machine) -> None:
    address = machine.run("left", "getent", "hosts", "right").stdout.split()[0]

    assert machine.ping("left", address, size_bytes=1372)
    assert machine.default_gateway("left") == "10.70.0.1"
    assert machine.ping("right", "10.71.0.1")
