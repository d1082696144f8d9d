"""Links of sandboxes that are up."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.kernel.links import LinkChange
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.links import change
from reconciler.kinds.row import SeenInView, Where, scripted
from reconciler.kinds.scripts import Script
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import LinkUp, Seen


def observe(ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    return (Seen(LinkUp(ns=ns, ifname=link.ifname), is_ours=link.is_ours) for link in view.links if link.is_up)


def create(link: LinkUp, _: Namespaces) -> Script:
    """Bring a link of a sandbox up. One of ours from then on keeps its other addresses when it loses one."""
    wanted = LinkChange(is_up=True, promotes_secondaries=link.ifname != "lo")
    return change(link.ns, link.ifname, wanted, f"set {link.describe()}")


ROWS = (scripted(LinkUp, seen=SeenInView(Where.SANDBOX, observe), create=create, update=None, remove=None),)
