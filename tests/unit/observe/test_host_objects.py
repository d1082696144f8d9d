"""Links of the host are made into objects again when what these tell is of other links."""

from __future__ import annotations

import pytest

from reconciler.incremental import Table
from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import LINK_GROUP
from reconciler.model.objects import DeadEnd
from reconciler.observe.host_objects import HostObjects

END = Link(
    ifindex=2,
    ifname="dm-0123456789ab",
    kind="bridge",
    mac="02:00:00:00:00:01",
    mtu=1500,
    master=0,
    group=LINK_GROUP,
    is_up=True,
    peer=0,
    peer_nsid=NSID_NOT_ASSIGNED,
    is_hairpin=False,
    alias="",
    af_spec=b"",
    has_carrier=True,
)
PORT = END._replace(ifindex=3, ifname="stranger", kind="veth", group=0, master=2)


@pytest.mark.parametrize("after", [(END, PORT._replace(master=0)), (END,)], ids=["left", "gone"])
def test_dead_end_has_ports_as_long_as_a_link_is_one(after: tuple[Link, ...]) -> None:
    objects = HostObjects()

    def has_ports(*links: Link) -> bool:
        seen = objects(NamespaceView(links=links, addresses=(), routes=()), Table())
        return next(each.object.has_ports for each in seen.values() if isinstance(each.object, DeadEnd))

    assert not has_ports(END)
    assert not has_ports(END, PORT._replace(master=0))
    assert has_ports(END, PORT)
    assert not has_ports(*after)
