"""Whom to ask what is not ours, and whether to believe what comes back. Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from reconciler.dns.wire import HEADER_SIZE, Query, Rcode
from reconciler.dns.zones import SandboxZone

if TYPE_CHECKING:
    from reconciler.model.objects import IPAddress

SERVERS_MAX: Final = 3
"""As the engine and resolv.conf(5) (docs/design/docker.md#forwarding)."""

IN_FLIGHT_MAX: Final = 1024
"""Of all sandboxes together, the engine's value; see FAIR_SHARE for who is served beyond."""

IN_FLIGHT_SANDBOX_MAX: Final = 100
FAIR_SHARE: Final = 8
"""What each sandbox may have in flight even when others have used up IN_FLIGHT_MAX."""

_TRY_NEXT: Final = frozenset((Rcode.SERVFAIL, Rcode.REFUSED))
_FIRST_WORDS: Final = struct.Struct("!HHH")


class Upstream(Struct, frozen=True):
    """A server to ask. is_inside: from the sandbox's namespace, else from the host's."""

    address: IPAddress
    is_inside: bool


def upstreams(sandbox: SandboxZone, host_servers: tuple[IPAddress, ...]) -> tuple[Upstream, ...]:
    """Return the servers to be asked in this order; none for a sandbox without its own that has no way outside."""
    if sandbox.servers:
        return tuple(Upstream(address, is_inside=True) for address in sandbox.servers[:SERVERS_MAX])
    if not sandbox.is_external:
        return ()
    return tuple(Upstream(address, is_inside=False) for address in host_servers[:SERVERS_MAX])


def is_over_limit(own: int, total: int) -> bool:
    """Return whether a sandbox with `own` queries in flight, of `total` in the process, gets REFUSED for one more."""
    return own >= IN_FLIGHT_SANDBOX_MAX or (total >= IN_FLIGHT_MAX and own >= FAIR_SHARE)


def is_reply_to(asked: bytes, question_end: int, reply: bytes) -> bool:
    """Return whether `reply` answers `asked`: same id, a reply to a standard query, same question in any spelling (RFC 5452)."""
    if len(reply) < max(HEADER_SIZE, question_end) or reply[:2] != asked[:2]:
        return False
    _, flags, questions = _FIRST_WORDS.unpack_from(reply)
    is_reply = flags & 0xF800 == 0x8000 and questions == 1
    return is_reply and reply[HEADER_SIZE:question_end].lower() == asked[HEADER_SIZE:question_end].lower()


def is_final(reply: bytes) -> bool:
    """Return whether the next server need not be asked."""
    return reply[3] & 0xF not in _TRY_NEXT


def passed_on(reply: bytes, message: bytes, query: Query, *, is_stream: bool) -> bytes:
    """Return the reply as the asker shall see it: own id and spelling; only its head, marked truncated, if it takes no more."""
    end = query.question_end
    if is_stream or len(reply) <= query.udp_size:
        return query.id + reply[2:HEADER_SIZE] + message[HEADER_SIZE:end] + reply[end:]
    flags = struct.pack("!H", int.from_bytes(reply[2:4], "big") | 0x0200)
    return query.id + flags + b"\0\1\0\0\0\0\0\0" + message[HEADER_SIZE:end]
