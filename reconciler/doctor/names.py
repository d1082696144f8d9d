"""Whether the embedded name server serves every sandbox that it shall, and who has port 53 where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error
from reconciler.doctor.holders import Holder, holders
from reconciler.doctor.place import Place
from reconciler.doctor.typed import base, typed
from reconciler.errors import ReconcilerError

_PORT: Final = 53


class Unserved(Struct, frozen=True, kw_only=True):
    """An attachment without name service. reason: the server's. holders: processes that have port 53 there, and their programs."""

    attachment: str
    reason: str
    holders: tuple[Holder, ...] = ()


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place), base(typed()))


def judge(found: tuple[Unserved, ...], program: list[str]) -> Iterator[Finding]:
    for each in found:
        by = "".join(f"; process {pid} ({program}) has port 53" for pid, program in each.holders)
        yield error(
            f"attachment {each.attachment} has no name service: {each.reason}{by}",
            "in its sandbox no names are found, neither of other sandboxes nor outside",
            *(command("kill", str(pid)) for pid, _ in each.holders),
            *([command(*program)] if each.holders else ()),
        )


def read(place: Place) -> tuple[Unserved, ...]:
    facts = place.facts
    desired = None if place.decision is None else place.decision.desired
    if facts is None or desired is None:
        return ()
    sandboxes = {attachment.name: attachment.ns for attachment in desired.members}
    found = []
    for name, reason in facts.unserved:
        try:
            inode = place.backends.namespaces.inode(sandboxes[name])
        except (KeyError, ReconcilerError):
            inode = 0
        found.append(Unserved(attachment=name, reason=reason, holders=tuple(holders(inode, (_PORT,))) if inode else ()))
    return tuple(found)
