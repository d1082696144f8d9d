"""Which rtnetlink events matter, as a program for the kernel's socket filter (linux/bpf_common.h). Pure.

It runs before an event is queued, so what it leaves out wakes nobody: routes outside the main table and those that come with an
address; addresses with which IPv6 begins on every link; neighbours that were learned, not declared. The filter sees numbers as on
the wire, netlink has them in the machine's order.
"""

from __future__ import annotations

import socket
from ctypes import addressof, create_string_buffer
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from reconciler.model.identifiers import PROTOCOL


class MessageType(IntEnum):
    """RTM_* of linux/rtnetlink.h."""

    NEW_LINK = 16
    DELETE_LINK = 17
    NEW_ADDRESS = 20
    DELETE_ADDRESS = 21
    NEW_ROUTE = 24
    DELETE_ROUTE = 25
    NEW_NEIGHBOUR = 28
    DELETE_NEIGHBOUR = 29
    NEW_NSID = 88
    DELETE_NSID = 89


class _Code(IntEnum):
    """What an instruction does; A and X are the machine's registers."""

    SET = 0x00
    SET_X = 0x01
    IF_EQUAL = 0x15
    IF_ANY_BIT = 0x45
    RETURN = 0x06
    LOAD = 0x20
    LOAD_HALF = 0x28
    LOAD_BYTE = 0x30
    LOAD_BYTE_AT_X = 0x50
    COPY_TO_X = 0x07


class _Step(NamedTuple):
    """yes, no: the labels of what follows a comparison, "" for the next step."""

    code: _Code
    operand: int
    yes: str = ""
    no: str = ""
    label: str = ""


_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = Struct("=HBBI")
_PROGRAM: Final = Struct("@HP")

_FIND_ATTRIBUTE: Final = 0xFFFFF000 + 12
"""SKF_AD_OFF + SKF_AD_NLATTR of linux/filter.h: makes A the offset of the attribute of type X that follows offset A, or 0."""

_TYPE: Final = 4
_FAMILY: Final = 16
_ADDRESS_SCOPE: Final = 19
_ADDRESS_ATTRIBUTES: Final = 24
_ROUTE_TABLE: Final = 20
_ROUTE_PROTOCOL: Final = 21
_NEIGHBOUR_STATE: Final = 24
_NEIGHBOUR_ATTRIBUTES: Final = 28
"""Offsets from the start of the message header into struct ifaddrmsg, rtmsg and ndmsg."""

_AF_BRIDGE: Final = 7
_AF_INET6: Final = 10
_RT_SCOPE_LINK: Final = 253
_RT_TABLE_MAIN: Final = 254
_RTPROT_KERNEL: Final = 2
_NUD_PERMANENT: Final = 0x80
_IFA_PROTO: Final = 11
_NDA_PROTOCOL: Final = 12

_BY_KIND: Final = {
    MessageType.NEW_LINK: "accept",
    MessageType.DELETE_LINK: "accept",
    MessageType.NEW_ADDRESS: "address",
    MessageType.DELETE_ADDRESS: "address",
    MessageType.NEW_ROUTE: "route",
    MessageType.DELETE_ROUTE: "route",
    MessageType.NEW_NEIGHBOUR: "neighbour",
    MessageType.DELETE_NEIGHBOUR: "neighbour",
    MessageType.NEW_NSID: "accept",
    MessageType.DELETE_NSID: "accept",
}

_STEPS: Final = (
    _Step(_Code.LOAD_HALF, _TYPE),
    *(_Step(_Code.IF_EQUAL, socket.htons(kind), yes=label) for kind, label in _BY_KIND.items()),
    _Step(_Code.RETURN, 0),
    _Step(_Code.LOAD_BYTE, _ROUTE_TABLE, label="route"),
    _Step(_Code.IF_EQUAL, _RT_TABLE_MAIN, no="drop"),
    _Step(_Code.LOAD_BYTE, _ROUTE_PROTOCOL),
    _Step(_Code.IF_EQUAL, _RTPROT_KERNEL, yes="drop", no="accept"),
    _Step(_Code.LOAD_BYTE, _FAMILY, label="neighbour"),
    _Step(_Code.IF_EQUAL, _AF_BRIDGE, no="neighbour of a protocol"),
    _Step(_Code.LOAD_HALF, _NEIGHBOUR_STATE),
    _Step(_Code.IF_ANY_BIT, socket.htons(_NUD_PERMANENT), yes="accept", no="drop"),
    _Step(_Code.SET_X, _NDA_PROTOCOL, label="neighbour of a protocol"),
    _Step(_Code.SET, _NEIGHBOUR_ATTRIBUTES),
    _Step(_Code.IF_EQUAL, _NEIGHBOUR_ATTRIBUTES, yes="protocol"),
    _Step(_Code.LOAD_BYTE, _FAMILY, label="address"),
    _Step(_Code.IF_EQUAL, _AF_INET6, no="accept"),
    _Step(_Code.LOAD_BYTE, _ADDRESS_SCOPE),
    _Step(_Code.IF_EQUAL, _RT_SCOPE_LINK, no="accept"),
    _Step(_Code.SET_X, _IFA_PROTO),
    _Step(_Code.SET, _ADDRESS_ATTRIBUTES),
    _Step(_Code.LOAD, _FIND_ATTRIBUTE, label="protocol"),
    _Step(_Code.IF_EQUAL, 0, yes="drop"),
    _Step(_Code.COPY_TO_X, 0),
    _Step(_Code.LOAD_BYTE_AT_X, 4),
    _Step(_Code.IF_EQUAL, PROTOCOL, no="drop"),
    _Step(_Code.RETURN, 0xFFFFFFFF, label="accept"),
    _Step(_Code.RETURN, 0, label="drop"),
)


def attach(listener: socket.socket) -> None:
    """Give the socket the filter. Raises OSError."""
    code = create_string_buffer(_assembled(_STEPS))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(_STEPS), addressof(code)))


def _assembled(steps: tuple[_Step, ...]) -> bytes:
    places = {step.label: number for number, step in enumerate(steps) if step.label}
    return b"".join(
        _INSTRUCTION.pack(step.code, *(_distance(number, places, to) for to in (step.yes, step.no)), step.operand)
        for number, step in enumerate(steps)
    )


def _distance(number: int, places: dict[str, int], label: str) -> int:
    """Return how many steps to skip; there is no way back."""
    return places[label] - number - 1 if label else 0
