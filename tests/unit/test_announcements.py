"""Which changes are announced, and the frames that say so."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface

from reconciler.announcements import AddressHolder, Announcement, announcements
from reconciler.apply.announce import frames
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Address, Bridge, Key, Macvlan, Neighbour, Object, Seen, VethPair, Vxlan

ONE, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
WEB, DB = NsRef("netns:web"), NsRef("netns:db")


def seen(*objects: Object) -> Mapping[Key, Seen]:
    return {each.key: Seen(each, is_ours=True) for each in objects}


def member(ns: NsRef, mac: str, *interfaces: str) -> tuple[Object, ...]:
    pair = VethPair(
        ns=HOST, ifname=f"rcv-{ns[6:]}", master="br0", mtu=1500, peer_ns=ns, peer_ifname="eth0", peer_mac=mac
    )
    return (pair, *(Address(ns=ns, ifname="eth0", interface=ip_interface(each)) for each in interfaces))


def told(before: Mapping[Key, Seen], after: Mapping[Key, Seen]) -> list[tuple[str, str, NsRef]]:
    return [(str(each.address), each.holder.mac, each.holder.sender[0]) for each in announcements(before, after)]


def test_a_changed_mac_is_announced_for_each_address() -> None:
    before, after = (seen(*member(WEB, mac, "10.0.0.2/24", "fd00::2/64")) for mac in (ONE, OTHER))

    assert told(before, after) == [("10.0.0.2", OTHER, WEB), ("fd00::2", OTHER, WEB)]
    assert told(after, after) == []


def test_an_address_that_moved_is_announced_by_its_new_holder() -> None:
    before = seen(*member(WEB, ONE, "10.0.0.2/24"), *member(DB, OTHER, "10.0.0.3/24"))
    after = seen(*member(WEB, ONE, "10.0.0.4/24"), *member(DB, OTHER, "10.0.0.2/24"))

    assert sorted(told(before, after)) == [("10.0.0.2", OTHER, DB), ("10.0.0.4", ONE, WEB)]


def test_on_a_new_segment_nobody_has_anything_to_unlearn() -> None:
    assert told(seen(), seen(*member(WEB, ONE, "10.0.0.2/24"))) == []
    bridge = Bridge(ns=HOST, ifname="br0", mac=ONE, mtu=1500)
    gateway = Address(ns=HOST, ifname="br0", interface=ip_interface("10.0.0.1/24"))
    assert told(seen(), seen(bridge, gateway)) == []
    again = Bridge(ns=HOST, ifname="br0", mac=OTHER, mtu=1500)
    assert told(seen(bridge, gateway), seen(again, gateway)) == [("10.0.0.1", OTHER, HOST)]


def test_macvlan_links_of_one_parent_are_one_segment() -> None:
    def link(mac: str) -> Macvlan:
        return Macvlan(ns=WEB, ifname="eth0", parent="lan0", mode="bridge", mac=mac, mtu=1500)

    address = Address(ns=WEB, ifname="eth0", interface=ip_interface("10.0.0.2/24"))

    (found,) = announcements(seen(link(ONE), address), seen(link(OTHER), address))

    holder = AddressHolder(mac=OTHER, sender=(WEB, "eth0"))
    assert found == Announcement(segment=(HOST, "lan0"), address=ip_address("10.0.0.2"), holder=holder)


def test_the_bridge_speaks_for_those_on_other_hosts() -> None:
    ns = NsRef("netns:ov-1")
    bridge = Bridge(ns=ns, ifname="br0", mac=ONE, mtu=1450)
    vxlan = Vxlan(ns=ns, ifname="vxlan0", master="br0", vni=300, local=None, port=4789, mtu=1450)
    gateway = Address(ns=ns, ifname="br0", interface=ip_interface("10.9.0.1/24"))
    far = [Neighbour(ns=ns, ifname="vxlan0", address=ip_address("10.9.0.3"), mac=mac) for mac in (ONE, OTHER)]

    assert told(seen(bridge, vxlan, gateway, far[0]), seen(bridge, vxlan, gateway, far[1])) == [("10.9.0.3", OTHER, ns)]


def test_frames_are_those_of_the_standards() -> None:
    mac = bytes.fromhex("020000000001")

    reply, request = frames(ip_address("10.0.0.2"), mac)
    (advertisement,) = frames(ip_address("fd00::2"), mac)

    ether = "ffffffffffff020000000001" + "0806"
    assert reply.hex() == ether + "0001080006040002" + "0200000000010a000002" * 2
    assert request.hex() == ether + "0001080006040001" + "0200000000010a000002" + "0000000000000a000002"
    target, all_nodes = ip_address("fd00::2").packed.hex(), ip_address("ff02::1").packed.hex()
    header = "333300000001020000000001" + "86dd" + "60000000" + "0020" + "3a" + "ff"
    option = "88005a99" + "20000000" + target + "0201020000000001"
    assert advertisement.hex() == header + target + all_nodes + option
