"""Tell neighbours where addresses are now, and forget what our own bridges knew of them.

By gratuitous ARP (RFC 5227) and unsolicited neighbour advertisements (RFC 4861, section 7.2.6).
"""

from __future__ import annotations

import logging
import socket
import struct
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeVar

from reconciler.announcements import Announcement, LinkRef
from reconciler.errors import ReconcilerError, kernel_errors
from reconciler.kernel.links import decode_link, get_link
from reconciler.kernel.neighbours import EntryKey
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.neighbours import decode_neighbour, delete_neighbour, get_entry
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import IPAddress

log = logging.getLogger(__name__)

_ARP: Final = 0x0806
_IPV6: Final = 0x86DD
_EVERYBODY: Final = b"\xff" * 6
_ALL_NODES: Final = IPv6Address("ff02::1").packed
_ALL_NODES_MAC: Final = bytes.fromhex("333300000001")
_REQUEST: Final = 1
_REPLY: Final = 2
_NEIGHBOUR_ADVERTISEMENT: Final = 136
_OVERRIDE: Final = 0x20000000
_TARGET_LINK_ADDRESS: Final = 2
_HOP_LIMIT: Final = 255

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
        _announce(ifname, [(each.address, each.holder.mac) for each in changed])


def _announce(ifname: str, answers: Iterable[tuple[IPAddress, str]]) -> None:
    """Send it by a link of the namespace that the calling thread is in. answers: addresses and their MACs. Raises KernelError."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with kernel_errors(f"announce addresses on {ifname}"), socket.socket(socket.AF_PACKET, kind) as sender:
        sender.bind((ifname, 0))
        for address, mac in answers:
            for frame in frames(address, bytes.fromhex(mac.replace(":", ""))):
                sender.send(frame)


def frames(address: IPAddress, mac: bytes) -> tuple[bytes, ...]:
    """ARP in both its forms: some heed only the one, and a VXLAN device would answer the other for those whom it knows."""
    if isinstance(address, IPv4Address):
        return tuple(_arp(address, mac, operation) for operation in (_REPLY, _REQUEST))
    return (_advertisement(address, mac),)


def _arp(address: IPv4Address, mac: bytes, operation: int) -> bytes:
    target = mac if operation == _REPLY else bytes(6)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + address.packed + target + address.packed
    return _EVERYBODY + mac + struct.pack("!H", _ARP) + body


def _advertisement(address: IPv6Address, mac: bytes) -> bytes:
    body = struct.pack("!I", _OVERRIDE) + address.packed + struct.pack("!BB", _TARGET_LINK_ADDRESS, 1) + mac
    size = 4 + len(body)
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", size, socket.IPPROTO_ICMPV6)
    checksum = _checksum(pseudo + struct.pack("!BBH", _NEIGHBOUR_ADVERTISEMENT, 0, 0) + body)
    header = struct.pack("!IHBB", 6 << 28, size, socket.IPPROTO_ICMPV6, _HOP_LIMIT) + address.packed + _ALL_NODES
    message = struct.pack("!BBH", _NEIGHBOUR_ADVERTISEMENT, 0, checksum) + body
    return _ALL_NODES_MAC + mac + struct.pack("!H", _IPV6) + header + message


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
