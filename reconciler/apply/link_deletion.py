"""Delete links of all kinds, those of one namespace at once."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from reconciler.apply.scripts import foreign
from reconciler.errors import ReconcilerError, netlink_error
from reconciler.kernel.links import Link, decode_link, delete_doomed, doom_link, get_link, spare_link
from reconciler.kernel.netlink import UNBROKEN_MAX, NetlinkMessage, RouteSocket
from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import OfLink

_DONE = (0, errno.ENODEV)
"""ENODEV: the link was gone, or all of them were."""


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
