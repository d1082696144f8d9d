"""What our links on the host say of whose they are, without anything of the state folder."""

from __future__ import annotations

from msgspec import Struct

from reconciler.kernel.netns import Namespaces
from reconciler.model.marks import Mark, read_mark
from reconciler.observe.host import host_view
from reconciler.observe.memory import Memory


class HostMarks(Struct, frozen=True, kw_only=True):
    """marks: of our bridges and adopted ones that have one. has_members: some sandbox is joined to one."""

    marks: tuple[Mark, ...] = ()
    has_members: bool = False


def host_marks(namespaces: Namespaces, memory: Memory) -> HostMarks:
    """Look at the links of the host. What was looked at stays in `memory` for the pass."""
    view = host_view(namespaces, memory)
    marks = (read_mark(link.alias) for link in view.own_bridges)
    return HostMarks(marks=tuple(mark for mark in marks if mark is not None), has_members=view.has_own_pairs)
