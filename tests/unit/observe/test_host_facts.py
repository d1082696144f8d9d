"""What is told of the host's links."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.kernel.links import Link
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import LINK_GROUP
from reconciler.observe.host_facts import host_facts
from reconciler.settings import Settings


def link(ifindex: int, ifname: str, kind: str = "", *, group: int = 0, master: int = 0) -> Link:
    return Link(
        ifindex=ifindex,
        ifname=ifname,
        kind=kind,
        is_up=True,
        mac="02:00:00:00:00:01",
        mtu=1500,
        group=group,
        master=master,
        peer=0,
        peer_nsid=-1,
        is_hairpin=False,
        alias="",
        af_spec=b"",
    )


@pytest.mark.parametrize("kind", ["", "bond", "team", "vlan"])
def test_routers_may_yet_speak_on_links_that_lead_out_of_the_machine(kind: str, tmp_path: Path) -> None:
    links = (
        link(1, "lo"),
        link(2, "up0", kind),
        link(3, "port0", kind, master=2),
        link(4, "ours0", kind, group=LINK_GROUP),
        link(5, "virbr0", "bridge"),
        link(6, "vnet0", "veth"),
    )

    found = host_facts(
        Settings(host="alpha", state_dir=tmp_path), NamespaceView(links=links, addresses=(), routes=()), ""
    )

    assert found.uplinks == ("up0",)
