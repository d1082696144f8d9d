"""The smallest subnets on the real kernel: what validation takes is built, carries traffic, and settles."""

from __future__ import annotations

import pytest

from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile

pytestmark = pytest.mark.kernel

SIX = "enable_ipv4: false, enable_ipv6: true, "
SUBNETS = {
    "four30": ("10.1.0.4/30", ""),
    "four31": ("10.1.1.4/31", ""),
    "four32": ("10.1.2.4/32", ""),
    "six126": ("fd01::4/126", ""),
    "six127": ("fd02::4/127", ""),
    "six128": ("fd03::4/128", ""),
    "one-four": ("10.1.3.0/24", "10.1.3.77/32"),
    "one-six": ("fd04::/64", "fd04::77/128"),
}
ADDRESSES = {
    "four30": ("10.1.0.5", "10.1.0.6"),
    "four31": ("10.1.1.4", "10.1.1.5"),
    "six126": ("fd01::5", "fd01::6"),
    "six127": ("fd02::4", "fd02::5"),
    "one-four": ("10.1.3.1", "10.1.3.77"),
    "one-six": ("fd04::1", "fd04::77"),
}
"""Gateway and member; a subnet of one address has a gateway and no member."""


def test_the_smallest_subnets_are_built_and_settle(forked: ForkedReconcile, machine: Machine) -> None:
    networks = "".join(
        f"  {name}: {{{SIX if ':' in subnet else ''}ipam: {{config: [{{subnet: '{subnet}'"
        + (f", ip_range: '{span}'" if span else "")
        + "}]}}\n"
        for name, (subnet, span) in SUBNETS.items()
    )
    members = "".join(f"  in-{name}: {{networks: {{{name}: {{}}}}}}\n" for name in ADDRESSES)
    forked.write(all=f"networks:\n{networks}attachments:\n{members}")

    forked.ok()

    for name, (gateway, address) in ADDRESSES.items():
        assert machine.ping(f"in-{name}", gateway), name
        assert machine.ping("H", address), name
    assert forked.ok().writes == ()

    forked.write(all=f"networks:\n{networks}attachments:\n{members}  late: {{networks: {{one-four: {{}}}}}}\n")
    told = forked()
    assert told.exit_code == 1
    assert "ip_range 10.1.3.77/32 has 1, 0 of them for gateway and auxiliary addresses" in told.stderr
