"""Each call to the world outside fails once, in each way that it can; the next pass heals it, and nothing is lost or left over.

The suite tries a part of the points; `make faults` tries all, and writes docs/reference/faults.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.command_line import Reconcile
from tests.faults.scenes import Circle, Host, Point, Tally
from tests.faults.trying import parts, try_part
from tests.machine import Machine
from tests.pipeline.two_states import FIRST, SANDBOXES, SECOND

pytestmark = [pytest.mark.kernel, pytest.mark.long]

ADOPTING = """
networks:
  lan: {adopt: true, ipam: {config: [{subnet: 10.7.0.0/24, gateway: 10.7.0.254}]},
        driver_opts: {com.docker.network.bridge.name: br-lan, com.docker.network.driver.mtu: "1400"}}
attachments:
  one: {networks: {lan: {}}}
"""
"""On a host where others have this bridge, with an address."""


@pytest.fixture
def host(reconcile: Reconcile, machine: Machine, uplink: str) -> Host:
    return Host(reconcile=reconcile, sandboxes=SANDBOXES)


@parts(0)
def test_first_pass_and_down(host: Host, part: int) -> None:
    try_part("host", host.there_and_back(FIRST, ("first pass", "down")), part)


@parts(5)
def test_change_and_change_back(host: Host, part: int) -> None:
    ways = {"change": host.way_to(SECOND, "--allow-prune"), "change back": host.way_to(FIRST, "--allow-prune")}
    try_part("change", Circle(ways=ways), part)


@pytest.fixture
def host_with_bridge(reconcile: Reconcile, machine: Machine, uplink: str) -> Host:
    machine.detect_no_duplicates("H")
    machine.ip_batch("H", "link add br-lan type bridge", "address add 10.7.0.1/24 dev br-lan", "link set br-lan up")
    machine.add_veth("H", "port0", "outside", "lan0")
    machine.ip_batch("H", "link set port0 master br-lan")
    return Host(reconcile=reconcile, sandboxes=SANDBOXES)


@parts(17)
def test_bridge_adopted_and_given_back(host_with_bridge: Host, part: int) -> None:
    try_part("bridge", host_with_bridge.there_and_back(ADOPTING, ("bridge adopted", "bridge given back")), part)


def test_a_setting_that_cannot_be_read_is_not_taken_for_absent(host: Host) -> None:
    """It was set, read back in vain, and what it was before us forgotten; the way down did not put it back."""
    circle = host.there_and_back(FIRST, ("first pass", "down"))

    def of_forwarding(points: Sequence[Point], fault: str) -> list[Point]:
        return [each for each in points if "net/ipv4/ip_forward" in each.call.what and each.fault == fault]

    there, back = circle.plan(is_every=True)
    plan = [of_forwarding(there, "EMFILE"), of_forwarding(back, "EIO")]
    assert all(plan)
    assert circle.try_all(plan, Tally()) == []
