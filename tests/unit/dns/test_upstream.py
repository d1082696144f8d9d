"""Whom to ask, and what to believe."""

from __future__ import annotations

from ipaddress import ip_address

import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.dns.forwarder import destination
from reconciler.dns.upstream import Upstream, is_final, is_over_limit, is_reply_to, passed_on, upstreams
from reconciler.dns.wire import parse_query
from reconciler.dns.zones import SandboxZone
from reconciler.model.identifiers import NsRef

HOST_SERVERS = tuple(ip_address(f"192.0.2.{number}") for number in range(1, 6))
OWN_SERVERS = (ip_address("198.51.100.1"), ip_address("2001:db8::53"))


def sandbox(*, is_external: bool = True, servers: tuple[object, ...] = ()) -> SandboxZone:
    return SandboxZone(name="s", ns=NsRef("netns:s"), networks=("n",), is_external=is_external, servers=servers)  # type: ignore[arg-type]


def test_at_most_three_of_the_hosts_servers_are_asked_from_the_host() -> None:
    assert upstreams(sandbox(), HOST_SERVERS) == tuple(
        Upstream(address, is_inside=False) for address in HOST_SERVERS[:3]
    )


@pytest.mark.parametrize("is_external", [True, False], ids=["external", "internal"])
def test_own_servers_are_asked_from_inside_instead(is_external: bool) -> None:
    found = upstreams(sandbox(is_external=is_external, servers=OWN_SERVERS), HOST_SERVERS)

    assert found == tuple(Upstream(address, is_inside=True) for address in OWN_SERVERS)


def test_internal_sandbox_has_nobody_to_ask() -> None:
    assert upstreams(sandbox(is_external=False), HOST_SERVERS) == ()


@pytest.mark.parametrize(
    ("own", "total", "expected"),
    [
        (0, 0, False),
        (99, 99, False),
        (100, 100, True),
        (7, 1024, False),
        (8, 1024, True),
        (8, 1023, False),
        (0, 9000, False),
    ],
)
def test_greedy_sandboxes_are_refused_before_modest_ones(own: int, total: int, expected: bool) -> None:
    assert is_over_limit(own, total) is expected


ASKED = dns.message.make_query("www.Example.org", "A")
MESSAGE = ASKED.to_wire()
END = parse_query(MESSAGE).question_end


def reply_to(query: dns.message.Message, rcode: int = 0, *, padding: int = 0) -> bytes:
    made = dns.message.make_response(query)
    made.set_rcode(rcode)  # type: ignore[arg-type]
    return made.to_wire() + b"\0" * padding


def changed(position: int, value: int) -> bytes:
    reply = bytearray(reply_to(ASKED))
    reply[position] ^= value
    return bytes(reply)


def test_reply_in_another_spelling_is_believed() -> None:
    lower = dns.message.make_query("www.example.ORG", "A", id=ASKED.id)

    assert is_reply_to(MESSAGE, END, reply_to(lower))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        MESSAGE,
        changed(0, 1),
        changed(2, 0x08),
        changed(5, 3),
        changed(13, 1),
        changed(END - 3, 2),
        reply_to(ASKED)[: END - 1],
    ],
    ids=["nothing", "the query itself", "other id", "other opcode", "two questions", "other name", "other type", "cut"],
)
def test_what_answers_another_question_is_not_believed(reply: bytes) -> None:
    assert not is_reply_to(MESSAGE, END, reply)


@given(st.binary(max_size=80))
def test_random_bytes_behind_the_id_are_borne(tail: bytes) -> None:
    reply = MESSAGE[:2] + tail

    if is_reply_to(MESSAGE, END, reply):
        passed_on(reply, MESSAGE, parse_query(MESSAGE), is_stream=False)


@pytest.mark.parametrize(
    ("rcode", "expected"),
    [(0, True), (3, True), (2, False), (5, False)],
    ids=["noerror", "nxdomain", "servfail", "refused"],
)
def test_next_server_is_asked_after_a_failure_only(rcode: int, expected: bool) -> None:
    assert is_final(reply_to(ASKED, rcode)) is expected


def test_asker_gets_back_its_own_id_and_spelling() -> None:
    other = dns.message.make_query("WWW.EXAMPLE.org", "A")

    reply = passed_on(reply_to(other), MESSAGE, parse_query(MESSAGE), is_stream=False)

    assert reply[:2] == MESSAGE[:2]
    assert reply[12:END] == MESSAGE[12:END]


def test_reply_too_big_for_the_asker_is_only_a_truncated_head() -> None:
    reply = passed_on(reply_to(ASKED, padding=600), MESSAGE, parse_query(MESSAGE), is_stream=False)

    assert len(reply) == END
    assert dns.message.from_wire(reply).flags & dns.flags.TC


def test_big_reply_by_tcp_is_passed_on_whole() -> None:
    big = reply_to(ASKED, padding=600)

    assert len(passed_on(big, MESSAGE, parse_query(MESSAGE), is_stream=True)) == len(big)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("fe80::1%lo", ("fe80::1", 53, 0, 1)),
        ("fe80::1%7", ("fe80::1", 53, 0, 7)),
    ],
)
def test_zone_of_a_server_is_the_index_of_a_link(address: str, expected: tuple[object, ...]) -> None:
    assert destination(Upstream(ip_address(address), is_inside=False)) == expected


@pytest.mark.parametrize(
    "zone", ["nosuch0", "99999999999999999999", "much-too-long-for-a-link", "a\0b", "\u0662", "a b"]
)
def test_zone_that_is_no_link_is_an_error_of_that_server_alone(zone: str) -> None:
    with pytest.raises(OSError, match=r"is no link|no interface"):
        destination(Upstream(ip_address(f"fe80::1%{zone}"), is_inside=False))
