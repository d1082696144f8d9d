"""Carrying out many small netlink exchanges side by side.

A script is a generator that yields one request after the other and is sent the replies. All scripts of a batch go forward
together, so that each round costs one datagram per namespace, however many scripts there are.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from reconciler.errors import ReconcilerError, netlink_error
from reconciler.kernel.netlink import NetlinkMessage
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import NetlinkRequest
from reconciler.model.identifiers import NsRef


class Ask(NamedTuple):
    """A request, and the namespace that it goes to."""

    ns: NsRef
    request: NetlinkRequest


Script = Generator[Ask, NetlinkMessage, None]

_GONE = (errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)
"""What the kernel says of a link, address or route that is not there."""


def run_scripts(scripts: Sequence[Script], namespaces: Namespaces) -> list[ReconcilerError | None]:
    """Run them to their ends; give what each raised, in the same order.

    Within one round the kernel gets equal requests of several scripts once, and they share the reply.
    """
    errors: dict[int, ReconcilerError] = {}
    asks: dict[int, Ask] = {}
    for number, script in enumerate(scripts):
        _step(number, script, None, asks, errors)
    while asks:
        replies = _sent(asks, namespaces)
        asks = {}
        for number, reply in replies.items():
            _step(number, scripts[number], reply, asks, errors)
    return [errors.get(number) for number in range(len(scripts))]


def _step(
    number: int,
    script: Script,
    reply: NetlinkMessage | ReconcilerError | None,
    asks: dict[int, Ask],
    errors: dict[int, ReconcilerError],
) -> None:
    """Let one script go on to its next request, or to its end."""
    try:
        if isinstance(reply, ReconcilerError):
            asks[number] = script.throw(reply)
        else:
            asks[number] = next(script) if reply is None else script.send(reply)
    except StopIteration:
        return
    except ReconcilerError as error:
        errors[number] = error


def _sent(asks: Mapping[int, Ask], namespaces: Namespaces) -> dict[int, NetlinkMessage | ReconcilerError]:
    by_ns: dict[NsRef, dict[NetlinkRequest, list[int]]] = {}
    for number, ask in asks.items():
        by_ns.setdefault(ask.ns, {}).setdefault(ask.request, []).append(number)
    replies: dict[int, NetlinkMessage | ReconcilerError] = {}
    for ns, requests in by_ns.items():
        for numbers, reply in zip(requests.values(), _batch(namespaces, ns, tuple(requests)), strict=True):
            replies.update(dict.fromkeys(numbers, reply))
    return replies


def _batch(
    namespaces: Namespaces, ns: NsRef, requests: Sequence[NetlinkRequest]
) -> Sequence[NetlinkMessage | ReconcilerError]:
    try:
        return namespaces.socket(ns).batch(requests)
    except ReconcilerError as error:
        return [error] * len(requests)


def check(reply: NetlinkMessage, what: str) -> None:
    """Raise KernelError unless the request was carried out."""
    if reply.errno:
        raise netlink_error(reply.errno, what, reply.detail)


def check_gone(reply: NetlinkMessage, what: str) -> None:
    """As `check` after a deletion: what is not there is deleted."""
    if reply.errno not in _GONE:
        check(reply, what)
