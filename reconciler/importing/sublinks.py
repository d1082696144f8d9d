"""What is told of networks on another's segment: of a parent that is not named, of addresses that others give. Pure."""

from __future__ import annotations

from typing import Final

from reconciler.importing.values import NotCarried

NO_PARENT: Final = (
    "it sits on the link of the default route, and this host has none: name the link, as `driver_opts: {parent: eth0}`"
)

ELSEWHERE: Final = (
    "its addresses are given by others: declare it by hand, with its subnet and an ip_range that is free there"
)


def default_parent_used(where: str, parent: str) -> NotCarried:
    why = f"it is the link of the default route, now {parent}: say another where hosts differ"
    return NotCarried(where=where, what="a parent that is not named", why=why)
