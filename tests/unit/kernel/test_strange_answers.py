"""Answers of the kernel and of nft that are cut, or of another form: errors of ours, or that anything may have changed."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.doctor.nft_rules import nft_rules
from reconciler.errors import FirewallError, KernelError
from reconciler.kernel import nft, route_events
from reconciler.kernel.conntrack import decode_flow
from reconciler.kernel.nft import Nft
from reconciler.kernel.rtnetlink import NLMSG_ERROR, CodecError, Message, nested, refusal


def test_an_event_shorter_than_its_header_may_concern_anything() -> None:
    assert route_events._route_event(b"\x20\0\0", []) is None


def test_a_connection_shorter_than_its_header_is_refused() -> None:
    with pytest.raises(CodecError):
        decode_flow(b"", 0, 0)


def test_a_connection_without_addresses_is_refused() -> None:
    directions = nested(1, nested(1), nested(2)) + nested(2, nested(1), nested(2))
    buffer = bytes([socket.AF_INET, 0, 0, 0]) + directions

    with pytest.raises(CodecError, match="an address of 0 bytes"):
        decode_flow(buffer, 0, len(buffer))


def test_an_error_that_has_no_number_of_one_is_refused() -> None:
    """It was too large a number to be named."""
    buffer = (1 << 31).to_bytes(4, sys.byteorder) + bytes(16)

    with pytest.raises(CodecError, match="an error of number 2147483648"):
        refusal(Message(NLMSG_ERROR, 0, 1, buffer, 0, len(buffer)))


def listed(output: bytes) -> Nft:
    backend: Any = SimpleNamespace(list=lambda *_: nft._Reply(True, output, b""))
    asked = Nft()
    asked._backend = backend
    return asked


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b'{"nftables": 7}',
        b'{"nftables": [7]}',
        b'{"nftables": [{"chain": 7}]}',
        b'{"nftables": [{"chain": {"family": "ip", "table": "nat"}}]}',
        b'{"nftables": [{"table": {"family": "inet", "name": ["x"]}}]}',
    ],
)
def test_what_is_no_listing_is_an_error_of_ours(output: bytes) -> None:
    for ask in (listed(output).list_chains, listed(output).version, lambda: listed(output).list_table("inet", "x")):
        with pytest.raises(FirewallError, match="not its JSON"):
            ask()


@pytest.mark.parametrize("expressions", [7, [7], [{"jump": {}}], [{"vmap": {"data": {"set": [7]}}}], [{"match": []}]])
def test_rules_of_another_form_are_an_error_of_ours(expressions: object) -> None:
    with pytest.raises(FirewallError, match="the rules of a chain"):
        nft_rules([{"expr": expressions}])


def test_no_answer_about_the_generation_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = SimpleNamespace(request=lambda _: SimpleNamespace(errno=0, detail="", answers=()), close=lambda: None)
    monkeypatch.setattr(nft, "RouteSocket", lambda _: silent)

    with pytest.raises(KernelError, match="generation of nftables: no answer"):
        Nft().generation()
