"""Framing and attributes: good bytes round trip, bad bytes raise CodecError and nothing else."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.kernel.links import Link, decode_link, decode_nsid
from reconciler.kernel.rtnetlink import (
    NLMSG_ERROR,
    CodecError,
    Message,
    NetlinkRequest,
    Refusal,
    attribute,
    attributes,
    messages,
    nested,
    nested_attributes,
    packed,
    refusal,
    s32,
    text,
    u32,
)
from reconciler.kinds.address import decode_address
from reconciler.kinds.ipv6 import ipv6_of
from reconciler.kinds.route import decode_route
from reconciler.kinds.sysctl import sysctl_values

NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
DECODERS: list[Callable[[bytes, int, int], object]] = [decode_link, decode_address, decode_route, decode_nsid]


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), unique_by=lambda pair: pair[0], max_size=8))
def test_attributes_are_found_as_they_were_put(pairs: list[tuple[int, bytes]]) -> None:
    buffer = b"".join(attribute(kind, payload) for kind, payload in pairs)

    found = attributes(buffer, 0, len(buffer))

    assert {kind: buffer[start:end] for kind, (start, end) in found.items()} == dict(pairs)


def test_nested_attributes_are_found_below_their_parent() -> None:
    buffer = nested(18, attribute(1, b"veth"), attribute(7, b"\x2a\0\0\0"))

    inner = nested_attributes(buffer, attributes(buffer, 0, len(buffer))[18])

    assert (text(buffer, inner[1]), u32(buffer, inner[7])) == ("veth", 42)


def test_several_messages_of_one_datagram_are_cut_apart() -> None:
    datagram = packed(NetlinkRequest(16, 0, b"abcd"), 7) + packed(NetlinkRequest(20, 0, b""), 8)

    found = [(m.kind, m.sequence, m.buffer[m.start : m.end]) for m in messages(datagram)]

    assert found == [(16, 7, b"abcd"), (20, 8, b"")]


@pytest.mark.parametrize(
    "buffer",
    [b"\0" * 15, pack("=IHHII", 15, 16, 0, 1, 0), pack("=IHHII", 400, 16, 0, 1, 0)],
    ids=["half a header", "shorter than its header", "longer than the buffer"],
)
def test_broken_framing_is_refused(buffer: bytes) -> None:
    with pytest.raises(CodecError):
        list(messages(buffer))


@pytest.mark.parametrize("length", [0, 3, 9], ids=["zero", "less than a header", "beyond the payload"])
def test_broken_attribute_is_refused(length: int) -> None:
    with pytest.raises(CodecError):
        attributes(pack("=HHI", length, 1, 0), 0, 8)


@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        (NLM_F_CAPPED | NLM_F_ACK_TLVS, pack("=IHHII", 900, 16, 5, 1, 0)),
        (NLM_F_ACK_TLVS, pack("=IHHII", 20, 16, 5, 1, 0) + b"\0\0\0\0"),
    ],
    ids=["request cut off", "request repeated"],
)
def test_refusal_carries_the_kernels_words(flags: int, rest: bytes) -> None:
    payload = pack("=i", -errno.EINVAL) + rest + attribute(1, b"mtu less than device minimum\0")

    assert refusal(message(payload, flags)) == Refusal(errno.EINVAL, "mtu less than device minimum")


def test_acknowledgement_is_a_refusal_without_errno() -> None:
    assert refusal(message(pack("=iIHHII", 0, 20, 16, 5, 1, 0), NLM_F_CAPPED)) == Refusal(0, "")


@given(st.binary(max_size=64), st.sampled_from([0, NLM_F_CAPPED, NLM_F_ACK_TLVS, NLM_F_CAPPED | NLM_F_ACK_TLVS]))
def test_random_refusal_raises_only_codec_error(payload: bytes, flags: int) -> None:
    assert_raises_only_codec_error(lambda: refusal(message(payload, flags)))


@given(st.binary(max_size=200))
def test_random_datagram_raises_only_codec_error(buffer: bytes) -> None:
    assert_raises_only_codec_error(lambda: list(messages(buffer)))


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(payload=st.binary(max_size=200))
def test_random_payload_raises_only_codec_error(decode: Callable[[bytes, int, int], object], payload: bytes) -> None:
    assert_raises_only_codec_error(lambda: decode(payload, 0, len(payload)))


@pytest.mark.parametrize("read", [sysctl_values, ipv6_of], ids=lambda read: read.__name__)
@given(af_spec=st.binary(max_size=200))
def test_random_address_family_part_raises_only_codec_error(read: Callable[[Link], object], af_spec: bytes) -> None:
    link = Link(1, "l", "", False, "", 0, 0, 0, 0, -1, False, "", af_spec)

    assert_raises_only_codec_error(lambda: read(link))


def test_signed_number_keeps_its_sign() -> None:
    assert s32(pack("=i", -1), (0, 4)) == -1


def message(payload: bytes, flags: int) -> Message:
    return Message(NLMSG_ERROR, flags, 1, payload, 0, len(payload))


def assert_raises_only_codec_error(read: Callable[[], object]) -> None:
    """Any other exception fails the test by itself."""
    with contextlib.suppress(CodecError):
        read()
