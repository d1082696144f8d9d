"""What all kinds of links have in common: looking them up, changing them, deleting them."""

from __future__ import annotations

import errno
from collections.abc import Generator, Sequence

from reconciler.errors import NameConflict, ReconcilerError, kernel_error, netlink_error
from reconciler.kernel.links import (
    Link,
    LinkChange,
    change_link,
    decode_link,
    delete_doomed,
    doom_link,
    get_link,
    spare_link,
)
from reconciler.kernel.netlink import UNBROKEN_MAX, NetlinkMessage, RouteSocket
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.scripts import Ask, Script, check, check_gone
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import OfLink

_DONE = (0, errno.ENODEV)
"""ENODEV: the link was gone, or all of them were."""


def found_link(ns: NsRef, ifname: str, what: str) -> Generator[Ask, NetlinkMessage, Link | None]:
    """Look a link up by name; None when there is none."""
    reply = yield Ask(ns, get_link(ifname))
    check_gone(reply, what)
    return next((decode_link(a.buffer, a.start, a.end) for a in reply.answers), None)


def needed_link(ns: NsRef, ifname: str, what: str) -> Generator[Ask, NetlinkMessage, Link]:
    """Look up a link that `what` cannot do without. Raises KernelError."""
    link = yield from found_link(ns, ifname, what)
    if link is None:
        raise kernel_error(errno.ENODEV, what, f"there is no link {ifname}{f' in {ns}' if ns else ''}")
    return link


def own_link(ns: NsRef, ifname: str, what: str) -> Generator[Ask, NetlinkMessage, Link]:
    """Look up a link that we are about to change. Raises NameConflict when it is not ours."""
    link = yield from needed_link(ns, ifname, what)
    if not link.is_ours:
        raise foreign(link, ns)
    return link


def change(ns: NsRef, link: int | str, wanted: LinkChange, what: str) -> Script:
    """Change a link, given by index or name. On a kernel without IPv6 the wish about IPv6 addresses is fulfilled already."""
    reply = yield Ask(ns, change_link(link, wanted))
    if reply.errno == errno.EAFNOSUPPORT and wanted.address_generation is not None:
        reply = yield Ask(ns, change_link(link, wanted._replace(address_generation=None)))
    check(reply, what)


def check_on_parent(reply: NetlinkMessage, made: OfLink, parent: Link, what: str) -> None:
    """As `check` after the making of a link on another: the kernel has bare numbers for these, and no words."""
    kind = made.traits.link_kind
    match reply.errno:
        case errno.EOPNOTSUPP:
            option = {"vlan": "CONFIG_VLAN_8021Q"}.get(kind, f"CONFIG_{kind.upper()}")
            raise kernel_error(reply.errno, what, f"this kernel has no {kind} links ({option}); do without them")
        case errno.EBUSY:
            taken = (
                f"{parent.ifname} is in use: a port of a bridge or bond, or with links of another kind than {kind} on it; "
                "name the bridge itself, or another link"
            )
            raise kernel_error(reply.errno, what, taken)
        case errno.EINVAL:
            unfit = (
                f"{parent.ifname} bears no such link: it is no Ethernet link, has a smaller MTU, "
                "or what is on it (mode passthru) excludes others"
            )
            raise kernel_error(reply.errno, what, reply.detail or unfit)
    check(reply, what)


def foreign(link: Link, ns: NsRef) -> NameConflict:
    where = f" in {ns}" if ns else ""
    return NameConflict(f"{link.kind or 'link'} {link.ifname}{where} is in the way and not ours; remove or rename it")


def delete_links(found: Sequence[OfLink], namespaces: Namespaces) -> list[ReconcilerError | None]:
    """Delete links if they are ours; one result each, in the same order. Gone already is fine."""
    results: dict[int, ReconcilerError | None] = {}
    by_ns: dict[NsRef, list[int]] = {}
    for number, link in enumerate(found):
        by_ns.setdefault(link.ns, []).append(number)
    for ns, members in by_ns.items():
        try:
            socket = namespaces.socket(ns)
            for start in range(0, len(members), UNBROKEN_MAX - 1):
                some = members[start : start + UNBROKEN_MAX - 1]
                results.update(zip(some, _delete(socket, [found[n] for n in some]), strict=True))
        except ReconcilerError as error:
            results.update(dict.fromkeys((n for n in members if n not in results), error))
    return [results[number] for number in range(len(found))]


def _delete(socket: RouteSocket, found: Sequence[OfLink]) -> list[ReconcilerError | None]:
    """Look once more, then delete by index what is ours: a stranger that took the name meanwhile stays."""
    looks = [
        _look(reply, link) for reply, link in zip(socket.batch([get_link(f.ifname) for f in found]), found, strict=True)
    ]
    doomed = [look.ifindex for look in looks if isinstance(look, Link)]
    *replies, deletion = socket.batch_unbroken([*map(doom_link, doomed), delete_doomed()])
    if deletion.errno not in _DONE:
        socket.batch([spare_link(ifindex) for ifindex in doomed])
    errors = iter([_refusal(reply, deletion) for reply in replies])
    return [
        _named(next(errors), link) if isinstance(look, Link) else look for look, link in zip(looks, found, strict=True)
    ]


def _look(reply: NetlinkMessage, found: OfLink) -> Link | ReconcilerError | None:
    """Return the link if it may be deleted, the reason why not, or None when it is gone."""
    if reply.errno == errno.ENODEV:
        return None
    if reply.errno:
        return netlink_error(reply.errno, f"delete {found.describe()}", reply.detail)
    answer = reply.answers[0]
    link = decode_link(answer.buffer, answer.start, answer.end)
    return link if link.is_ours and link.kind == found.traits.link_kind else foreign(link, found.ns)


def _refusal(reply: NetlinkMessage, deletion: NetlinkMessage) -> NetlinkMessage | None:
    """Return what kept one link from going."""
    return next((r for r in (reply, deletion) if r.errno not in _DONE), None)


def _named(refusal: NetlinkMessage | None, found: OfLink) -> ReconcilerError | None:
    return netlink_error(refusal.errno, f"delete {found.describe()}", refusal.detail) if refusal else None
