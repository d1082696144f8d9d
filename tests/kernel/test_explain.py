"""Why one does not reach another on a host that is not as its specs declare: each broken thing is named."""

from __future__ import annotations

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.machine import Machine

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  front: {ipam: {config: [{subnet: 10.5.0.0/24}]}}
  back: {internal: true, ipam: {config: [{subnet: 10.6.0.0/24}]}}
  taken:
    driver_opts: {com.docker.network.bridge.name: br-theirs}
    ipam: {config: [{subnet: 10.7.0.0/24}]}
attachments:
  web: {networks: {front: {ipv4_address: 10.5.0.10}}, ports: ["8080:80"]}
  app: {networks: {front: {ipv4_address: 10.5.0.11}, back: {ipv4_address: 10.6.0.11}}}
  db: {networks: {back: {ipv4_address: 10.6.0.10}}}
  one: {networks: [taken]}
  far: {networks: [back], sandbox: {netns: /run/netns/not-there}}
"""
FOREIGN = """table bridge stranger {
    chain forward { type filter hook forward priority 0; ip daddr 10.6.0.10 drop; }
}"""


def test_what_a_host_lacks_is_named_and_packets_name_what_it_does_not_know_of(
    reconcile: Reconcile, machine: Machine
) -> None:
    machine.run(reconcile.host_ns, "ip", "link", "add", "br-theirs", "type", "bridge")
    reconcile.write(all=SPECS)
    assert reconcile().exit_code == ExitCode.FAILED  # two of its networks and sandboxes cannot be had

    fine = reconcile.ok("explain", "app", "--to", "db", "--probe").stdout
    assert fine.startswith("yes: app reaches db\n")
    assert "on this host: as declared: bridge br-" in fine
    assert "sent: app to 10.6.0.10 (icmp): answered" in fine
    assert "on this host" not in reconcile.ok("explain", "app", "--to", "db", "--no-live").stdout

    said = {
        ("one", "outside"): "network taken is left as it is on this host, OwnershipConflict",
        ("one", "app"): "note: network taken is left as it is on this host, OwnershipConflict",
        ("app", "far"): "SandboxMissing",
    }
    for (client, server), cause in said.items():
        told = reconcile("explain", client, "--to", server)
        assert told.exit_code == ExitCode.UNREACHED, told.text
        assert cause in " ".join(told.stdout.split()), told.text

    machine.run("db", "ip", "link", "del", "eth0")
    machine.run("web", "ip", "route", "del", "default")
    machine.run(reconcile.host_ns, "nft", "delete", "element", "inet", "reconciler", "published_any4", "{ tcp . 8080 }")
    lacks = {
        ("app", "db"): "veth ",
        ("web", "outside"): "route 0.0.0.0/0 via 10.5.0.1",
        ("outside", "web:80"): "nft element published_any4 { tcp . 8080",
    }
    assert reconcile.ok("explain", "app", "--to", "web").stdout.startswith("yes: ")  # neighbours need neither
    for (client, server), what in lacks.items():
        told = reconcile("explain", client, "--to", server)
        words = " ".join(told.stdout.split())
        assert told.exit_code == ExitCode.UNREACHED, told.text
        assert f"because this host is not as declared: {what}" in words, told.text
        assert f"on this host: missing: {what}" in words, told.text

    reconcile()
    machine.run(reconcile.host_ns, "nft", FOREIGN)
    dropped = reconcile("explain", "app", "--to", "db:5432", "--probe")
    assert dropped.exit_code == ExitCode.UNREACHED
    assert "both ends answer the host, and what passes between them is lost" in " ".join(dropped.stdout.split())
    machine.run("db", "ip", "link", "set", "eth0", "down")
    down = reconcile("explain", "app", "--to", "db", "--probe")
    assert "db does not answer the host itself at 10.6.0.10" in " ".join(down.stdout.split()), down.text
