"""Scripts that make and change VXLAN devices."""

from __future__ import annotations

import errno

from reconciler.apply.scripts import Ask, Script, change, check, foreign, found_link, needed_link, own_link
from reconciler.errors import kernel_error
from reconciler.kernel.links import ADDR_GEN_NONE, Change
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.vxlan import VxlanData, vxlan_data
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Vxlan


def create_vxlan(vxlan: Vxlan, namespaces: Namespaces) -> Script:
    """Make it by one message from the host's namespace; a second one, inside its own, sets it up."""
    from reconciler.kernel.rare import new_vxlan

    what = f"create {vxlan.describe()}"
    master = yield from needed_link(vxlan.ns, vxlan.master, what)
    wanted = _data(vxlan)
    reply = yield Ask(HOST, new_vxlan(vxlan.ifname, master.ifindex, vxlan.mtu, namespaces.fd(vxlan.ns), wanted))
    if reply.errno == errno.EEXIST:
        link = yield from found_link(vxlan.ns, vxlan.ifname, what)
        if link is None:
            # A namespace that was just deleted lets go of its devices in the background: trying again may help.
            raise kernel_error(
                errno.EBUSY, what, f"another VXLAN device has VNI {vxlan.vni} on UDP port {vxlan.port}; remove it"
            )
        if not link.is_ours or link.kind != "vxlan" or vxlan_data(link) != wanted:
            raise foreign(link, vxlan.ns)
        yield from update_vxlan(vxlan, vxlan, namespaces)
        return
    check(reply, what)
    yield from change(vxlan.ns, vxlan.ifname, Change(is_up=vxlan.is_up, address_generation=ADDR_GEN_NONE), what)


def update_vxlan(_: Vxlan, vxlan: Vxlan, namespaces: Namespaces) -> Script:
    """Set what can change in place."""
    what = f"update {vxlan.describe()}"
    link = yield from own_link(vxlan.ns, vxlan.ifname, what)
    master = yield from needed_link(vxlan.ns, vxlan.master, what)
    wanted = Change(
        is_up=vxlan.is_up,
        mtu=vxlan.mtu if link.mtu != vxlan.mtu else None,
        master=master.ifindex if link.master != master.ifindex else None,
        address_generation=ADDR_GEN_NONE,
    )
    yield from change(vxlan.ns, link.ifindex, wanted, what)


def _data(vxlan: Vxlan) -> VxlanData:
    return VxlanData(
        vni=vxlan.vni,
        local=vxlan.local,
        port=vxlan.port,
        is_learning=vxlan.is_learning,
        is_proxy=vxlan.is_proxy,
    )
