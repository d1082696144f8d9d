"""Tell neighbours where addresses are now, and forget what our own bridges knew of them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from reconciler.announcements import Announcement, LinkRef
from reconciler.errors import ReconcilerError
from reconciler.kernel.announcement import announce
from reconciler.kernel.links import decode_link, get_link
from reconciler.kernel.neighbours import EntryKey
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.neighbours import decode_neighbour, delete_neighbour, get_entry
from reconciler.model.identifiers import NsRef

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


def announce_addresses(changed: Sequence[Announcement], namespaces: Namespaces) -> None:
    """Send announcements by the links that tell. Never raises: whoever missed one finds out by itself, only later."""
    for ns, some in _grouped((each.segment[0], each) for each in changed).items():
        try:
            _forget(ns, some, namespaces)
        except ReconcilerError as error:
            log.warning("what bridges remember of addresses that moved could not be forgotten: %s", error)
    for sender, some in _grouped((each.holder.sender, each) for each in changed).items():
        try:
            _send(sender, some, namespaces)
        except ReconcilerError as error:
            log.warning("addresses that moved could not be announced: %s", error)


def _grouped(found: Iterable[tuple[K, Announcement]]) -> Mapping[K, list[Announcement]]:
    groups: defaultdict[K, list[Announcement]] = defaultdict(list)
    for key, each in found:
        groups[key].append(each)
    return groups


def _forget(ns: NsRef, changed: Sequence[Announcement], namespaces: Namespaces) -> None:
    """Permanent entries are somebody's wish and stay; so do those of parents, which are the host's own links."""
    socket = namespaces.socket(ns)
    asked = [get_link(ifname) for ifname in sorted({each.segment[1] for each in changed})]
    answers = [answer for reply in socket.batch(asked) for answer in reply.answers]
    links = [decode_link(answer.buffer, answer.start, answer.end) for answer in answers]
    indexes = {link.ifname: link.ifindex for link in links if link.is_ours}
    known = [(indexes[each.segment[1]], each.address) for each in changed if each.segment[1] in indexes]
    replies = socket.batch([get_entry(EntryKey(ifindex, False, address.packed)) for ifindex, address in known])
    fixed = [any(decode_neighbour(a.buffer, a.start, a.end) for a in reply.answers) for reply in replies]
    # That there was nothing to forget is fine, so nobody asks what became of this.
    socket.batch([delete_neighbour(*each) for each, is_fixed in zip(known, fixed, strict=True) if not is_fixed])


def _send(sender: LinkRef, changed: Sequence[Announcement], namespaces: Namespaces) -> None:
    ns, ifname = sender
    with namespaces.enter(ns):
        announce(ifname, [(each.address, each.holder.mac) for each in changed])
