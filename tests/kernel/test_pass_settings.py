"""Settings of sandboxes that are typed in other words than the kernel gives them back in."""

from __future__ import annotations

import pytest

from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile

pytestmark = pytest.mark.kernel

TYPED = {
    "net.ipv4.ip_default_ttl": "0x20",
    "net.ipv4.tcp_fin_timeout": "030",
    "net.ipv4.tcp_retries1": '"2 "',
    "net.ipv4.ip_local_port_range": '"20000\\t30001"',
    "net.ipv4.ping_group_range": '"0   0x10"',
    "net.ipv4.ip_local_reserved_ports": '"8080,53,54,55"',
    "net.ipv4.neigh.eth0.base_reachable_time_ms": "30001",
    "net/ipv6/conf/default/stable_secret": '"2001:db8::1"',
    "net.ipv4.tcp_keepalive_time": "' 7200'",
}
"""Hexadecimal, octal, blanks, tabs, lists in another order, rounded to ticks, an unreadable one with slashes."""
GIVEN = {
    "net.ipv4.ip_default_ttl": "32",
    "net.ipv4.tcp_fin_timeout": "24",
    "net.ipv4.ip_local_port_range": "20000 30001",
    "net.ipv4.ip_local_reserved_ports": "53-55,8080",
    "net.ipv6.conf.default.stable_secret": "2001:0db8:0000:0000:0000:0000:0000:0001",
}


@pytest.mark.parametrize("is_foreign", [False, True], ids=["ours", "theirs"])
def test_settings_settle_whatever_words_they_are_typed_in(
    is_foreign: bool, forked: ForkedReconcile, machine: Machine
) -> None:
    def given(name: str) -> str:
        return " ".join(machine.run("box", "sysctl", "-n", name).stdout.split())

    if is_foreign:
        machine.add_namespace("box")
    sysctls = "".join(f"\n      {name}: {value}" for name, value in TYPED.items())
    box = "networks: {net: {}}\nattachments:\n  box:\n    networks: [net]\n    sysctls:"
    forked.write(specs=box + sysctls)

    forked.ok()

    assert {name: given(name) for name in GIVEN} == GIVEN
    assert "nothing to do" in forked.ok("--dry-run").stdout
    assert forked.ok().writes == ()

    machine.run("box", "sysctl", "-qw", "net.ipv4.ip_default_ttl=31")
    forked.ok()
    assert given("net.ipv4.ip_default_ttl") == "32"
    assert forked.ok().writes == ()

    forked.write(specs=box + "\n      net.ipv4.ip_default_ttl: 0x21")
    forked.ok()
    assert given("net.ipv4.ip_default_ttl") == "33"
    assert given("net.ipv4.tcp_fin_timeout") == ("60" if is_foreign else "24")
    assert forked.ok().writes == ()
