"""What a bridge of ours says of itself in its alias (ip-link(8)): whose it is stands in the kernel, as long as the bridge does."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote, unquote

from msgspec import Struct

_HEAD: Final = "reconciler"
_PROTECTED: Final = "protected"
_ALIAS_MAX: Final = 255
"""Bytes: IFALIASZ of linux/if.h, less the terminating zero."""

_DIGITS: Final = 16
_CUT: Final = "~"


class Mark(Struct, frozen=True, kw_only=True):
    """network: its name. state, specs: the folders that it is run from, as they fit in: one that is too long shows its end."""

    network: str
    state: str
    specs: str
    is_protected: bool = False

    def text(self) -> str:
        """Return the alias."""
        room = _room(self)
        return f"{_head(self)} {_fitted(self.state, room)} {_fitted(self.specs, room)}"

    def is_of_state(self, folder: str) -> bool:
        return self.state == _shown(folder, _room(self))

    def is_of_specs(self, folder: str) -> bool:
        return self.specs == _shown(folder, _room(self))


def read_mark(alias: str) -> Mark | None:
    """Read an alias; None for one that is no mark."""
    match alias.split(" "):
        case [head, network, *flags, state, specs] if head == _HEAD and flags in ([], [_PROTECTED]):
            return Mark(network=network, state=unquote(state), specs=unquote(specs), is_protected=bool(flags))
    return None


def _head(mark: Mark) -> str:
    return " ".join((_HEAD, mark.network, *((_PROTECTED,) if mark.is_protected else ())))


def _room(mark: Mark) -> int:
    return (_ALIAS_MAX - len(_head(mark)) - 2) // 2


def _shown(folder: str, room: int) -> str:
    return unquote(_fitted(folder, room))


def _fitted(folder: str, room: int) -> str:
    """Write a path without spaces, in ASCII; of one that is too long its end, and a digest of it all."""
    written = quote(folder, safe="/~", errors="surrogateescape")
    if len(written) <= room:
        return written
    digest = hashlib.sha256(written.encode()).hexdigest()[:_DIGITS]
    end = written[len(written) - room + _DIGITS + 2 * len(_CUT) :]
    return f"{_CUT}{end.lstrip('%')}{_CUT}{digest}"
