"""Scripts that make and delete addresses."""

from __future__ import annotations

import errno

from reconciler.apply.scripts import Ask, Script, check, check_gone, found_link, needed_link
from reconciler.errors import NameConflict
from reconciler.kernel.addresses import decode_address, delete_address, dump_addresses, new_address
from reconciler.kernel.netns import Namespaces
from reconciler.model.objects import Address


def create_address(address: Address, namespaces: Namespaces) -> Script:
    """One that is there already, with the same prefix length, serves as well, whoever made it."""
    what = f"create {address.describe()}"
    link = yield from needed_link(address.ns, address.ifname, what)
    reply = yield Ask(address.ns, new_address(link.ifindex, address.interface))
    if reply.errno != errno.EEXIST:
        check(reply, what)
    elif not _is_there(address, link.ifindex, namespaces):
        raise NameConflict(f"{what}: it is there with another prefix length and not ours; remove it")


def remove_address(address: Address, _: Namespaces) -> Script:
    what = f"delete {address.describe()}"
    link = yield from found_link(address.ns, address.ifname, what)
    if link is not None:
        reply = yield Ask(address.ns, delete_address(link.ifindex, address.interface))
        check_gone(reply, what)


def _is_there(address: Address, ifindex: int, namespaces: Namespaces) -> bool:
    entries = namespaces.socket(address.ns).dump(dump_addresses(), decode_address)
    return any(entry.ifindex == ifindex and entry.interface() == address.interface for entry in entries)
