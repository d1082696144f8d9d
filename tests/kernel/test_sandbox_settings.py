"""What a namespace of ours lets ordinary users do, as a container's does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import patient

pytestmark = pytest.mark.kernel

_NOBODY = 65534


def _done_by_nobody(machine: Machine, ns: str, work: Callable[[], object]) -> bool:
    """Say whether a user without any rights can do it there."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with machine.inside(ns):
                os.setgroups([])
                os.setresgid(_NOBODY, _NOBODY, _NOBODY)
                os.setresuid(_NOBODY, _NOBODY, _NOBODY)
                work()
                os._exit(0)
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def _bind(port: int) -> None:
    with socket.socket() as server:
        server.bind(("", port))


def _ping(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as ping:
        ping.settimeout(patient(5))
        ping.sendto(bytes((8, 0, 0, 0, 0, 0, 0, 1)), (address, 0))
        assert ping.recv(64)[0] == 0


def test_an_ordinary_user_may_bind_port_80_and_ping_in_a_sandbox_of_ours(
    forked: ForkedReconcile, machine: Machine
) -> None:
    machine.add_namespace("theirs")
    setting = ("sysctl", "-n", "net.ipv4.ip_unprivileged_port_start")
    theirs = machine.run("theirs", *setting).stdout
    members = "{theirs: {networks: {plain: {}}}, web: {networks: {plain: {}}}"
    asking = ', asking: {networks: {plain: {}}, sysctls: {net.ipv4.ip_unprivileged_port_start: "81"}}}'
    net = "networks: {plain: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\nattachments: "
    forked.write(all=net + members + asking)
    forked.ok()

    assert _done_by_nobody(machine, "web", lambda: (_bind(80), _ping("10.1.0.1")))
    assert not _done_by_nobody(machine, "asking", lambda: _bind(80))
    assert machine.run("asking", *setting).stdout == "81\n"
    assert machine.run("theirs", *setting).stdout == theirs, "who made a namespace decides on it"
    forked.write(all=net + members + asking.replace(', sysctls: {net.ipv4.ip_unprivileged_port_start: "81"}', ""))
    forked.ok()
    assert machine.run("asking", *setting).stdout == "0\n"


def test_link_local_addresses_are_on_the_link(forked: ForkedReconcile, machine: Machine) -> None:
    member = "{networks: {plain: {link_local_ips: [169.254.7.%d, 'fe80::%d']}}}"
    net = "networks: {plain: {enable_ipv6: true, ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 'fd00:1::/64'}]}}}\n"
    forked.write(all=f"{net}attachments:\n  web: {member % (1, 1)}\n  db: {member % (2, 2)}\n")

    forked.ok()

    assert machine.ping("web", "169.254.7.2")
    assert machine.ping("web", "fe80::2%eth0")
    assert forked.ok().writes == ()
    forked.write(all=f"{net}attachments:\n  web: {member % (1, 1)}\n  db: {{networks: {{plain: {{}}}}}}\n")
    forked.ok()
    assert "169.254" not in machine.run("db", "ip", "address", "show", "dev", "eth0").stdout
    assert forked.ok().writes == ()


def test_a_port_on_an_address_that_the_host_lacks_is_told_until_it_comes(
    forked: ForkedReconcile, machine: Machine, uplink: str
) -> None:
    forked.write(all="attachments: {web: {network_mode: bridge, ports: ['192.0.2.99:8080:80', '192.0.2.1:8081:80']}}")

    told = forked.ok().stderr

    assert "attachment web: 192.0.2.99:8080/tcp leads nowhere as long as the host has no address 192.0.2.99" in told
    assert "192.0.2.1:8081/tcp" not in told
    assert "192.0.2.99:8080/tcp" in forked("status").stdout
    machine.run("H", "ip", "address", "add", "192.0.2.99/32", "dev", "uplink0")
    with machine.tcp_server("web", "0.0.0.0", 80):
        assert machine.tcp(uplink, "192.0.2.99", 8080) == "192.0.2.2"
    forked.ok()
    assert "192.0.2.99:8080/tcp" not in forked("status").stdout
