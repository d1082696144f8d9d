"""Changes of nftables as nfnetlink tells of them (linux/netfilter/nf_tables.h)."""

from __future__ import annotations

import contextlib
import os
import socket
from struct import Struct
from typing import Final, NamedTuple

from reconciler.kernel.multicast import ANCILLARY_SIZE, BUFFER_BYTES, listen, listen_everywhere, nsid_of, received
from reconciler.kernel.netlink import NETLINK_NETFILTER
from reconciler.kernel.rtnetlink import CodecError, Message, attributes, messages, text

_NFNLGRP_NFTABLES: Final = 7
_RECEIVE_SIZE: Final = 1 << 16
_SUBSYSTEM: Final = 10
_NFGENMSG_SIZE: Final = 4
_SENDER: Final = Struct("=I")

_TABLES_AND_CHAINS: Final = frozenset({0, 2, 3, 5})
"""NFT_MSG_{NEW,DEL}{TABLE,CHAIN}. Whose they are does not matter: a chain of others can drop what we forward."""

_CONTENTS: Final = frozenset({6, 8, 9, 11, 12, 14, 18, 20, 22, 24})
"""NFT_MSG_{NEW,DEL}{RULE,SET,SETELEM,OBJ,FLOWTABLE}."""

_NFTA_TABLE: Final = 1
"""The same number as NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE, NFTA_OBJ_TABLE and NFTA_FLOWTABLE_TABLE."""


class FirewallEvents:
    """Listens to changes of nftables in the namespace of the calling thread, and where it is told to. Raises KernelError."""

    def __init__(self, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._nsids: frozenset[int] = frozenset()
        self._socket = listen(NETLINK_NETFILTER, (_NFNLGRP_NFTABLES,), buffer_bytes=buffer_bytes)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def follow(self, nsids: frozenset[int]) -> bool:
        """Listen in these namespaces too, by their numbers here, and in no others from now on. Raises KernelError.

        Say whether some are new: what happened there before was told to nobody.
        """
        if bool(nsids) != bool(self._nsids):  # sandboxes wake nobody where none of these is
            listen_everywhere(self._socket, is_on=bool(nsids))
        is_any_new = not nsids <= self._nsids
        self._nsids = nsids
        return is_any_new

    def concern(self, table: str) -> bool:
        """Take what is there; say whether others than this process changed what is in tables of that name, or anybody's chains.

        True as well when some was lost. Raises KernelError.
        """
        got = [
            (each and each[0], each and nsid_of(each[1]))
            for each in received(self._socket, _RECEIVE_SIZE, ANCILLARY_SIZE)
        ]
        got = [(buffer, nsid) for buffer, nsid in got if nsid is None or nsid in self._nsids]
        if not got:
            return False
        own = _own_addresses(NETLINK_NETFILTER)
        # A socket that was opened elsewhere, and is closed by now, had this address there.
        elsewhere = own | {os.getpid()}
        try:
            return any(b is None or _is_concerned(b, table, own if nsid is None else elsewhere) for b, nsid in got)
        except CodecError:
            return True


def _is_concerned(buffer: bytes, table: str, own: frozenset[int]) -> bool:
    changes = (_change(message) for message in messages(buffer))
    return any(change and change.sender not in own and change.table in (None, table) for change in changes)


class _Change(NamedTuple):
    """sender: the address of the socket that asked for it. table: None where the name does not matter."""

    sender: int
    table: str | None


def _change(message: Message) -> _Change | None:
    """Return None for what changes nothing, as the end of a transaction. Raises CodecError."""
    subsystem, kind = divmod(message.kind, 256)
    if subsystem != _SUBSYSTEM or kind not in _TABLES_AND_CHAINS | _CONTENTS:
        return None
    # The header's last number. The process id in NFT_MSG_NEWGEN will not do: it is that of the outermost PID namespace, which
    # need not be ours.
    sender: int = _SENDER.unpack_from(message.buffer, message.start - _SENDER.size)[0]
    if kind in _TABLES_AND_CHAINS:
        return _Change(sender, None)
    found = attributes(message.buffer, message.start + _NFGENMSG_SIZE, message.end)
    return _Change(sender, text(message.buffer, found.get(_NFTA_TABLE)))


def _own_addresses(protocol: int) -> frozenset[int]:
    """Return the netlink addresses of this process' sockets, those of libraries too."""
    found = set()
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                borrowed = socket.socket(fileno=fd)
                try:
                    if (borrowed.family, borrowed.proto) == (socket.AF_NETLINK, protocol):
                        found.add(borrowed.getsockname()[0])
                finally:
                    borrowed.detach()
    return frozenset(found)
