"""Real packets beside what the specs say."""

from __future__ import annotations

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.machine import Machine

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  front: {enable_ipv6: true, ipam: {config: [{subnet: 10.5.0.0/24}, {subnet: "fd00:5::/64"}]}}
  back: {internal: true, ipam: {config: [{subnet: 10.6.0.0/24}]}}
  alone: {driver_opts: {com.docker.network.bridge.enable_icc: 'false'}, ipam: {config: [{subnet: 10.7.0.0/24}]}}
attachments:
  web: {networks: [front, back], ports: ["8080:80"]}
  db: {networks: [back]}
  one: {networks: [alone]}
  two: {networks: [alone]}
expect:
  - {from: web, to: db, reach: true}
  - {from: db, to: one, reach: false}
  - {from: one, to: web, port: 80, protocol: tcp, reach: true}
  - {from: outside, to: db, reach: false}
"""


def test_packets_go_where_the_specs_say_until_somebody_interferes(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(all=SPECS)
    reconcile.ok()

    agreed, expected = reconcile.ok("probe"), reconcile.ok("probe", "--expect")

    assert agreed.stdout.startswith("Probe: "), agreed.text
    asked = int(agreed.stdout.split()[3])
    assert agreed.stdout == f"Probe: {asked} of {asked} packets from 5 places went as the specs say\n"
    assert asked > 25
    *told, last = expected.stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in told] == [*["as expected"] * 3, "nobody here can be asked"]
    assert last == "Probe: 3 of 3 expectations as expected"

    machine.run("db", "ip", "link", "set", "eth0", "down")

    differing, unmet = reconcile("probe"), reconcile("probe", "--expect")
    assert (differing.exit_code, unmet.exit_code) == (ExitCode.FAILED, ExitCode.FAILED)
    assert "web → db at 10.6.0." in differing.stdout
    assert "(icmp): does not arrive, and should" in differing.stdout
    assert "web reaches db: NOT as expected: web does not reach db" in unmet.stdout
    assert "Probe: 2 of 3 expectations as expected" in unmet.stdout
