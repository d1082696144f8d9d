"""What pyroute2 writes for us, read by our own codec, which reads the kernel's dumps; and what importing it brings along."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kernel.links import Link, decode_link
from reconciler.kernel.rtnetlink import NetlinkRequest, attributes, u32
from reconciler.kinds.bridge import new_bridge
from reconciler.kinds.vlan import new_vlan, vlan_id
from reconciler.kinds.vxlan import VxlanData, new_vxlan, vxlan_data
from reconciler.model.identifiers import LINK_GROUP

HEADER = 16
IFLA_NET_NS_FD = 28
PLAIN = Link(0, "", "", False, "", 0, LINK_GROUP, 0, 0, -1, False, "", b"")
"""What is in our group and down, and says nothing else."""


def understood(request: NetlinkRequest) -> Link:
    """Read what we send as if the kernel had sent it."""
    assert (request.kind, request.flags) == (16, 0x600)  # RTM_NEWLINK: create, exclusive
    assert request.body[:HEADER] == bytes(HEADER)  # no link of before, no flags
    return decode_link(request.body, 0, len(request.body))


@pytest.mark.parametrize("mac", ["02:42:0a:00:00:01", ""], ids=["given", "left to the kernel"])
def test_a_bridge_is_asked_for_without_an_mtu(mac: str) -> None:
    assert understood(new_bridge("br-1", mac)) == PLAIN._replace(ifname="br-1", kind="bridge", mac=mac)


@given(number=st.integers(1, 4094))
def test_a_vlan_link_is_asked_for_beside_its_parent(number: int) -> None:
    found = understood(new_vlan("eth0.10", 7, number))

    assert vlan_id(found) == number
    assert found._replace(data=b"") == PLAIN._replace(ifname="eth0.10", kind="vlan", peer=7)


@given(
    vni=st.integers(1, (1 << 24) - 1),
    local=st.none() | st.ip_addresses(),
    port=st.integers(1, 65535),
    is_learning=st.booleans(),
    is_proxy=st.booleans(),
)
def test_a_vxlan_device_is_asked_for_in_another_namespace(**fields: object) -> None:
    data = VxlanData(**fields)  # type: ignore[arg-type]
    request = new_vxlan("vxlan0", 7, 1450, 33, data)

    found = understood(request)

    assert vxlan_data(found) == data
    assert found._replace(data=b"") == PLAIN._replace(ifname="vxlan0", kind="vxlan", mtu=1450, master=7)
    assert u32(request.body, attributes(request.body, HEADER, len(request.body)).get(IFLA_NET_NS_FD)) == 33


def test_only_messages_are_imported_and_whoever_wants_the_whole_library_gets_it() -> None:
    code = (
        "import sys, reconciler.kernel.rare as rare\n"
        "big = {'pyroute2', 'pyroute2.ndb', 'pyroute2.netlink.core', 'asyncio'} & set(sys.modules)\n"
        "import pyroute2\n"
        "from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg\n"
        "assert pyroute2.IPRoute and ifinfmsg is rare.ifinfmsg\n"
        "sys.exit(f'imported {big}' if big else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
