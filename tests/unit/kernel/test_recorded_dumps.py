"""Dumps as Linux 6.18 gave them (recorded/*.bin), read by us and by an independent implementation."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from reconciler.kernel.links import decode_link
from reconciler.kernel.rtnetlink import NLMSG_DONE, CodecError, messages
from reconciler.kinds import route
from reconciler.kinds.address import decode_address
from reconciler.kinds.ipv6 import Ipv6, ipv6_of
from reconciler.kinds.route import RouteEntry, decode_route
from reconciler.kinds.sysctl import sysctl_values
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Route
from reconciler.observe.host_facts import uplink_index, used_destinations

T = TypeVar("T")
RECORDED = Path(__file__).parent / "recorded"
DUMPS: dict[str, Callable[[bytes, int, int], object]] = {
    "links": decode_link,
    "addresses": decode_address,
    "routes": decode_route,
}


def ours(name: str, decode: Callable[[bytes, int, int], T | None]) -> list[T]:
    dump = (RECORDED / f"{name}.bin").read_bytes()
    found = (decode(m.buffer, m.start, m.end) for m in messages(dump) if m.kind != NLMSG_DONE)
    return [one for one in found if one is not None]


def theirs(name: str, kind: type[nlmsg]) -> list[nlmsg]:
    dump = (RECORDED / f"{name}.bin").read_bytes()
    found = [kind(dump[m.start - 16 : m.end]) for m in messages(dump) if m.kind != NLMSG_DONE]
    for message in found:
        message.decode()
    return found


def test_links_are_read_alike() -> None:
    assert [(x.ifindex, x.ifname, x.mtu, x.group, x.master, x.mac, x.is_up) for x in ours("links", decode_link)] == [
        (
            y["index"],
            y.get("ifname"),
            y.get("mtu"),
            y.get("group"),
            y.get("master") or 0,
            y.get("address"),
            bool(y["flags"] & 1),
        )
        for y in theirs("links", ifinfmsg)
    ]


def test_links_say_what_was_set_up() -> None:
    links = {link.ifname: link for link in ours("links", decode_link)}

    assert {name: (link.kind, link.is_ours) for name, link in links.items()} == {
        "lo": ("", False),
        "br0": ("bridge", True),
        "rcv1": ("veth", True),
        "foreign": ("veth", False),
        "foreign2": ("veth", False),
    }
    assert links["lo"].alias == "reconciler:0123456789abcdef"
    assert (links["rcv1"].master, links["rcv1"].is_hairpin, links["rcv1"].peer_nsid) == (links["br0"].ifindex, True, 0)
    assert (links["foreign"].peer, links["foreign"].peer_nsid) == (links["foreign2"].ifindex, -1)
    assert sysctl_values(links["br0"]) == {
        "net/ipv4/conf/br0/route_localnet": "0",
        "net/ipv6/conf/br0/accept_ra": "1",
        "net/ipv6/conf/br0/disable_ipv6": "0",
    }
    assert ipv6_of(links["br0"]) == Ipv6(is_on=True, has_link_local=True, heeds_routers=True)


def test_addresses_are_read_alike() -> None:
    assert [(x.ifindex, str(x.interface())) for x in ours("addresses", decode_address)] == [
        (y["index"], f"{y.get('local') or y.get('address')}/{y['prefixlen']}") for y in theirs("addresses", ifaddrmsg)
    ]


def test_addresses_that_the_kernel_made_are_told_apart() -> None:
    found = ours("addresses", decode_address)

    assert {entry.interface() for entry in found if not entry.is_kernel_made} == {
        ip_interface(text) for text in ("172.17.0.1/16", "fd00::1/64", "192.0.2.1/24", "10.0.0.1/32")
    }


def test_routes_are_read_alike() -> None:
    def reading(message: nlmsg) -> tuple[str, int, int]:
        empty = "0.0.0.0" if message["family"] == 2 else "::"
        return f"{message.get('dst') or empty}/{message['dst_len']}", message["proto"], message.get("priority") or 0

    found = [(str(entry.network()), entry.protocol, entry.metric) for entry in ours("routes", decode_route)]

    assert found == [reading(message) for message in theirs("routes", rtmsg)]


def test_routes_say_what_was_set_up() -> None:
    view = NamespaceView(
        links=tuple(ours("links", decode_link)), addresses=(), routes=tuple(ours("routes", decode_route))
    )
    seen = {found.object.key[2]: found for found in route.observe(HOST, view)}

    routes = {key: found.object for key, found in seen.items() if isinstance(found.object, Route)}
    assert {key: (str(route.gateway), route.ifname) for key, route in routes.items()} == {
        "0.0.0.0/0": ("192.0.2.2", "foreign"),
        "10.5.0.0/16": ("None", "br0"),
        "10.7.0.0/16": ("192.0.2.4", "foreign"),
        "::/0": ("fd00::9", "br0"),
        "fd05::/64": ("None", "br0"),
    }
    assert [key for key, found in seen.items() if found.is_ours] == ["10.5.0.0/16", "fd05::/64"]


def test_destinations_in_use_are_those_of_foreign_routes() -> None:
    foreign = {link.ifindex: link.ifname for link in ours("links", decode_link) if not link.is_ours}

    found = {str(network): link for network, link in used_destinations(ours("routes", decode_route), foreign)}

    assert "172.17.0.0/16" not in found
    assert {key: found[key] for key in ("192.0.2.0/24", "10.6.0.0/16", "10.7.0.0/16", "10.0.0.2/32")} == {
        "192.0.2.0/24": "foreign",
        "10.6.0.0/16": "",
        "10.7.0.0/16": "foreign",
        "10.0.0.2/32": "foreign2",
    }


def entry(destination: str, ifindex: int, metric: int) -> RouteEntry:
    network = ip_network(destination)
    gateway = ip_address(network.network_address.packed[:-1] + b"\1").packed
    return RouteEntry(network.network_address.packed, network.prefixlen, gateway, ifindex, metric, 4, True)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], None),
        ([entry("10.0.0.0/8", 3, 0)], None),
        ([entry("0.0.0.0/0", 3, 100), entry("0.0.0.0/0", 4, 50)], 4),
        ([entry("::/0", 3, 0), entry("0.0.0.0/0", 4, 50)], 4),
        ([entry("::/0", 3, 0)], 3),
    ],
    ids=["no route", "no default", "lower metric", "v4 first", "v6 alone"],
)
def test_uplink_is_where_the_default_route_leads(entries: list[RouteEntry], expected: int | None) -> None:
    assert uplink_index(entries) == expected


@pytest.mark.parametrize("name", DUMPS)
@given(data=st.data())
def test_damaged_dump_raises_only_codec_error(name: str, data: st.DataObject) -> None:
    dump = bytearray((RECORDED / f"{name}.bin").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        dump[data.draw(st.integers(0, len(dump) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(dump[: data.draw(st.integers(0, len(dump)))])

    try:
        for message in messages(damaged):
            DUMPS[name](message.buffer, message.start, message.end)
    except CodecError:
        return
