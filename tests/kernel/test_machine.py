"""The private machine itself: what the other kernel tests rely on."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.machine import Machine

pytestmark = pytest.mark.kernel


def test_machine_shows_no_interface_but_lo(machine: Machine) -> None:
    assert machine.links("") == ["lo"]


def test_machine_keeps_run_and_etc_in_memory() -> None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]

    assert {"/run", "/etc"} <= {fields[1] for fields in mounts if fields[2] == "tmpfs"}
    assert socket.gethostname() == "machine"


def test_clean_removes_namespaces_and_their_files(machine: Machine) -> None:
    machine.add_namespace("a")
    (machine.etc_netns_dir / "a").mkdir(parents=True)

    machine.clean()

    assert machine.namespaces() == []
    assert not machine.etc_netns_dir.exists()


def test_leaks_name_a_link_left_behind(machine: Machine) -> None:
    machine.run("", "ip", "link", "add", "left", "type", "bridge")

    leaks = machine.leaks()
    machine.run("", "ip", "link", "delete", "left")

    assert leaks == ["link left"]
    assert machine.leaks() == []


def test_files_of_a_namespace_are_mounted_over_etc(machine: Machine, host_ns: str) -> None:
    (machine.etc_netns_dir / host_ns).mkdir(parents=True)
    (machine.etc_netns_dir / host_ns / "resolv.conf").write_text("nameserver 192.0.2.53\n")

    assert machine.run(host_ns, "cat", "/etc/resolv.conf").stdout == "nameserver 192.0.2.53\n"


@pytest.mark.parametrize("address", ["192.0.2.2", "2001:db8::2"])
def test_host_reaches_the_world_outside(machine: Machine, host_ns: str, uplink: str, address: str) -> None:
    seen_as = "2001:db8::1" if ":" in address else "192.0.2.1"

    assert machine.ping(host_ns, address)
    with machine.tcp_server(uplink) as port:
        assert machine.tcp(host_ns, address, port) == seen_as
    with machine.udp_server(uplink, address) as port:
        assert machine.udp(host_ns, address, port) == seen_as


def test_nobody_answers_where_nobody_serves(machine: Machine, host_ns: str, uplink: str) -> None:
    assert machine.tcp(host_ns, "192.0.2.2", 9, deadline_s=0.2) is None
    assert machine.udp(host_ns, "192.0.2.2", 9, deadline_s=0.2) is None
    assert not machine.ping(host_ns, "192.0.2.77", deadline_s=1)
