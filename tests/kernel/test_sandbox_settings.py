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
