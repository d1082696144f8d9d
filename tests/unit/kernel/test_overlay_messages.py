"""Messages about the entries of VXLAN devices against an independent implementation, and on random bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import nlmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from reconciler.kernel.links import Link
from reconciler.kernel.neighbours import EntryKey, entry_key
from reconciler.kernel.rtnetlink import CodecError, NetlinkRequest, attribute, messages, packed
from reconciler.kinds.neighbours import (
    NeighbourDecoder,
    NeighbourEntry,
    decode_neighbour,
    delete_fdb,
    delete_neighbour,
    dump_fdb,
    dump_neighbours,
    get_entry,
    put_fdb,
    put_neighbour,
)
from reconciler.kinds.vxlan import vxlan_data
from reconciler.model.identifiers import PROTOCOL
from reconciler.model.objects import IPAddress

MAC = "02:42:0a:09:00:03"
PERMANENT, SELF, BRIDGE = 0x80, 0x02, 7


def understood(request: NetlinkRequest, kind: type[nlmsg]) -> nlmsg:
    """Let the other implementation read what we send."""
    found = kind(packed(request, 1))
    found.decode()
    return found


def decoded(request: NetlinkRequest) -> NeighbourEntry | None:
    """Read a request as if the kernel had sent it."""
    (only,) = messages(packed(request, 1))
    return decode_neighbour(only.buffer, only.start, only.end)


@pytest.mark.parametrize("address", ["10.9.0.3", "fd09::3"])
def test_neighbour_requests_read_as_meant(address: str) -> None:
    put = understood(put_neighbour(5, ip_address(address), MAC), ndmsg)
    gone = understood(delete_neighbour(5, ip_address(address)), ndmsg)

    assert (put["ifindex"], put["state"], put["flags"]) == (5, PERMANENT, 0)
    assert (put.get("dst"), put.get("lladdr"), put.get("protocol")) == (address, MAC, PROTOCOL)
    assert (gone["ifindex"], gone["family"], gone.get("dst")) == (5, put["family"], address)
    assert put_neighbour(5, ip_address(address), MAC).flags == 0x500  # create, replace


@pytest.mark.parametrize("vtep", ["198.51.100.2", "2001:db8::2"])
def test_fdb_requests_read_as_meant(vtep: str) -> None:
    put = understood(put_fdb(5, MAC, ip_address(vtep)), ndmsg)
    gone = understood(delete_fdb(5, MAC), ndmsg)

    assert (put["family"], put["ifindex"], put["state"], put["flags"]) == (BRIDGE, 5, PERMANENT, SELF)
    assert put.get("lladdr") == MAC
    assert (gone["family"], gone["flags"], gone.get("lladdr"), gone.get("dst")) == (BRIDGE, SELF, MAC, None)
    assert put_fdb(5, MAC, ip_address(vtep)).flags == 0x500  # create, replace


def test_dumps_ask_for_their_tables() -> None:
    assert understood(dump_neighbours(), ndmsg)["family"] == 0
    assert understood(dump_fdb(), ndmsg)["family"] == BRIDGE


@pytest.mark.parametrize("address", ["10.9.0.3", "fd09::3"])
def test_entries_survive_the_way_there_and_back(address: str) -> None:
    found = ip_address(address)

    assert decoded(put_neighbour(5, found, MAC)) == NeighbourEntry(5, MAC, found, is_fdb=False)
    assert decoded(put_fdb(5, MAC, found)) == NeighbourEntry(5, MAC, found, is_fdb=True)


def test_an_fdb_entry_by_another_port_leads_elsewhere() -> None:
    request = put_fdb(5, MAC, ip_address("198.51.100.2"))

    found = decoded(request._replace(body=request.body + attribute(6, b"\x00\x09")))

    assert found == NeighbourEntry(5, MAC, None, is_fdb=True)


@pytest.mark.parametrize(
    ("state", "flags"), [(0x02, 0), (0x40, 0), (PERMANENT, 0)], ids=["reachable", "noarp", "the bridge's own"]
)
def test_other_entries_are_passed_over(state: int, flags: int) -> None:
    request = put_fdb(5, MAC, ip_address("198.51.100.2"))
    header = request.body[:8] + state.to_bytes(2, "little") + bytes((flags, 0))

    assert decoded(request._replace(body=header + request.body[12:])) is None


@given(payload=st.binary(max_size=80))
def test_random_neighbour_raises_only_codec_error(payload: bytes) -> None:
    with contextlib.suppress(CodecError):
        decode_neighbour(payload, 0, len(payload))

    with contextlib.suppress(CodecError):
        entry_key(payload, 0, len(payload))


@pytest.mark.parametrize("address", [ip_address("10.9.0.3"), ip_address("fd09::3")], ids=str)
@pytest.mark.parametrize("is_fdb", [True, False])
def test_an_entry_is_asked_for_by_what_a_message_tells_of_it(address: IPAddress, is_fdb: bool) -> None:
    body = put_fdb(5, MAC, address).body if is_fdb else put_neighbour(5, address, MAC).body
    key = EntryKey(5, is_fdb, bytes.fromhex(MAC.replace(":", "")) if is_fdb else address.packed)

    asked = get_entry(key).body

    assert entry_key(body, 0, len(body)) == key
    assert entry_key(asked, 0, len(asked)) == key


def test_of_many_stations_at_one_mac_all_are_asked_for() -> None:
    for mac in ("00:00:00:00:00:00", "33:33:00:00:00:01"):
        body = put_fdb(5, mac, ip_address("198.51.100.2")).body
        assert entry_key(body, 0, len(body)) is None


@given(raw=st.binary(max_size=60))
def test_random_vxlan_data_raises_only_codec_error(raw: bytes) -> None:
    with contextlib.suppress(CodecError):
        vxlan_data(Link(1, "l", "vxlan", False, "", 0, 0, 0, 0, -1, False, "", b"", raw))


def aged(request: NetlinkRequest, seconds: int) -> NetlinkRequest:
    """Give a request as the kernel would tell of the entry: with probes and its age behind the addresses, then how it was made."""
    head = request.body.removesuffix(attribute(12, bytes((PROTOCOL,))))
    age = attribute(4, bytes(4)) + attribute(3, seconds.to_bytes(4, "little") * 4)
    return request._replace(body=head + age + request.body[len(head) :])


@pytest.mark.parametrize("address", ["10.9.0.3", "20.0.3.0", "fd09::3"])
@pytest.mark.parametrize("put", [put_neighbour, put_fdb])
def test_an_entry_that_only_grew_older_is_the_same_value(put: Callable[..., NetlinkRequest], address: str) -> None:
    arguments = (5, ip_address(address), MAC) if put is put_neighbour else (5, MAC, ip_address(address))
    first = NeighbourDecoder({})
    (young,), (old,) = (tuple(messages(packed(aged(put(*arguments), age), 1))) for age in (1, 196628))

    before = first(young.buffer, young.start, young.end)
    second = NeighbourDecoder(first.by_message)

    assert before == decoded(put(*arguments))
    assert second(old.buffer, old.start, old.end) is before
    assert first.by_message == second.by_message


@pytest.mark.parametrize(
    "other",
    [
        put_fdb(5, MAC, ip_address("198.51.100.3")),
        put_fdb(6, MAC, ip_address("198.51.100.2")),
        put_fdb(5, "02:42:0a:09:00:04", ip_address("198.51.100.2")),
        put_neighbour(5, ip_address("198.51.100.2"), MAC),
    ],
    ids=["vtep", "link", "mac", "kind"],
)
def test_an_entry_that_differs_is_read_anew(other: NetlinkRequest) -> None:
    known = NeighbourDecoder({})
    (first,), (second,) = (
        tuple(messages(packed(aged(each, 1), 1))) for each in (put_fdb(5, MAC, ip_address("198.51.100.2")), other)
    )
    known(first.buffer, first.start, first.end)

    assert NeighbourDecoder(known.by_message)(second.buffer, second.start, second.end) == decoded(other)


def test_an_entry_by_another_port_is_not_taken_for_the_plain_one() -> None:
    plain = put_fdb(5, MAC, ip_address("198.51.100.2"))
    known = NeighbourDecoder({})
    (first,) = messages(packed(aged(plain, 1), 1))
    known(first.buffer, first.start, first.end)
    (other,) = messages(packed(aged(plain._replace(body=plain.body + attribute(6, b"\x00\x09")), 1), 1))
    again = NeighbourDecoder(known.by_message)

    assert again(other.buffer, other.start, other.end) == NeighbourEntry(5, MAC, None, is_fdb=True)
