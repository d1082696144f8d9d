"""Names from specs to answers: what sandboxes see of each other, and that the server is brought back, followed and taken away."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.dns import control, launch
from reconciler.dns.launch import RunningServer
from reconciler.errors import ExitCode
from reconciler.watch.names_events import NamesEvents
from reconciler.watch.source import Watched
from tests.conftest import IN_CI
from tests.kernel.dns_upstream import Upstream, truth
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually, has_ended, within

pytestmark = pytest.mark.kernel

SCENARIO = """
networks:
  isolated_nw: {ipam: {config: [{subnet: 172.19.0.0/16, gateway: 172.19.0.1}]}}
  intern: {internal: true, ipam: {config: [{subnet: 172.20.0.0/16, gateway: 172.20.0.1}]}}
attachments:
  container1: {}
  container3:
    networks: {isolated_nw: {priority: 1}, intern: {aliases: [al]}}
  container4:
    hostname: fourhost
    links: ["container3:web"]
    networks: {isolated_nw: {priority: 1, aliases: [fourth]}}
  inside: {networks: [intern]}
"""

NSLOOKUPS = {
    ("container4", "container3"): """
        Non-authoritative answer:

        Non-authoritative answer:
        Name:	container3
        Address: 172.19.0.2
        """,
    ("container4", "web"): """
        Non-authoritative answer:

        Non-authoritative answer:
        Name:	web
        Address: 172.19.0.2
        """,
    ("container4", "fourth"): """
        Non-authoritative answer:
        Name:	fourth
        Address: 172.19.0.3

        Non-authoritative answer:
        """,
    ("container4", "container3.isolated_nw"): """
        Non-authoritative answer:
        Name:	container3.isolated_nw
        Address: 172.19.0.2

        Non-authoritative answer:
        """,
    ("container3", "container4"): """
        Non-authoritative answer:

        Non-authoritative answer:
        Name:	container4
        Address: 172.19.0.3
        """,
}
"""What a real engine printed below the server's address; the two answers (A, AAAA) come in either order."""

MUSL_LOOKUP = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int count, char **words) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
    if (count != 2 || getaddrinfo(words[1], 0, &hints, &found)) return 2;
    for (each = found; each; each = each->ai_next) {
        char text[64];
        void *raw = each->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)each->ai_addr)->sin_addr
                                               : (void *)&((struct sockaddr_in6 *)each->ai_addr)->sin6_addr;
        puts(inet_ntop(each->ai_family, raw, text, sizeof text));
    }
    return 0;
}
"""


@pytest.fixture
def scenario(forked: ForkedReconcile) -> Iterator[ForkedReconcile]:
    """The scenario of the recording, applied."""
    forked.write(scenario=SCENARIO)
    forked.ok()
    yield forked
    forked("down")


@contextlib.contextmanager
def host_resolv_conf(text: str) -> Iterator[None]:
    """Replace the private machine's own file meanwhile."""
    path = Path("/etc/resolv.conf")
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def dig(machine: Machine, ns: str, *arguments: str) -> list[str]:
    """Give the answers' data, sorted; the response code when there are none, nothing when there is no reply."""
    command = ("dig", "+noall", "+answer", "+comments", "+tries=1", "+time=5", "@127.0.0.11", *arguments)
    lines = machine.run(ns, *command, check=False).stdout.splitlines()
    answers = sorted(line.split("\t")[-1] for line in lines if line and not line.startswith(";"))
    return answers or [line.split("status: ")[1].split(",")[0] for line in lines if "status: " in line]


def server(machine: Machine) -> RunningServer:
    running = launch.running_server(machine.run_dir)
    assert running is not None
    return running


def ready(entry: Any) -> tuple[str, str]:
    condition = next(each for each in entry["conditions"] if each["type"] == "Ready")
    return condition["status"], condition["message"]


def blocks(text: str) -> list[str]:
    """Give what nslookup prints as paragraphs, sorted: the order in which A and AAAA are answered says nothing."""
    return sorted(part.strip() for part in textwrap.dedent(text).split("\n\n") if part.strip())


@pytest.mark.parametrize(("ns", "name"), NSLOOKUPS, ids=[f"{name} in {ns}" for ns, name in NSLOOKUPS])
def test_nslookup_prints_what_it_prints_in_the_engines_containers(
    ns: str, name: str, scenario: ForkedReconcile, machine: Machine
) -> None:
    printed = machine.run(ns, "busybox", "nslookup", name).stdout

    head = "Server:\t\t127.0.0.11\nAddress:\t127.0.0.11:53"
    assert blocks(printed) == sorted([head, *blocks(NSLOOKUPS[ns, name])])


@pytest.mark.quick
def test_names_of_the_scenario(scenario: ForkedReconcile, machine: Machine) -> None:
    inspected = json.loads(scenario.ok("attachment", "inspect", "container3").stdout)[0]
    short_id = inspected["Id"][:12]
    expected = {
        ("container3", "container4"): ["172.19.0.3"],
        ("container3", "fourhost"): ["172.19.0.3"],
        ("container3", "FOURTH"): ["172.19.0.3"],
        ("container3", "container4", "AAAA"): ["NOERROR"],
        ("container3", "inside"): ["172.20.0.3"],
        ("container3", "al"): ["172.20.0.2"],
        ("container3", "al.intern"): ["172.20.0.2"],
        ("container3", "container3"): ["172.19.0.2"],
        ("inside", "container3"): ["172.20.0.2"],
        ("container4", short_id): ["172.19.0.2"],
        ("container4", "-x", "172.19.0.2"): ["container3.isolated_nw."],
        ("inside", "-x", "172.20.0.2"): ["container3.intern."],
    }

    assert {question: dig(machine, *question) for question in expected} == expected
    assert {question: dig(machine, *question, "+tcp") for question in expected} == expected


def test_name_is_seen_only_on_shared_networks(scenario: ForkedReconcile, machine: Machine) -> None:
    with host_resolv_conf("nameserver 127.0.0.99\n"):  # where nobody listens
        scenario.ok()

        hidden = [("container4", "al"), ("container4", "inside"), ("inside", "container4"), ("container3", "web")]
        assert [dig(machine, *question) for question in hidden] == [["SERVFAIL"]] * 4
        assert dig(machine, "container4", "container1") == ["SERVFAIL"]
        nothing = ["NOERROR"]
        for rtype in ("HTTPS", "TXT", "ANY", "SOA", "SRV"):  # own names are asked of nobody else
            assert dig(machine, "container4", "container3", rtype) == nothing
        assert dig(machine, "inside", "container3", "HTTPS", "+tcp") == nothing
        for asker, address in (("container4", "172.19.0.1"), ("container4", "172.19.7.7"), ("inside", "172.20.0.1")):
            assert dig(machine, asker, "-x", address) == ["NXDOMAIN"]
        assert dig(machine, "container4", "-x", "172.20.0.1") == ["SERVFAIL"]  # of a network it is not on


def test_default_bridge_has_no_name_service(scenario: ForkedReconcile, machine: Machine) -> None:
    assert dig(machine, "container1", "container3") == []
    assert "127.0.0.11" not in machine.run("container1", "cat", "/etc/resolv.conf").stdout


def test_resolv_conf_is_the_engines(scenario: ForkedReconcile, machine: Machine) -> None:
    with host_resolv_conf("nameserver 192.0.2.53\n"):
        scenario.ok()

        assert machine.run("container4", "cat", "/etc/resolv.conf").stdout == "nameserver 127.0.0.11\noptions ndots:0\n"


def test_programs_of_glibc_find_names(scenario: ForkedReconcile, machine: Machine) -> None:
    found = machine.run("container3", "getent", "hosts", "container4").stdout.split()

    assert found == ["172.19.0.3", "container4"]
    assert machine.run("container4", "getent", "hosts", "172.19.0.2").stdout.split()[:2] == [
        "172.19.0.2",
        "container3.isolated_nw",
    ]
    assert machine.ping("container4", "web")


@pytest.mark.skipif(not (IN_CI or shutil.which("musl-gcc")), reason="not installed: musl-tools")
def test_programs_of_musl_find_names(scenario: ForkedReconcile, machine: Machine, tmp_path: Path) -> None:
    program = tmp_path / "lookup"
    command = ["musl-gcc", "-static", "-x", "c", "-", "-o", str(program)]
    subprocess.run(command, input=MUSL_LOOKUP, text=True, check=True, capture_output=True)

    found = {name: machine.run("container4", str(program), name, check=False).stdout for name in ("web", "al")}

    assert found == {"web": "172.19.0.2\n", "al": ""}


def test_strange_names_are_asked_from_the_hosts_side(scenario: ForkedReconcile, machine: Machine, host_ns: str) -> None:
    with host_resolv_conf("nameserver 127.0.0.53\n"), Upstream(machine, host_ns, "127.0.0.53", truth()).running():
        scenario.ok()

        assert dig(machine, "container4", "www.example.org") == ["198.51.100.7"]
        assert dig(machine, "inside", "www.example.org") == ["SERVFAIL"]  # an internal network leads nowhere


def test_server_that_has_a_zone_is_asked_on_that_link(
    scenario: ForkedReconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    """A link-local address is on every link: without its zone nobody could tell on which one the server is."""
    for ns, ifname, number in ((host_ns, "uplink0", 1), (uplink, "downlink0", 53)):
        machine.run("", "ip", "-n", ns, "address", "add", f"fe80::{number}/64", "dev", ifname, "nodad")
    servers = "nameserver fe80::53%nosuch0\nnameserver fe80::53%uplink0\n"

    with host_resolv_conf(servers), Upstream(machine, uplink, "fe80::53%downlink0", truth()).running():
        scenario.ok()

        assert dig(machine, "container3", "www.example.org") == ["198.51.100.7"]
        assert dig(machine, "container3", "www.example.org", "+tcp") == ["198.51.100.7"]


def test_servers_of_an_attachment_are_asked_from_inside_its_sandbox(
    scenario: ForkedReconcile, machine: Machine
) -> None:
    scenario.write(scenario=SCENARIO.replace("{networks: [intern]}", "{networks: [intern], dns: [127.0.0.77]}"))

    with Upstream(machine, "inside", "127.0.0.77", truth("198.51.100.8")).running():
        scenario.ok()

        assert dig(machine, "inside", "www.example.org") == ["198.51.100.8"]


def test_names_follow_the_specs(scenario: ForkedReconcile, machine: Machine) -> None:
    pid = server(machine).pid

    scenario.write(scenario=SCENARIO.replace("fourth", "fifth") + "  late: {networks: [isolated_nw]}\n")
    scenario.ok()

    assert dig(machine, "container3", "fifth") == ["172.19.0.3"]
    assert dig(machine, "late", "container3") == ["172.19.0.2"]
    assert dig(machine, "container3", "late") == ["172.19.0.4"]
    assert server(machine).pid == pid
    assert scenario.ok().writes == ()


def test_server_that_was_killed_is_missed_and_brought_back(scenario: ForkedReconcile, machine: Machine) -> None:
    kill(server(machine).pid)
    assert dig(machine, "container4", "container3") == []

    plan = json.loads(scenario("--dry-run", "--output", "json").stdout)["resource_changes"]
    scenario.ok()

    assert [change["kind"] for change in plan] == ["NameTables"]
    assert dig(machine, "container4", "container3") == ["172.19.0.2"]
    assert machine.summary()["names"]["driftRepaired"] == 1
    assert scenario.ok().writes == ()


def kill(pid: int) -> None:
    life = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(life, signal.SIGKILL)
        assert eventually(lambda: has_ended(pid))
    finally:
        os.close(life)


def test_watcher_is_told_when_the_server_ends(scenario: ForkedReconcile, machine: Machine) -> None:
    events = NamesEvents(machine.run_dir)
    try:
        events.arm(Watched(name_server=server(machine).pid))
        assert not is_readable(events)
        kill(server(machine).pid)
        assert eventually(lambda: is_readable(events))

        events.drain()
        scenario.ok()
        events.arm(Watched(name_server=server(machine).pid))
        kill(server(machine).pid)
        assert eventually(lambda: is_readable(events))
    finally:
        events.close()


def is_readable(events: NamesEvents) -> bool:
    return bool(select.select([events], [], [], 0)[0])


def test_sandbox_that_was_made_anew_is_served_when_the_pass_ends(scenario: ForkedReconcile, machine: Machine) -> None:
    machine.delete_namespace("container4")

    scenario.ok()

    assert dig(machine, "container4", "container3") == ["172.19.0.2"]


def test_server_of_another_host_namespace_is_replaced(scenario: ForkedReconcile, machine: Machine) -> None:
    before = server(machine).pid
    machine.delete_namespace("H")
    machine.add_namespace("H")

    # The server that runs in the old namespace keeps it, with its ends of our pairs, until it is replaced.
    assert eventually(lambda: scenario().exit_code == ExitCode.OK)

    assert server(machine).pid != before
    assert dig(machine, "container4", "container3") == ["172.19.0.2"]
    assert scenario.ok().writes == ()


@pytest.mark.parametrize("end", ["down", "nobody served"])
def test_server_ends_when_nobody_needs_it(end: str, scenario: ForkedReconcile, machine: Machine) -> None:
    pid = server(machine).pid

    if end == "down":
        scenario.ok("down")
    else:
        scenario.write(scenario="attachments: {container1: {}}")
        scenario.ok("--allow-prune")

    assert has_ended(pid)
    assert not (machine.run_dir / "dns").exists()
    assert machine.summary()["names"] is None
    assert scenario.ok(*(["down"] if end == "down" else [])).writes == ()


def test_down_takes_away_what_a_killed_server_left(scenario: ForkedReconcile, machine: Machine) -> None:
    kill(server(machine).pid)

    scenario.ok("down")

    assert not (machine.run_dir / "dns").exists()


def test_what_a_killed_way_down_left_of_the_server_goes_with_the_next(
    scenario: ForkedReconcile, machine: Machine
) -> None:
    """The first that goes is the server, then its files, one by one."""
    deaths = 0
    while scenario("down", die_before=deaths).was_killed and deaths < 7:
        scenario.ok("down")
        assert not (machine.run_dir / "dns").exists() or not list((machine.run_dir / "dns").iterdir()), deaths
        scenario.ok()
        deaths += 1
    assert deaths == 7


def test_failing_server_harms_no_network(forked: ForkedReconcile, machine: Machine) -> None:
    forked.write(scenario=SCENARIO)
    machine.run_dir.mkdir()
    (machine.run_dir / "dns").write_text("in the way")

    failed = forked()

    told = machine.summary()
    assert failed.exit_code == ExitCode.FAILED
    assert "name service: start the embedded DNS server" in failed.stderr
    assert ready(told["names"])[0] == "False"
    assert told["names"]["conditions"][0]["reason"] == "NamesUnavailable"
    assert {ready(entry) for kind in ("networks", "attachments") for entry in told[kind].values()} == {
        ("True", "as declared")
    }
    assert machine.ping("container4", "172.19.0.2")
    (machine.run_dir / "dns").unlink()
    forked.ok()
    assert ready(machine.summary()["names"]) == ("True", "as declared")
    assert dig(machine, "container4", "container3") == ["172.19.0.2"]


def test_taken_port_is_told_on_that_attachment_alone(forked: ForkedReconcile, machine: Machine) -> None:
    machine.add_namespace("container4")
    with machine.inside("container4"):
        other = socket.create_server(("0.0.0.0", 53))
    forked.write(scenario=SCENARIO)

    with other:
        done = forked.ok()
        told = machine.summary()["attachments"]
        taken = "listen at 127.0.0.11:53 in netns:container4: Address already in use; stop what listens there"
        assert ready(told["container4"]) == ("True", f"as declared, but it has no name service: {taken}")
        assert "attachment container4: it has no name service" in done.stderr
        assert ready(told["container3"]) == ("True", "as declared")
        assert dig(machine, "container3", "container4") == ["172.19.0.3"]
        assert forked.ok().writes == ()

    assert eventually(lambda: dig(machine, "container4", "container3") == ["172.19.0.2"], deadline_s=10)
    forked.ok()
    assert ready(machine.summary()["attachments"]["container4"]) == ("True", "as declared")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: {"scenario": text.replace("networks: [intern]", "networks: [intern")},
        lambda text: {"scenario": text, "more": "attachments: {late: {networks: [nowhere]}}"},
    ],
    ids=["unreadable", "faulty beside"],
)
def test_names_stay_while_specs_cannot_be_read(
    damage: Callable[[str], dict[str, str]], scenario: ForkedReconcile, machine: Machine
) -> None:
    scenario.write(**damage(SCENARIO))

    assert scenario().exit_code == ExitCode.BAD_SPECS

    assert dig(machine, "container4", "container3") == ["172.19.0.2"]
    assert dig(machine, "inside", "al") == ["172.20.0.2"]
    assert scenario().writes == ()


@contextlib.contextmanager
def hung(pid: int) -> Iterator[None]:
    life = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(life, signal.SIGSTOP)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(life, signal.SIGCONT)
        os.close(life)


def test_server_that_hangs_is_told_and_another_takes_its_place(scenario: ForkedReconcile, machine: Machine) -> None:
    before = server(machine).pid
    with hung(before):
        scenario.write(scenario=SCENARIO + "  late: {networks: [isolated_nw]}\n")
        assert "the server that runs does not answer" in scenario("--dry-run", "--objects").stdout
        assert not has_ended(before)

        with within(30):
            healed = scenario.ok()

        assert f"the embedded DNS server, process {before}, does not answer: it is ended" in healed.stderr
        assert has_ended(before)
        assert machine.ping("late", "172.19.0.2")
        assert dig(machine, "late", "container3") == ["172.19.0.2"]
        assert ready(machine.summary()["names"]) == ("True", "as declared")
        assert scenario.ok().writes == ()


def test_the_place_of_a_server_whose_folder_was_taken_away_is_taken_when_it_is_gone(
    scenario: ForkedReconcile, machine: Machine
) -> None:
    """It has the sockets of all sandboxes until it sees that: here it cannot for a moment."""
    before = server(machine).pid
    life = os.pidfd_open(before)
    signal.pidfd_send_signal(life, signal.SIGSTOP)
    shutil.rmtree(machine.run_dir)
    going_on = threading.Timer(0.5, lambda: signal.pidfd_send_signal(life, signal.SIGCONT))
    going_on.start()

    scenario.ok()

    going_on.join()
    os.close(life)
    assert has_ended(before)
    assert {ready(entry) for entry in machine.summary()["attachments"].values()} == {("True", "as declared")}
    assert scenario.ok().writes == ()


def test_the_way_down_ends_a_server_that_hangs(scenario: ForkedReconcile, machine: Machine) -> None:
    before = server(machine).pid
    with hung(before):
        scenario.ok("down")

        assert has_ended(before)
    assert not (machine.run_dir / "dns").exists()


def test_who_stands_silent_in_the_place_of_a_server_is_left_alone(scenario: ForkedReconcile, machine: Machine) -> None:
    """Here it is the test itself, which would not live to tell."""
    kill(server(machine).pid)
    folder = control.folder(machine.run_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent, (folder / control.LOCK_FILE).open("r+"):
        (folder / control.SOCKET_FILE).unlink()
        with control.address(machine.run_dir) as place:
            silent.bind(place)
        silent.listen()

        scenario.ok()

    assert dig(machine, "container4", "container3") == ["172.19.0.2"]
