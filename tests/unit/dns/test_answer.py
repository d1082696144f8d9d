"""Replies of the embedded server, read by dnspython: what docs/design/docker.md#names says, and what hostile bytes get."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.dns.answer import Forward, answer
from reconciler.dns.view import DnsView, Views, reverse_block
from reconciler.dns.wire import UDP_SIZE_MAX
from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint
from reconciler.model.identifiers import NsRef


def endpoint(
    name: str, *addresses: str, names: Sequence[str] = (), ports: Sequence[tuple[int, int, str]] = ()
) -> ServedEndpoint:
    return ServedEndpoint(
        name=name,
        names=(name.lower(), *names),
        addresses=tuple(map(ip_address, addresses)),
        ports=tuple(ports),
    )


def views_of(networks: Iterable[NetworkZone], *sandboxes: SandboxZone) -> Views:
    views = Views()
    views.update({each.name: each for each in networks}, {each.name: each for each in sandboxes})
    return views


def view(
    *networks: NetworkZone,
    links: dict[str, dict[str, str]] | None = None,
    order: Sequence[str] = (),
    is_ndots_set: bool = False,
) -> DnsView:
    sandbox = SandboxZone(
        name="asker",
        ns=NsRef("netns:asker"),
        networks=tuple(order) or tuple(network.name for network in networks),
        links=tuple((network, tuple(pairs.items())) for network, pairs in (links or {}).items()),
        is_ndots_set=is_ndots_set,
    )
    return views_of(networks, sandbox).of("asker")


FRONT = NetworkZone(
    name="front",
    endpoints=(
        endpoint("web", "172.21.0.2", names=("www", "0123456789ab"), ports=((80, 80, "tcp"), (8000, 8010, "udp"))),
        endpoint("web2", "172.21.0.3", names=("www",), ports=((80, 80, "tcp"),)),
        endpoint("dual", "172.21.0.4", "fd00::4"),
        endpoint("six", "fd00::6"),
        endpoint("Mixed_Case.name", "172.21.0.7"),
    ),
)
BACK = NetworkZone(name="back", endpoints=(endpoint("web", "172.22.0.2"), endpoint("db", "172.22.0.3", "fd01::3")))
DOTTED = NetworkZone(name="b.c", endpoints=(endpoint("a", "172.23.0.2"),))
SHORT = NetworkZone(name="c", endpoints=(endpoint("a.b", "172.23.1.2"),))


def query(name: str, rtype: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, rtype, **options).to_wire()  # type: ignore[arg-type]  # passed through


def ask(
    seen: DnsView, name: str, rtype: str = "A", *, is_stream: bool = False, **options: object
) -> dns.message.Message | None:
    """Ask twice, so that the kept answer is looked at too; None when it would be forwarded."""
    message = query(name, rtype, **options)
    replies = [answer(message, seen, list, is_stream=is_stream) for _ in range(2)]
    assert replies[0] == replies[1]
    if isinstance(replies[0], Forward):
        return None
    assert isinstance(replies[0], bytes)
    reply = dns.message.from_wire(replies[0])
    assert dns.message.from_wire(message).is_response(reply)
    return reply


def data(reply: dns.message.Message | None) -> list[str]:
    assert reply is not None
    return sorted(item.to_text() for rrset in reply.answer for item in rrset)


@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("web", "A", ["172.21.0.2"]),
        ("WEB", "A", ["172.21.0.2"]),
        ("mixed_case.NAME", "A", ["172.21.0.7"]),
        ("0123456789ab", "A", ["172.21.0.2"]),
        ("www", "A", ["172.21.0.2", "172.21.0.3"]),
        ("web.front", "A", ["172.21.0.2"]),
        ("www.FRONT", "A", ["172.21.0.2", "172.21.0.3"]),
        ("dual", "AAAA", ["fd00::4"]),
        ("dual", "A", ["172.21.0.4"]),
        ("web", "AAAA", []),
        ("six", "A", []),
        ("web", "MX", []),
        ("web.front", "MX", []),
        ("2.0.21.172.in-addr.arpa", "PTR", ["web.front."]),
        ("6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.F.ip6.arpa", "PTR", ["six.front."]),
        ("_80._tcp.www", "SRV", ["0 0 80 web.front.", "0 0 80 web2.front."]),
        ("80.tcp.web", "SRV", ["0 0 80 web.front."]),
        ("_8005._udp.web.front", "SRV", ["0 0 8005 web.front."]),
    ],
)
def test_own_names_are_answered(name: str, rtype: str, expected: list[str]) -> None:
    reply = ask(view(FRONT), name, rtype)

    assert data(reply) == expected
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOERROR
    assert dns.flags.to_text(reply.flags) == "QR RD RA"
    assert {rrset.ttl for rrset in reply.answer} <= {600}


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        ("stranger", "A"),
        ("db", "A"),
        ("web.back", "A"),
        ("web.example.org", "A"),
        ("stranger", "MX"),
        ("stranger", "TXT"),
        ("_dmarc.stranger", "TXT"),
        ("9.9.9.9.in-addr.arpa", "PTR"),
        ("_80._tcp.stranger", "SRV"),
        (".", "NS"),
        (".", "A"),
    ],
)
def test_what_is_not_ours_is_forwarded(name: str, rtype: str) -> None:
    assert ask(view(FRONT), name, rtype) is None


@given(
    name=st.sampled_from(
        ["web", "WWW.front", "dual", "six", "_443._tcp.web", "_dmarc.dual", "2.0.21.172.in-addr.arpa"]
    ),
    rtype=st.integers(0, 0xFFFF),
    rclass=st.sampled_from([1, 3, 254, 255]),
)
@example(name="web", rtype=255, rclass=1)
@example(name="web", rtype=65, rclass=1)
def test_own_names_never_leave_the_host_whatever_type_is_asked_for(name: str, rtype: int, rclass: int) -> None:
    seen = view(FRONT)
    message = query(name, rtype, rdclass=rclass)  # type: ignore[arg-type]  # a number

    replies = [answer(message, seen, list) for _ in range(2)]

    assert replies[0] == replies[1]
    assert isinstance(replies[0], bytes)
    reply = dns.message.from_wire(replies[0])
    is_transfer = rtype in (251, 252)
    assert reply.rcode() == (dns.rcode.REFUSED if is_transfer else dns.rcode.NOERROR)
    assert bool(reply.answer) <= (rtype in (1, 28, 12, 33))


@pytest.mark.parametrize(
    ("name", "rtype"),
    [
        *[("web", rtype) for rtype in ("HTTPS", "SVCB", "TXT", "ANY", "SOA", "NS", "CNAME", "SRV", "CAA", "DNSKEY")],
        *[("_81._tcp.web", "SRV"), ("_80._udp.web", "SRV"), ("_http._tcp.web", "SRV"), ("80.udp.web", "SRV")],
        *[("_443._tcp.web.front", "TLSA"), ("2.0.21.172.in-addr.arpa", "SOA")],
    ],
)
def test_own_name_without_the_type_is_said_to_be_there(name: str, rtype: str) -> None:
    reply = ask(view(FRONT), name, rtype)

    assert data(reply) == []
    assert reply is not None
    assert reply.rcode() == dns.rcode.NOERROR


PRIVATE = ("172.21.0.0/16", "fd00::/64", "10.0.0.0/25")


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("1.0.21.172.in-addr.arpa", "NXDOMAIN"),  # the gateway
        ("9.9.21.172.IN-ADDR.arpa", "NXDOMAIN"),
        ("02.0.21.172.in-addr.arpa", "NXDOMAIN"),
        ("x.2.0.21.172.in-addr.arpa", "NXDOMAIN"),
        ("x.0.21.172.in-addr.arpa", "NXDOMAIN"),
        ("0.21.172.in-addr.arpa", "NOERROR"),  # above addresses, and so there
        ("21.172.in-addr.arpa", "NOERROR"),
        ("172.in-addr.arpa", None),
        ("in-addr.arpa", None),
        ("256.0.21.172.in-addr.arpa", "NXDOMAIN"),
        ("1.0.22.172.in-addr.arpa", None),
        ("5.0.0.10.in-addr.arpa", "NXDOMAIN"),
        ("200.0.0.10.in-addr.arpa", None),  # the other half of what is cut at 25 bits
        ("0.0.10.in-addr.arpa", None),
        ("1." + "0." * 27 + "1.0.d.f.ip6.arpa", None),
        ("1." + "0." * 27 + "0.0.d.f.ip6.arpa", "NXDOMAIN"),
        ("0." * 12 + "0.0.d.f.ip6.arpa", "NOERROR"),
        ("1.0.21.172.in-addr.arpa.example.org", None),
    ],
)
def test_addresses_of_private_subnets_have_no_other_names(name: str, rcode: str | None) -> None:
    seen = replace(view(FRONT), subnets=tuple(map(ip_network, PRIVATE)))

    for rtype in ("PTR", "TXT"):
        reply = ask(seen, name, rtype)
        assert (reply and dns.rcode.to_text(reply.rcode())) == rcode
        assert reply is None or not reply.answer


@given(
    st.lists(st.text("0123456789abcdefx_-/", max_size=4), max_size=40), st.sampled_from(["in-addr.arpa", "ip6.arpa"])
)
def test_any_reverse_name_is_read_or_passed_over(labels: list[str], domain: str) -> None:
    block = reverse_block(".".join([*labels, domain]))

    assert block is None or not block.is_exact or block.network.network_address.reverse_pointer.endswith(domain)


def test_first_network_that_has_an_answer_wins() -> None:
    assert data(ask(view(FRONT, BACK), "web")) == ["172.21.0.2"]
    assert data(ask(view(FRONT, BACK, order=("back", "front")), "web")) == ["172.22.0.2"]


def test_a_name_without_the_family_on_one_network_is_looked_for_on_the_next() -> None:
    both = view(FRONT, NetworkZone(name="late", endpoints=(endpoint("web", "fd05::5"),)))

    assert data(ask(both, "web", "AAAA")) == ["fd05::5"]


def test_qualified_name_chooses_the_network() -> None:
    assert data(ask(view(FRONT, BACK), "web.back")) == ["172.22.0.2"]


def test_dots_are_split_from_the_right() -> None:
    assert data(ask(view(DOTTED, SHORT), "a.b.c")) == ["172.23.1.2"]
    assert data(ask(view(DOTTED), "a.b.c")) == ["172.23.0.2"]


def test_whole_name_comes_before_a_qualified_one() -> None:
    whole = NetworkZone(name="other", endpoints=(endpoint("a.b.c", "172.24.0.2"),))

    assert data(ask(view(DOTTED, SHORT, whole), "a.b.c")) == ["172.24.0.2"]


def test_link_alias_hides_the_container_of_that_name() -> None:
    assert data(ask(view(FRONT, links={"front": {"www": "dual"}}), "www")) == ["172.21.0.4"]
    assert data(ask(view(FRONT, links={"front": {"www": "dual"}}), "www.front")) == ["172.21.0.4"]


def test_link_alias_of_an_absent_target_hides_on_its_network_only() -> None:
    links = {"front": {"web": "absent"}}

    assert ask(view(FRONT, links=links), "web") is None
    assert data(ask(view(FRONT, BACK, links=links), "web")) == ["172.22.0.2"]


def test_link_alias_comes_first_even_on_a_later_network() -> None:
    assert data(ask(view(FRONT, BACK, links={"back": {"web": "db"}}), "web")) == ["172.22.0.3"]


def test_unknown_single_label_stays_inside_when_ndots_is_set() -> None:
    seen = view(FRONT, is_ndots_set=True)

    assert data(ask(seen, "stranger")) == []
    assert ask(seen, "stranger.example") is None
    assert ask(seen, "stranger", "MX") is None


def test_sandboxes_with_equal_sight_share_one_view() -> None:
    sandboxes = [SandboxZone(name=f"s{n}", ns=NsRef(f"netns:s{n}"), networks=("front",)) for n in range(3)]
    other = SandboxZone(name="other", ns=NsRef("netns:o"), networks=("front", "back"))

    views = views_of((BACK, FRONT), *sandboxes, other)

    assert views.of("s0") is views.of("s1") is views.of("s2") is not views.of("other")
    assert views.of("other").tables[0] is views.of("s0").tables[0]


def test_view_follows_changes_of_its_networks() -> None:
    views = views_of((BACK, FRONT), SandboxZone(name="s", ns=NsRef("n"), networks=("front", "back")))
    seen, before = views.of("s"), dict(views.tables)
    assert ask(seen, "db") is not None

    views.update({"back": NetworkZone(name="back", endpoints=BACK.endpoints[:1])}, {})

    assert views.of("s") is seen
    assert views.tables["front"] is before["front"]
    assert ask(seen, "db") is None


def test_records_are_shuffled_each_time() -> None:
    seen = view(FRONT)
    orders = [answer(query("www"), seen, order) for order in (list, lambda records: list(reversed(records)))]

    assert orders[0] != orders[1]
    assert isinstance(orders[1], bytes)
    assert [item.to_text() for item in dns.message.from_wire(orders[1]).answer[0]] == ["172.21.0.3", "172.21.0.2"]


MANY = NetworkZone(
    name="many", endpoints=tuple(endpoint(f"n{i}", f"10.0.{i >> 8}.{i & 255}", names=("all",)) for i in range(1000))
)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 512),
        ({"use_edns": 0, "payload": 1232}, 1232),
        ({"use_edns": 0, "payload": 65535}, UDP_SIZE_MAX),
        ({"use_edns": 0, "payload": 10}, 512),
    ],
    ids=["plain", "edns 1232", "edns at most", "edns too small"],
)
def test_reply_by_udp_is_cut_to_what_the_client_takes(options: dict[str, object], size: int) -> None:
    message = query("all", **options)
    reply = answer(message, view(MANY), list)

    assert isinstance(reply, bytes)
    assert size - 16 < len(reply) <= size
    assert dns.message.from_wire(reply, ignore_trailing=False).flags & dns.flags.TC


def test_reply_by_tcp_is_whole() -> None:
    reply = ask(view(MANY), "all", is_stream=True)

    assert len(data(reply)) == 1000
    assert reply is not None
    assert not reply.flags & dns.flags.TC


def test_edns_is_answered_by_edns_and_only_then() -> None:
    with_edns = ask(view(FRONT), "web", use_edns=0, payload=1232, options=[dns.edns.GenericOption(10, b"cookie!!")])
    without = ask(view(FRONT), "web")

    assert with_edns is not None
    assert without is not None
    assert (with_edns.edns, with_edns.payload, without.edns) == (0, UDP_SIZE_MAX, -1)


@pytest.mark.parametrize("is_wanted", [True, False])
def test_dnssec_bit_comes_back_as_it_was(is_wanted: bool) -> None:
    reply = ask(view(FRONT), "web", use_edns=0, payload=1232, want_dnssec=is_wanted)

    assert reply is not None
    assert bool(reply.ednsflags & dns.flags.DO) is is_wanted


def test_unknown_edns_version_is_told() -> None:
    reply = ask(view(FRONT), "web", use_edns=1)

    assert reply is not None
    assert (reply.rcode(), reply.edns) == (dns.rcode.BADVERS, 0)


def test_hostile_question_forms_do_not_fill_what_is_kept() -> None:
    seen = view(FRONT)
    for size in range(512, 4096, 7):
        answer(query("web", use_edns=0, payload=size), seen, list)
    for ednsflags in range(0, 0x8000, 99):
        answer(query("web", use_edns=0, payload=1232, ednsflags=ednsflags), seen, list)
    for flags in range(0x80):
        answer(struct.pack("!6H", 1, flags, 1, 0, 0, 0) + query("web")[12:], seen, list)

    assert len(seen.ready) < 10


def test_what_is_kept_is_bounded() -> None:
    seen = view(FRONT, is_ndots_set=True)
    seen.ready_max = 100
    for number in range(1000):
        answer(query(f"n{number}"), seen, list)

    assert len(seen.ready) <= 100


HEAD = struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0)
A_IN = b"\0\1\0\1"


BAD = {
    "cut question": (HEAD + b"\x03web\0\0\1", dns.rcode.FORMERR),
    "no question": (HEAD, dns.rcode.FORMERR),
    "pointer to itself": (HEAD + b"\xc0\x0c" + A_IN, dns.rcode.FORMERR),
    "pointer behind label": (HEAD + b"\x03web\xc0\x0c" + A_IN, dns.rcode.FORMERR),
    "label of 64": (HEAD + b"\x40" + b"a" * 64 + b"\0" + A_IN, dns.rcode.FORMERR),
    "label past the end": (HEAD + b"\x3f" + b"a" * 9 + A_IN, dns.rcode.FORMERR),
    "name over 255": (HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0" + A_IN, dns.rcode.FORMERR),
    "trailing bytes": (HEAD + b"\x03web\0" + A_IN + b"trailing", dns.rcode.FORMERR),
    "two questions": (struct.pack("!6H", 1, 0x0100, 2, 0, 0, 0) + (b"\x03web\0" + A_IN) * 2, dns.rcode.FORMERR),
    "no question counted": (struct.pack("!6H", 1, 0x0100, 0, 0, 0, 0), dns.rcode.FORMERR),
    "answer in query": (struct.pack("!6H", 1, 0x0100, 1, 1, 0, 0) + b"\x03web\0" + A_IN, dns.rcode.FORMERR),
    "too many records": (struct.pack("!6H", 1, 0x0100, 1, 0, 0, 60000) + b"\x03web\0" + A_IN, dns.rcode.FORMERR),
    "two edns records": (
        struct.pack("!6H", 1, 0x0100, 1, 0, 0, 2) + b"\x03web\0" + A_IN + b"\0\0\x29\x10\0\0\0\0\0\0\0" * 2,
        dns.rcode.FORMERR,
    ),
    "record past the end": (
        struct.pack("!6H", 1, 0x0100, 1, 0, 0, 1) + b"\x03web\0" + A_IN + b"\0\0\x29\x10\0\0\0\0\0\0\xff",
        dns.rcode.FORMERR,
    ),
    "notify": (struct.pack("!6H", 1, 0x2100, 1, 0, 0, 0) + b"\x03web\0" + A_IN, dns.rcode.NOTIMP),
    "zone transfer": (HEAD + b"\x03web\0" + b"\0\xfc\0\1", dns.rcode.REFUSED),
}


@pytest.mark.parametrize(("message", "rcode"), BAD.values(), ids=BAD)
def test_bad_query_gets_an_error(message: bytes, rcode: dns.rcode.Rcode) -> None:
    reply = answer(message, view(FRONT), list)

    assert isinstance(reply, bytes)
    assert len(reply) <= len(message) + 11
    assert dns.message.from_wire(reply).rcode() == rcode
    assert reply[:2] == message[:2]


@pytest.mark.parametrize(
    "message",
    [b"", b"\0" * 11, struct.pack("!6H", 1, 0x8180, 1, 0, 0, 0) + b"\x03web\0" + A_IN],
    ids=["empty", "short", "reply"],
)
def test_some_messages_get_no_reply(message: bytes) -> None:
    assert answer(message, view(FRONT), list) is None


def test_label_with_a_dot_inside_is_no_name_of_ours() -> None:
    message = HEAD + b"\x09web.front\0" + A_IN

    assert isinstance(answer(message, view(FRONT), list), Forward)


def test_other_class_of_a_stranger_is_forwarded() -> None:
    assert isinstance(answer(HEAD + b"\x07version\4bind\0\0\x10\0\3", view(FRONT), list), Forward)


def test_kept_answer_fits_a_type_that_differs_by_the_case_bit() -> None:
    """Type 65 (HTTPS) and 97 are the letters A and a: what is kept of one may be given for the other, with its own question."""
    seen = view(FRONT)

    for rtype in (65, 97, 65):
        message = HEAD + b"\x03web\0" + struct.pack("!HH", rtype, 1)
        reply = answer(message, seen, list)
        assert isinstance(reply, bytes)
        assert reply[12:] == message[12:]
        assert dns.message.from_wire(reply).rcode() == dns.rcode.NOERROR


@given(st.binary(max_size=600), st.booleans())
def test_random_bytes_are_borne(message: bytes, is_stream: bool) -> None:
    check_bounded(message, answer(message, view(FRONT), list, is_stream=is_stream))


@given(
    flags=st.integers(0, 0xFFFF),
    counts=st.tuples(*[st.integers(0, 3)] * 4),
    labels=st.lists(
        st.sampled_from(
            [b"web", b"www", b"front", b"", b"a.b", b"\xff\x00", b"x" * 63, b"_80", b"_tcp", b"\xb2", b"0"]
        ),
        max_size=40,
    ),
    domain=st.sampled_from([(), (b"21", b"172", b"in-addr", b"arpa"), (b"d", b"f", b"ip6", b"arpa")]),
    tail=st.binary(max_size=40),
    rtype=st.sampled_from([1, 28, 12, 15, 33, 41, 65, 252, 255, 0]),
)
def test_almost_well_formed_queries_are_borne(
    flags: int,
    counts: tuple[int, int, int, int],
    labels: list[bytes],
    domain: tuple[bytes, ...],
    tail: bytes,
    rtype: int,
) -> None:
    name = b"".join(bytes((len(label),)) + label for label in (*labels, *domain)) + b"\0"
    message = struct.pack("!6H", 7, flags, *counts) + name + struct.pack("!HH", rtype, 1) + tail
    seen = replace(view(FRONT), subnets=tuple(map(ip_network, PRIVATE)))

    check_bounded(message, answer(message, seen, list))


@given(st.integers(0, 40), st.integers(0, 255))
def test_one_changed_byte_is_borne(position: int, value: int) -> None:
    message = bytearray(query("www.front", use_edns=0, payload=1232))
    message[position % len(message)] = value

    check_bounded(bytes(message), answer(bytes(message), view(FRONT), list))


def check_bounded(message: bytes, reply: bytes | Forward | None) -> None:
    """A reply can be read by others, answers the asker's id, and is no bigger than UDP allows."""
    if isinstance(reply, bytes):
        assert reply[:2] == message[:2]
        assert len(reply) <= UDP_SIZE_MAX
        assert reply[2] & 0x80
        dns.message.from_wire(reply, ignore_trailing=False)
