"""Program neighbour and forwarding entries: thousands at once, one message each."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from reconciler.errors import ReconcilerError, netlink_error
from reconciler.kernel.links import decode_link, get_link
from reconciler.kernel.neighbours import delete_fdb, delete_neighbour, forget_learned, put_fdb, put_neighbour
from reconciler.kernel.netlink import NetlinkMessage, RouteSocket
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import Request
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import FdbEntry, Neighbour
from reconciler.model.plan import Action, Operation, Outcome

_GONE = (errno.ENOENT, errno.ENODEV)


def apply_neighbours(operations: Sequence[Operation], namespaces: Namespaces) -> list[Outcome]:
    """Carry out operations on Neighbour and FdbEntry; one outcome each, in the same order; never raises for one of them.

    What is there already under the same key is replaced; what is gone already is fine.
    """
    by_ns: dict[NsRef, list[int]] = {}
    for number, operation in enumerate(operations):
        by_ns.setdefault(_entry(operation).ns, []).append(number)
    errors: dict[int, ReconcilerError] = {}
    for ns, members in by_ns.items():
        try:
            results = _carry_out([operations[number] for number in members], namespaces.socket(ns))
            errors.update((number, error) for number, error in zip(members, results, strict=True) if error)
        except ReconcilerError as error:
            errors.update(dict.fromkeys(members, error))
    return [Outcome(operation=operation, error=errors.get(number)) for number, operation in enumerate(operations)]


def _carry_out(operations: Sequence[Operation], socket: RouteSocket) -> list[ReconcilerError | None]:
    indexes = _indexes({_entry(operation).ifname for operation in operations}, socket)
    known = [operation for operation in operations if _entry(operation).ifname in indexes]
    replies = iter(socket.batch([_request(operation, indexes) for operation in known]))
    # The endpoint may be on this host from now on, with the same MAC: frames for it must not go on to where it was. That the bridge
    # saw nothing of it is fine, so nobody asks what became of this.
    departed = [o.object for o in known if o.action is Action.DELETE and isinstance(o.object, FdbEntry)]
    socket.batch([forget_learned(indexes[entry.ifname], entry.mac) for entry in departed])
    return [
        _error(operation, next(replies) if _entry(operation).ifname in indexes else NetlinkMessage(errno.ENODEV))
        for operation in operations
    ]


def _indexes(ifnames: set[str], socket: RouteSocket) -> Mapping[str, int]:
    """Look our links up; one that is not ours counts as not there."""
    answers = [
        answer for reply in socket.batch([get_link(name) for name in sorted(ifnames)]) for answer in reply.answers
    ]
    links = [decode_link(answer.buffer, answer.start, answer.end) for answer in answers]
    return {link.ifname: link.ifindex for link in links if link.is_ours}


def _request(operation: Operation, indexes: Mapping[str, int]) -> Request:
    is_deletion = operation.action is Action.DELETE
    entry = _entry(operation)
    ifindex = indexes[entry.ifname]
    if isinstance(entry, Neighbour):
        if is_deletion:
            return delete_neighbour(ifindex, entry.address)
        return put_neighbour(ifindex, entry.address, entry.mac)
    if is_deletion or entry.vtep is None:
        return delete_fdb(ifindex, entry.mac)
    return put_fdb(ifindex, entry.mac, entry.vtep)


def _error(operation: Operation, reply: NetlinkMessage) -> ReconcilerError | None:
    is_done = not reply.errno or (operation.action is Action.DELETE and reply.errno in _GONE)
    return None if is_done else netlink_error(reply.errno, operation.describe(), reply.detail)


def _entry(operation: Operation) -> Neighbour | FdbEntry:
    found = operation.object
    assert isinstance(found, (Neighbour, FdbEntry))
    return found
