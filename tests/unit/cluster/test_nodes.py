from __future__ import annotations

import pytest

from reconciler.cluster.nodes import NodeRow, node_rows, records_of
from reconciler.cluster.records import info_record, life_value, member_record, network_record, revision_record
from tests.fakes.cluster import node, overlay, placed, stored, texts

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_hosts_are_listed_with_what_is_known_of_them() -> None:
    records = {
        **stored("alpha"),
        **texts(info_record(node("beta", "2001:db8::1", is_watched=True)), info_record(node("gamma", is_watched=True))),
        **texts(placed("a"), placed("b", "10.0.9.3/24", host="beta"), placed("c", "10.0.9.4/24", host="beta")),
        **texts(revision_record("alpha", COMMIT, is_dirty=True), revision_record("beta", COMMIT, is_dirty=False)),
        **texts(member_record("over", "lost", "")),
        "nodes/beta/life": life_value("i-beta"),
        "revisions/gamma": "{",
    }

    assert node_rows(records, "nodes/") == (
        NodeRow(name="alpha", address="192.0.2.1", alive="unwatched", endpoints=1, revision="0123456789ab-dirty"),
        NodeRow(name="beta", address="2001:db8::1", alive="yes", endpoints=2, revision="0123456789ab"),
        NodeRow(name="gamma", address="192.0.2.1", alive="no", endpoints=0, revision=""),
        NodeRow(name="lost", address="", alive="no", endpoints=0, revision=""),
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"commit":"\\u001b[2J","dirty":false}', '{"commit":"","dirty":1}'])
def test_revision_that_is_none_is_not_shown(text: str) -> None:
    (row,) = node_rows({**stored("alpha"), "revisions/alpha": text}, "nodes/")

    assert row.revision == ""


def test_records_of_a_host_go_in_an_order_that_can_be_stopped_anywhere() -> None:
    mine = network_record(overlay("mine", "10.0.8.0/24", vni=5))
    records = {
        **stored("alpha", "beta"),
        **texts(placed("a"), placed("b", "10.0.9.3/24", host="beta"), mine, member_record("mine", "alpha", "")),
        **texts(placed("x", "10.0.8.2/24", network="mine"), revision_record("alpha", COMMIT, is_dirty=False)),
        "network/over/endpoints/broken": '{"host":"alpha"}',
        "nodes/alpha/left": "{}",
    }

    assert [record.path for record in records_of("alpha", records, "nodes/")] == [
        "network/mine/endpoints/x",
        "network/over/endpoints/a",
        "network/over/endpoints/broken",
        "network/mine/members/alpha",
        "network/over/members/alpha",
        "networks/mine",
        "revisions/alpha",
        "nodes/alpha/info",
        "nodes/alpha/left",
    ]


@pytest.mark.parametrize("host", ["nobody", "", "..", "alpha/info", "\x1b"])
def test_of_a_host_that_is_not_there_nothing_goes(host: str) -> None:
    assert tuple(records_of(host, stored("alpha"), "nodes/")) == ()
