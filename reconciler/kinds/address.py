"""Addresses of links (linux/if_addr.h)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface
from struct import Struct
from typing import Final, NamedTuple

from reconciler.errors import NameConflict
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import (
    ADDRESS_SIZES,
    FAMILIES,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    CodecError,
    NetlinkRequest,
    attribute,
    attributes,
    u8,
    u32_attribute,
)
from reconciler.kinds.links import found_link, needed_link
from reconciler.kinds.row import SeenInView, Where, scripted
from reconciler.kinds.scripts import Ask, Script, check, check_gone
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import HOST, PROTOCOL, NsRef
from reconciler.model.objects import Address, IPInterface, Seen

RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_IFA_FLAGS: Final = 8
_IFA_PROTO: Final = 11
_IFA_F_NODAD: Final = 0x02
_UNSPECIFIED: Final = 0
"""IFAPROT_UNSPEC: of an address that nobody marked."""

_KERNEL_MADE: Final = (1, 2, 3)
"""IFAPROT_KERNEL_LO, _RA, _LL: loopback, router advertisement, link-local."""

_KERNEL_MADE_PREFIXES: Final = (b"\x7f\0\0\1", bytes(15) + b"\1", b"\xfe\x80")

_IFADDR: Final = Struct("=BBBBI")


class AddressEntry(NamedTuple):
    """What one RTM_NEWADDR says. address: 4 or 16 bytes; ifindex: of its link; protocol: who made it, 0 if nobody said."""

    ifindex: int
    address: bytes
    prefix_length: int
    protocol: int

    @property
    def is_ours(self) -> bool:
        return self.protocol == PROTOCOL

    @property
    def is_kernel_made(self) -> bool:
        """True for what the kernel gives links by itself. Where it does not say so, loopback and link-local ones count."""
        return self.protocol in _KERNEL_MADE or (not self.protocol and self.address.startswith(_KERNEL_MADE_PREFIXES))

    def interface(self) -> IPInterface:
        kind = IPv4Interface if len(self.address) == 4 else IPv6Interface
        return kind((self.address, self.prefix_length))


def dump_addresses() -> NetlinkRequest:
    """Ask for every address of both families."""
    return NetlinkRequest(_RTM_GETADDR, NLM_F_DUMP, _IFADDR.pack(0, 0, 0, 0, 0))


def new_address(ifindex: int, interface: IPInterface, protocol: int = PROTOCOL) -> NetlinkRequest:
    """Put our address on a link: IPv6 without duplicate detection, IPv4 with the subnet's broadcast address if it has one."""
    body = _header(ifindex, interface) + attribute(_IFA_PROTO, bytes((protocol,)))
    if interface.version == 6:
        body += u32_attribute(_IFA_FLAGS, _IFA_F_NODAD)
    elif interface.network.prefixlen < 31:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    return NetlinkRequest(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)


def delete_address(ifindex: int, interface: IPInterface) -> NetlinkRequest:
    return NetlinkRequest(_RTM_DELADDR, 0, _header(ifindex, interface))


def _header(ifindex: int, interface: IPInterface) -> bytes:
    local = interface.ip.packed
    fixed = _IFADDR.pack(FAMILIES[interface.version], interface.network.prefixlen, 0, 0, ifindex)
    return fixed + attribute(_IFA_LOCAL, local) + attribute(_IFA_ADDRESS, local)


def decode_address(buffer: bytes, start: int, end: int) -> AddressEntry | None:
    """Read the payload of an RTM_NEWADDR; None for a family other than IPv4 and IPv6. Raises CodecError."""
    if end - start < 8:
        raise CodecError(f"netlink: an address in {end - start} bytes")
    family, prefix_length, _, _, ifindex = _IFADDR.unpack_from(buffer, start)
    size = ADDRESS_SIZES.get(family)
    if size is None:
        return None
    found = attributes(buffer, start + 8, end)
    span = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if span is None or span[1] - span[0] != size or prefix_length > size * 8:
        raise CodecError(f"netlink: no proper address of family {family} in RTM_NEWADDR")
    return AddressEntry(ifindex, buffer[span[0] : span[1]], prefix_length, u8(buffer, found.get(_IFA_PROTO)))


def observe(ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    """Yield the addresses on links of ours and on bridges that may be adopted, whoever put them there but for the kernel."""
    others = {link.ifindex for link in view.bridges_of_others} if ns == HOST else ()
    for entry in view.addresses:
        link = view.by_index.get(entry.ifindex)
        if link is not None and (link.is_ours or link.ifindex in others) and not entry.is_kernel_made:
            yield Seen(Address(ns=ns, ifname=link.ifname, interface=entry.interface()), is_ours=entry.is_ours)


def create(address: Address, namespaces: Namespaces) -> Script:
    """One that is there already, with the same prefix length, serves as well, whoever made it."""
    what = f"create {address.describe()}"
    link = yield from needed_link(address.ns, address.ifname, what)
    protocol = _UNSPECIFIED if address.is_as_found else PROTOCOL
    reply = yield Ask(address.ns, new_address(link.ifindex, address.interface, protocol))
    if reply.errno != errno.EEXIST:
        check(reply, what)
    elif not _is_there(address, link.ifindex, namespaces):
        raise NameConflict(f"{what}: it is there with another prefix length and not ours; remove it")


def remove(address: Address, _: Namespaces) -> Script:
    what = f"delete {address.describe()}"
    link = yield from found_link(address.ns, address.ifname, what)
    if link is not None:
        check_gone((yield Ask(address.ns, delete_address(link.ifindex, address.interface))), what)


def _is_there(address: Address, ifindex: int, namespaces: Namespaces) -> bool:
    entries = namespaces.socket(address.ns).dump(dump_addresses(), decode_address)
    return any(entry.ifindex == ifindex and entry.interface() == address.interface for entry in entries)


_SEEN: Final = SeenInView(Where.HOST | Where.OVERLAY | Where.SANDBOX, observe)
ROWS = (scripted(Address, seen=_SEEN, create=create, update=None, remove=remove),)
