"""Messages about macvlan and ipvlan links against an independent implementation, and on random bytes."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from reconciler.kernel.links import Link, decode_link
from reconciler.kernel.rtnetlink import CodecError, NetlinkRequest, attribute, messages, packed
from reconciler.kinds.sublinks import (
    UNKNOWN,
    ipvlan_mode,
    macvlan_mode,
    new_sublink,
)
from reconciler.kinds.vlan import vlan_id
from reconciler.model.identifiers import LINK_GROUP, NsRef
from reconciler.model.objects import Ipvlan, Macvlan

MAC = "02:42:0a:09:00:03"
SANDBOX = NsRef("netns:web")


def understood(request: NetlinkRequest) -> Any:
    """Let the other implementation read what we send."""
    found = ifinfmsg(packed(request, 1))
    found.decode()
    return found


def written(**fields: Any) -> Link:
    """Let the other implementation write what we read."""
    message = ifinfmsg()
    for name, value in fields.items():
        message[name] = value
    message["header"]["sequence_number"] = 1
    message.encode()
    (only,) = messages(bytes(message.data))
    return decode_link(only.buffer, only.start, only.end)


def info(kind: str, *data: tuple[str, object]) -> list[tuple[str, object]]:
    attrs = [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": list(data)})]
    return [("IFLA_IFNAME", "eth0"), ("IFLA_LINK", 7), ("IFLA_LINK_NETNSID", 3), ("IFLA_LINKINFO", {"attrs": attrs})]


def at(found: Any, *path: str) -> Any:
    for name in path:
        found = {attr[0]: attr[1] for attr in found["attrs"]}[name]
    return found


def check_place(found: Any) -> None:
    assert (found.get("ifname"), found.get("link"), found.get("mtu")) == ("eth0", 7, 1400)
    assert (found.get("group"), found.get("net_ns_fd")) == (LINK_GROUP, 33)
    assert (found["flags"], found["change"]) == (0, 0)


@pytest.mark.parametrize("mode", ["private", "vepa", "bridge", "passthru"])
def test_macvlan_request_reads_as_meant(mode: str) -> None:
    request = new_sublink(
        Macvlan(ns=SANDBOX, ifname="eth0", parent="up0", mode=mode, mac=MAC, mtu=1400), parent=7, ns_fd=33
    )

    found = understood(request)

    assert request.flags == 0x600  # create, exclusive
    check_place(found)
    assert found.get("address") == MAC
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_KIND") == "macvlan"
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_MACVLAN_MODE") == mode


@pytest.mark.parametrize(("mode", "number"), [("l2", 0), ("l3", 1), ("l3s", 2)])
@pytest.mark.parametrize(("flag", "bits"), [("bridge", 0), ("private", 1), ("vepa", 2)])
def test_ipvlan_request_reads_as_meant(mode: str, number: int, flag: str, bits: int) -> None:
    request = new_sublink(
        Ipvlan(ns=SANDBOX, ifname="eth0", parent="up0", mode=mode, flag=flag, mtu=1400), parent=7, ns_fd=33
    )

    found = understood(request)

    check_place(found)
    assert found.get("address") is None
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_KIND") == "ipvlan"
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_IPVLAN_MODE") == number
    assert flags_attribute(bits) in request.body


def flags_attribute(bits: int) -> bytes:
    """IFLA_IPVLAN_FLAGS (2) of linux/if_link.h, which the other implementation does not know."""
    return attribute(2, bits.to_bytes(2, sys.byteorder))


@pytest.mark.parametrize("mode", ["private", "vepa", "bridge", "passthru"])
def test_macvlan_is_read_as_it_was_written(mode: str) -> None:
    attrs = [*info("macvlan", ("IFLA_MACVLAN_MODE", mode)), ("IFLA_CARRIER", 1)]
    link = written(index=2, flags=1, attrs=attrs)

    assert (link.kind, link.peer, link.peer_nsid, link.has_carrier) == ("macvlan", 7, 3, True)
    assert macvlan_mode(link) == mode


@pytest.mark.parametrize(("number", "mode"), [(0, "l2"), (1, "l3"), (2, "l3s"), (9, UNKNOWN)])
@pytest.mark.parametrize(("bits", "flag"), [(0, "bridge"), (1, "private"), (2, "vepa"), (3, UNKNOWN)])
def test_ipvlan_is_read_as_it_was_written(number: int, mode: str, bits: int, flag: str) -> None:
    link = written(index=2, attrs=info("ipvlan", ("IFLA_IPVLAN_MODE", number)))

    assert ipvlan_mode(link._replace(data=link.data + flags_attribute(bits))) == (mode, flag)


def test_what_older_kernels_do_not_tell_has_its_default() -> None:
    assert ipvlan_mode(written(index=2, attrs=info("ipvlan"))) == ("l2", "bridge")
    assert macvlan_mode(written(index=2, attrs=info("macvlan"))) == UNKNOWN


def test_other_kinds_carry_nothing_along() -> None:
    assert written(index=2, attrs=info("veth")).data == b""


@given(raw=st.binary(max_size=40))
def test_random_bytes_give_a_mode_or_the_codecs_own_error(raw: bytes) -> None:
    link = written(index=2, attrs=info("veth"))._replace(data=raw)

    with contextlib.suppress(CodecError):
        macvlan_mode(link)
    with contextlib.suppress(CodecError):
        ipvlan_mode(link)
    with contextlib.suppress(CodecError):
        vlan_id(link)
