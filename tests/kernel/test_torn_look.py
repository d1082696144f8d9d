"""What goes between two dumps of one look: the pass that met half of it repairs it, without an error, and counts it as drift."""

from __future__ import annotations

import itertools
import re
import tempfile

import pytest

from tests.command_line import Ran, Reconcile, run_command
from tests.fork_server import Hook
from tests.machine import Machine

pytestmark = pytest.mark.kernel

SPECS = """
networks:
  lan: {enable_ipv6: true, ipam: {config: [{subnet: 10.5.0.0/24}, {subnet: "fd00:5::/64"}]},
        driver_opts: {com.docker.network.bridge.name: br-lan}}
attachments: {web: {networks: {lan: {ipv4_address: 10.5.0.10}}}}
"""
BREAKS = (
    ("H", "link", "delete", "br-lan"),
    ("web", "link", "delete", "eth0"),
    ("web", "link", "set", "eth0", "down"),
    ("web", "address", "flush", "dev", "eth0"),
)
DUMPS = 6
"""Links, addresses and routes of the host and of the sandbox."""


def test_what_goes_in_the_middle_of_a_look_is_repaired_and_counted(machine: Machine, reconcile: Reconcile) -> None:
    reconcile.write(all=SPECS)
    reconcile.ok()
    repaired = drift(machine)

    for (ns, *words), number in itertools.product(BREAKS, range(DUMPS)):
        done = torn_pass(number, ("ip", "-n", ns, *words), reconcile)

        where = f"{words} before dump {number}: {done.text}"
        assert done.exit_code == 0, where
        assert not re.search("error|failed|warning", done.stderr), where
        if "nothing to do" in done.stderr:  # it went after its kind had been dumped
            reconcile.ok()
        assert drift(machine) > repaired, where
        repaired = drift(machine)
        assert machine.ping("H", "10.5.0.10"), where
        assert machine.default_gateway("web") == "10.5.0.1", where
    assert "nothing to do" in reconcile.ok().stderr


def torn_pass(number: int, command: tuple[str, ...], reconcile: Reconcile) -> Ran:
    """Run a pass, in which somebody runs `command` before the dump of that number."""
    with tempfile.TemporaryFile() as log:
        hook = Hook("tests.pipeline.handicaps:broken_before_dump", (number, command), log.fileno())
        done = run_command(reconcile.options(), hooks=[hook])
        log.seek(0)
        assert log.read(), f"there is no dump {number}"
    return done


def drift(machine: Machine) -> int:
    found = machine.summary()
    return sum(entry["driftRepaired"] for entry in (*found["networks"].values(), *found["attachments"].values()))
