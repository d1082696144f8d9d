"""An address that answers at another MAC is reached in the pass that moved it, by all who remember the old one."""

from __future__ import annotations

import pytest

from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile

pytestmark = pytest.mark.kernel

NETWORKS = """
networks:
  six: {enable_ipv4: false, enable_ipv6: true, ipam: {config: [{subnet: "fd03::/64"}]}}
  four: {ipam: {config: [{subnet: 10.3.0.0/24}]}}
  lone: {driver: macvlan, enable_ipv6: true, ipam: {config: [{subnet: 10.4.0.0/24}, {subnet: "fd04::/64"}]}}
attachments:
  watcher: {networks: {six: {}, four: {}, lone: {}}}
"""
FIRST, SECOND = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def members(one: int, other: int, mac: str, lone_mac: str) -> str:
    """Two that hold these numbers; the first has this MAC on `four`, and on `lone`."""
    return NETWORKS + "".join(
        f"""  {name}:
    networks:
      six: {{ipv6_address: "fd03::{number}"}}
      four: {{ipv4_address: 10.3.0.{number}{f', mac_address: "{mac}"' if name == "one" else ""}}}
      lone:
        ipv4_address: 10.4.0.{number}
        ipv6_address: "fd04::{number}"
        mac_address: "{lone_mac if name == "one" else "02:00:00:00:00:0c"}"
"""
        for name, number in (("one", one), ("other", other))
    )


def answers_at_once(machine: Machine, ns: str, target: str) -> bool:
    """The first packet counts: nobody may have to find out."""
    return machine.run(ns, "ping", "-n", "-q", "-c", "1", "-W", "1", target, check=False).returncode == 0


BY_WATCHER = ("fd03::10", "fd03::11", "10.3.0.10", "10.3.0.11", "10.4.0.10", "10.4.0.11", "fd04::10", "fd04::11")
BY_HOST = ("fd03::10", "fd03::11", "10.3.0.10", "10.3.0.11")


def test_what_moved_is_reached_at_once(forked: ForkedReconcile, machine: Machine) -> None:
    forked.write(all=members(10, 11, FIRST, FIRST))
    forked.ok()
    everybody = [("watcher", target) for target in BY_WATCHER] + [("H", target) for target in BY_HOST]
    assert [place for place in everybody if not machine.ping(*place)] == []

    for change in (members(11, 10, FIRST, FIRST), members(11, 10, SECOND, SECOND)):
        forked.write(all=change)
        forked.ok()

        assert [place for place in everybody if not answers_at_once(machine, *place)] == []
    assert forked.ok().writes == ()
