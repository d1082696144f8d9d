"""Each call to the world outside fails once, in each way that it can; the next pass heals it, and nothing is lost or left over.

The suite tries a part of the points; `make faults` tries all, and writes docs/reference/faults.md.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from tests.command_line import Reconcile
from tests.faults.scenes import Host, Point, Tally, Way, calls_of, points, try_point
from tests.machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.long]

PARTS = 24
"""Parts that the points of a way are tried in, one by one; the suite tries one of them."""

ALL = bool(os.environ.get("FAULTS"))
TALLIES = Path(__file__).parent.parent.parent / "build" / "faults"

FIRST = """
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24}]}}
  back: {internal: true, enable_ipv6: true, ipam: {config: [{subnet: 10.2.0.0/24}, {subnet: "fd00:2::/64"}]}}
attachments:
  one: {}
  two: {networks: {front: {}, back: {}}, ports: ["8080:80"]}
  three: {networks: {back: {}}}
"""

SECOND = """
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.254}]}, labels: {new: "yes"},
          driver_opts: {com.docker.network.driver.mtu: "1400"}}
  side: {ipam: {config: [{subnet: 10.3.0.0/24}]}}
  back: {internal: false, ipam: {config: [{subnet: 10.2.0.0/24}]}}
attachments:
  one: {networks: {side: {interface_name: lan0}}}
  two: {networks: {front: {mac_address: "02:42:00:00:00:77"}}}
  four: {networks: {front: {ipv4_address: 10.1.0.99}, side: {}}}
"""

ADOPTING = """
networks:
  lan: {adopt: true, ipam: {config: [{subnet: 10.7.0.0/24, gateway: 10.7.0.254}]},
        driver_opts: {com.docker.network.bridge.name: br-lan, com.docker.network.driver.mtu: "1400"}}
attachments:
  one: {networks: {lan: {}}}
"""
"""On a host where others have this bridge, with an address."""

SANDBOXES = ("one", "two", "three", "four")


@pytest.fixture
def host(reconcile: Reconcile, machine: Machine, uplink: str) -> Host:
    return Host.of(reconcile, machine, SANDBOXES)


def try_part(name: str, way: Way, part: int) -> None:
    """Try a part of the points, and write down what came of it. Goes on after a failure: the others may tell what it is."""
    tally, failures = Tally(), []
    for point in islice(points(calls_of(way)), part, None, PARTS):
        try:
            try_point(way, point, tally)
        except AssertionError as error:
            failures.append(str(error))
    if ALL:
        TALLIES.mkdir(parents=True, exist_ok=True)
        (TALLIES / f"{name}-{part}.json").write_text(tally.text(len(failures)))
    assert not failures, "\n\n".join(failures)
    assert tally.total > 10


def try_those(way: Way, border: str, what: str, *faults: str) -> None:
    """Try all points of calls that say `what`."""
    calls = [(n, call) for n, call in enumerate(calls_of(way)) if call.border == border and what in call.what]
    assert calls
    for number, call in calls:
        for fault in faults:
            try_point(way, Point(number, call, fault), Tally())


def test_a_setting_that_cannot_be_read_is_not_taken_for_absent(host: Host) -> None:
    """It was set, read back in vain, and what it was before us forgotten; the way down did not put it back."""
    try_those(host.way_to(FIRST, ""), "file opened to read", "net/ipv4/ip_forward", "EMFILE")
    try_those(host.way_down(FIRST), "file opened to read", "net/ipv4/ip_forward", "EIO")


def parts(first: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("part", range(PARTS) if ALL else (first,))


@parts(0)
def test_first_pass(host: Host, part: int) -> None:
    try_part("first pass", host.way_to(FIRST, ""), part)


@parts(5)
def test_change(host: Host, part: int) -> None:
    try_part("change", host.way_to(SECOND, FIRST, arguments=["--allow-prune"]), part)


@parts(11)
def test_way_down(host: Host, part: int) -> None:
    try_part("down", host.way_down(FIRST), part)


@pytest.fixture
def host_with_bridge(reconcile: Reconcile, machine: Machine, uplink: str) -> Host:
    machine.detect_no_duplicates("H")
    machine.ip_batch("H", "link add br-lan type bridge", "address add 10.7.0.1/24 dev br-lan", "link set br-lan up")
    machine.add_veth("H", "port0", "outside", "lan0")
    machine.ip_batch("H", "link set port0 master br-lan")
    return Host.of(reconcile, machine, SANDBOXES)


@parts(17)
def test_bridge_adopted(host_with_bridge: Host, part: int) -> None:
    try_part("bridge adopted", host_with_bridge.way_to(ADOPTING, ""), part)


@parts(20)
def test_bridge_given_back(host_with_bridge: Host, part: int) -> None:
    try_part("bridge given back", host_with_bridge.way_down(ADOPTING), part)
