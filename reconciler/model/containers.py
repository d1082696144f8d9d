"""What a container engine says of a container that an attachment names."""

from __future__ import annotations

from msgspec import Struct

from reconciler.model.identifiers import NsRef


class Container(Struct, frozen=True, kw_only=True):
    """A container that runs and may be joined.

    process: the reference `pid:N@TICKS` to its namespace, to which no later process answers. files: the names of files below /etc
    that the engine mounts there, each with the path of the engine's file.
    """

    id: str
    process: NsRef
    files: tuple[tuple[str, str], ...] = ()


class NoContainer(Struct, frozen=True, kw_only=True):
    """Why a container cannot be joined. may_come: it is not there, or not yet; else a person must change it."""

    reason: str
    may_come: bool = True


ContainerAnswer = Container | NoContainer
