"""Our encoders and decoders against an independent implementation of the same messages."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.nsidmsg import nsidmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from reconciler.kernel.links import (
    ADDR_GEN_EUI64,
    ADDR_GEN_NONE,
    LinkChange,
    change_link,
    decode_link,
    decode_nsid,
    delete_doomed,
    doom_link,
    dump_links,
    get_link,
    get_nsid,
    mark_loopback,
)
from reconciler.kernel.rtnetlink import NetlinkRequest, messages, packed
from reconciler.kinds.address import AddressEntry, decode_address, delete_address, dump_addresses, new_address
from reconciler.kinds.ipv6 import Ipv6, ipv6_of
from reconciler.kinds.route import RouteEntry, decode_route, delete_route, dump_routes, new_route
from reconciler.kinds.sysctl import sysctl_values
from reconciler.kinds.veth_pair import new_veth
from reconciler.model.identifiers import LINK_GROUP, PROTOCOL
from reconciler.model.objects import IPInterface


def understood(request: NetlinkRequest, kind: type[nlmsg]) -> nlmsg:
    """Let the other implementation read what we send."""
    found = kind(packed(request, 1))
    found.decode()
    assert found["header"]["length"] == 16 + len(request.body)
    return found


def payload_of(message: nlmsg) -> tuple[bytes, int, int]:
    """Let the other implementation write what we read."""
    message["header"]["sequence_number"] = 1
    message.encode()
    (only,) = messages(bytes(message.data))
    return only.buffer, only.start, only.end


def attrs(found: Any) -> dict[str, Any]:
    return {attr[0]: attr[1] for attr in found["attrs"]}


def at(found: Any, *path: str) -> Any:
    """Follow attribute names down."""
    for name in path:
        found = attrs(found)[name]
    return found


def test_veth_request_reads_as_meant() -> None:
    found = understood(new_veth("rcv1", 7, 1400, 33, "eth0", "02:42:0a:00:00:02"), ifinfmsg)

    peer = at(found, "IFLA_LINKINFO", "IFLA_INFO_DATA", "VETH_INFO_PEER")
    assert (found.get("ifname"), found.get("master"), found.get("mtu"), found.get("group")) == (
        "rcv1",
        7,
        1400,
        LINK_GROUP,
    )
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_KIND") == "veth"
    assert attrs(peer) == {
        "IFLA_IFNAME": "eth0",
        "IFLA_ADDRESS": "02:42:0a:00:00:02",
        "IFLA_MTU": 1400,
        "IFLA_GROUP": LINK_GROUP,
        "IFLA_NET_NS_FD": 33,
    }


@pytest.mark.parametrize(
    ("is_up", "flags", "mask"), [(None, 0, 0), (True, 1, 1), (False, 0, 1)], ids=["as it is", "up", "down"]
)
def test_change_touches_the_up_flag_only_if_asked(is_up: bool | None, flags: int, mask: int) -> None:
    found = understood(change_link(9, LinkChange(is_up=is_up)), ifinfmsg)

    assert (found["index"], found["flags"], found["change"]) == (9, flags, mask)
    assert found["attrs"] == []


def test_change_by_name_reads_as_meant() -> None:
    wanted = LinkChange(
        mac="02:42:00:00:00:09",
        mtu=1280,
        master=4,
        is_hairpin=True,
        address_generation=ADDR_GEN_NONE,
        promotes_secondaries=True,
    )

    found = understood(change_link("rcv1", wanted), ifinfmsg)

    assert (found["index"], found.get("ifname")) == (0, "rcv1")
    assert (found.get("address"), found.get("mtu"), found.get("master")) == ("02:42:00:00:00:09", 1280, 4)
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_SLAVE_KIND") == "bridge"
    assert at(found, "IFLA_LINKINFO", "IFLA_INFO_SLAVE_DATA", "IFLA_BRPORT_MODE") == 1
    assert at(found, "IFLA_AF_SPEC", "AF_INET6", "IFLA_INET6_ADDR_GEN_MODE") == ADDR_GEN_NONE


def test_loopback_mark_reads_as_meant() -> None:
    found = understood(mark_loopback("reconciler:abc"), ifinfmsg)

    assert (found["index"], found["flags"], found["change"]) == (1, 1, 1)
    assert (found.get("group"), found.get("ifalias")) == (LINK_GROUP, "reconciler:abc")


def test_deletion_is_by_a_group_that_marked_links_were_put_into() -> None:
    doomed, deletion = understood(doom_link(5), ifinfmsg), understood(delete_doomed(), ifinfmsg)

    assert doomed["index"] == 5
    assert deletion["index"] == 0
    assert doomed.get("group") == deletion.get("group") != LINK_GROUP


@pytest.mark.parametrize("request_", [dump_links(), get_link("eth0")], ids=["dump", "one"])
def test_link_questions_leave_counters_out(request_: NetlinkRequest) -> None:
    assert understood(request_, ifinfmsg).get("ext_mask") == 8


def test_namespace_number_is_asked_for_by_descriptor() -> None:
    assert attrs(understood(get_nsid(12), nsidmsg)) == {"NETNSA_FD": 12}


@pytest.mark.parametrize(
    ("interface", "broadcast"),
    [("10.1.2.3/24", "10.1.2.255"), ("10.1.2.2/31", None), ("10.1.2.3/32", None), ("fd00::2/64", None)],
    ids=["ordinary", "point to point", "host", "v6"],
)
def test_address_request_reads_as_meant(interface: str, broadcast: str | None) -> None:
    wanted = ip_interface(interface)

    found = understood(new_address(3, wanted), ifaddrmsg)

    assert (found["index"], found["prefixlen"], found["family"]) == (
        3,
        wanted.network.prefixlen,
        2 if wanted.version == 4 else 10,
    )
    assert found.get("address") == str(wanted.ip)
    assert found.get("local") == str(wanted.ip)
    assert found.get("broadcast") == broadcast
    assert found.get("proto") == PROTOCOL
    assert attrs(found).get("IFA_FLAGS") == (0x02 if wanted.version == 6 else None)


def test_address_deletion_names_link_address_and_prefix() -> None:
    found = understood(delete_address(3, ip_interface("10.1.2.3/24")), ifaddrmsg)

    assert (found["index"], found["prefixlen"], found.get("local")) == (3, 24, "10.1.2.3")


@pytest.mark.parametrize(
    ("destination", "gateway", "scope"),
    [("0.0.0.0/0", "10.0.0.1", 0), ("10.9.0.0/16", None, 253), ("::/0", "fd00::1", 0), ("fd01::/64", None, 0)],
    ids=["v4 default", "v4 on link", "v6 default", "v6 on link"],
)
def test_route_request_reads_as_meant(destination: str, gateway: str | None, scope: int) -> None:
    network = ip_network(destination)

    found = understood(new_route(network, ip_address(gateway) if gateway else None, 6), rtmsg)

    assert (found["dst_len"], found["table"], found["proto"], found["type"]) == (network.prefixlen, 254, PROTOCOL, 1)
    assert found["scope"] == scope
    assert found.get("dst") == (str(network.network_address) if network.prefixlen else None)
    assert (found.get("gateway"), found.get("oif")) == (gateway, 6)


def test_route_replacement_differs_by_its_flag_alone() -> None:
    network, gateway = ip_network("0.0.0.0/0"), ip_address("10.0.0.1")

    plain, replacing = new_route(network, gateway, 6), new_route(network, gateway, 6, is_replacing=True)

    assert (plain.flags, replacing.flags) == (0x600, 0x500)
    assert plain.body == replacing.body


def test_route_deletion_names_our_protocol() -> None:
    found = understood(delete_route(ip_network("10.9.0.0/16"), None, 6), rtmsg)

    assert (found["proto"], found["scope"], found["dst_len"], found.get("oif")) == (PROTOCOL, 255, 16, 6)


def test_dumps_ask_for_both_families_and_routes_of_the_main_table() -> None:
    assert understood(dump_addresses(), ifaddrmsg)["family"] == 0
    assert (understood(dump_routes(), rtmsg)["family"], understood(dump_routes(), rtmsg)["table"]) == (0, 254)


def test_link_is_read_as_it_was_written() -> None:
    message = ifinfmsg()
    message["index"], message["flags"] = 12, 0x1043
    message["attrs"] = [
        ("IFLA_IFNAME", "rcv1"),
        ("IFLA_ADDRESS", "0a:00:00:00:00:01"),
        ("IFLA_MTU", 1400),
        ("IFLA_GROUP", LINK_GROUP),
        ("IFLA_MASTER", 4),
        ("IFLA_LINK", 2),
        ("IFLA_LINK_NETNSID", 3),
        ("IFLA_IFALIAS", "reconciler:abc"),
        (
            "IFLA_LINKINFO",
            {
                "attrs": [
                    ("IFLA_INFO_KIND", "veth"),
                    ("IFLA_INFO_SLAVE_KIND", "bridge"),
                    ("IFLA_INFO_SLAVE_DATA", {"attrs": [("IFLA_BRPORT_MODE", 1)]}),
                ]
            },
        ),
        ("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_EUI64)]})]}),
    ]

    link = decode_link(*payload_of(message))

    assert link._replace(af_spec=b"") == (
        12,
        "rcv1",
        "veth",
        True,
        "0a:00:00:00:00:01",
        1400,
        LINK_GROUP,
        4,
        2,
        3,
        True,
        "reconciler:abc",
        b"",
        b"",
        False,
    )
    assert link.is_ours
    assert ipv6_of(link) == Ipv6()
    assert sysctl_values(link) == {}


def test_link_without_anything_has_defaults() -> None:
    message = ifinfmsg()
    message["index"] = 1

    link = decode_link(*payload_of(message))

    assert (link.kind, link.mac, link.peer_nsid, link.is_hairpin, link.is_ours) == ("", "", -1, False, False)
    assert ipv6_of(link) == Ipv6()


@pytest.mark.parametrize("number", [-1, 0, 4711])
def test_namespace_number_is_read_as_it_was_written(number: int) -> None:
    message = nsidmsg()
    message["attrs"] = [("NETNSA_NSID", number & 0xFFFFFFFF)]

    assert decode_nsid(*payload_of(message)) == number


@given(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).flatmap(
        lambda ip: st.integers(0, ip.max_prefixlen).map(lambda length: ip_interface(f"{ip}/{length}"))
    )
)
def test_address_is_read_as_it_was_written(interface: IPInterface) -> None:
    request = new_address(3, interface)

    entry = decode_address(request.body, 0, len(request.body))

    assert entry == AddressEntry(3, interface.ip.packed, interface.network.prefixlen, PROTOCOL)
    assert entry is not None
    assert entry.interface() == interface
    assert (entry.is_ours, entry.is_kernel_made) == (True, False)


@pytest.mark.parametrize(
    ("address", "protocol", "is_kernel_made"),
    [
        ("fe80::1", 3, True),
        ("fe80::1", 0, True),
        ("10.0.0.1", 0, False),
        ("127.0.0.1", 1, True),
        ("127.0.0.1", 0, True),
        ("::1", 0, True),
        ("127.0.0.2", 0, False),
        ("fe80::1", PROTOCOL, False),
    ],
)
def test_addresses_that_the_kernel_made_are_told_apart(address: str, protocol: int, is_kernel_made: bool) -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = (10 if ":" in address else 2), 8, 3
    message["attrs"] = [("IFA_ADDRESS", address), ("IFA_PROTO", protocol)]

    entry = decode_address(*payload_of(message))

    assert entry is not None
    assert entry.is_kernel_made is is_kernel_made


def route_message(**fields: int) -> rtmsg:
    message = rtmsg()
    for name, value in {"family": 2, "dst_len": 16, "table": 254, "proto": 4, "type": 1, **fields}.items():
        message[name] = value
    return message


def test_route_is_read_as_it_was_written() -> None:
    message = route_message()
    message["attrs"] = [("RTA_DST", "10.9.0.0"), ("RTA_GATEWAY", "10.0.0.1"), ("RTA_OIF", 6), ("RTA_PRIORITY", 100)]

    entry = decode_route(*payload_of(message))

    assert entry == RouteEntry(bytes((10, 9, 0, 0)), 16, bytes((10, 0, 0, 1)), 6, 100, 4, True)
    assert entry is not None
    assert (entry.network(), entry.gateway_address()) == (ip_network("10.9.0.0/16"), ip_address("10.0.0.1"))


def test_route_with_several_next_hops_is_read_by_its_first() -> None:
    message = route_message()
    message["attrs"] = [
        ("RTA_DST", "10.9.0.0"),
        (
            "RTA_MULTIPATH",
            [{"oif": 6, "attrs": [("RTA_GATEWAY", "10.0.0.1")]}, {"oif": 7, "attrs": [("RTA_GATEWAY", "10.0.0.2")]}],
        ),
    ]

    entry = decode_route(*payload_of(message))

    assert entry is not None
    assert (entry.ifindex, entry.gateway_address()) == (6, ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    "message",
    [route_message(table=255), route_message(family=128, dst_len=0), route_message(flags=0x200)],
    ids=["local table", "another family", "cached copy"],
)
def test_routes_of_no_interest_are_skipped(message: rtmsg) -> None:
    assert decode_route(*payload_of(message)) is None


def test_blackhole_has_no_link() -> None:
    entry = decode_route(*payload_of(route_message(type=6)))

    assert entry is not None
    assert (entry.is_unicast, entry.ifindex) == (False, 0)
