"""What a change does to what is drawn: comes, goes, moves, becomes another."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec.structs import replace

from reconciler.graph.topology import Attachment, Host, Link, Mark, Network, Place, Port
from reconciler.model.objects import Unit

Drawn = TypeVar("Drawn", Network, Attachment)
Part = TypeVar("Part", Port, Link)


def network_changes(before: Sequence[Network], after: Sequence[Network]) -> Iterator[Network]:
    had, has = ({(one.host, one.name): one for one in networks} for networks in (before, after))
    for key in sorted(had.keys() | has.keys()):
        old, new = had.get(key), has.get(key)
        if new is None:
            assert old is not None
            yield replace(old, mark=Mark.REMOVED)
        elif old is None:
            yield replace(new, mark=Mark.ADDED)
        else:
            is_same = replace(old, declared="", hosts=()) == replace(new, declared="", hosts=())
            yield new if is_same else replace(new, mark=Mark.CHANGED)


def attachment_changes(before: Sequence[Attachment], after: Sequence[Attachment]) -> Iterator[Attachment]:
    had, has = ({one.name: one for one in attachments} for attachments in (before, after))
    for name in sorted(had.keys() | has.keys()):
        yield _attachment_change(had.get(name), has.get(name))


def _attachment_change(old: Attachment | None, new: Attachment | None) -> Attachment:
    if new is None:
        assert old is not None
        return replace(old, mark=Mark.REMOVED)
    if old is None:
        return replace(new, mark=Mark.ADDED)
    if replace(old, declared="") == replace(new, declared=""):
        return new
    return replace(
        new,
        places=tuple(_place_changes(old.places, new.places)),
        links=tuple(_part_changes(old.links, new.links)),
        mark=Mark.CHANGED,
    )


def _place_changes(before: Sequence[Place], after: Sequence[Place]) -> Iterator[Place]:
    had = {one.network: one for one in before}
    for place in after:
        old = had.pop(place.network, None)
        if old is None:
            yield replace(place, mark=Mark.ADDED)
        elif old == place:
            yield place
        else:
            is_moved = old.addresses != place.addresses
            yield replace(
                place,
                ports=tuple(_part_changes(old.ports, place.ports)),
                was=old.addresses if is_moved else (),
                mark=Mark.MOVED if is_moved else Mark.CHANGED,
            )
    yield from (replace(place, mark=Mark.REMOVED) for place in had.values())


def _part_changes(before: Sequence[Part], after: Sequence[Part]) -> Iterator[Part]:
    """Yield what stays, what comes and what goes; what becomes another is both."""
    yield from (one if one in before else replace(one, mark=Mark.ADDED) for one in after)
    yield from (replace(one, mark=Mark.REMOVED) for one in before if one not in after)


def with_drift(found: Drawn, drifted: frozenset[Unit]) -> Drawn:
    """Mark what others changed, unless the specs change it too. drifted: units that a pass puts back."""
    if isinstance(found, Network):
        is_drifted = Unit(network=found.name) in drifted
    else:
        is_drifted = any(unit.attachment == found.name for unit in drifted)
    return replace(found, mark=Mark.DRIFTED) if is_drifted and found.mark is Mark.SAME else found


def with_moves(hosts: Sequence[Host]) -> Iterator[Host]:
    """Yield hosts, and say of who goes from one host and comes to another that it moves."""
    came, went = (
        {one.name: host.name for host in hosts for one in host.attachments if one.mark is mark}
        for mark in (Mark.ADDED, Mark.REMOVED)
    )
    moved = came.keys() & went.keys()
    for host in hosts:
        yield replace(host, attachments=tuple(_moved(one, came, went, moved) for one in host.attachments))


def _moved(found: Attachment, came: Mapping[str, str], went: Mapping[str, str], moved: Container[str]) -> Attachment:
    if found.name in moved and found.mark is Mark.ADDED:
        return replace(found, mark=Mark.MOVED, note=f"from {went[found.name]}")
    if found.name in moved and found.mark is Mark.REMOVED:
        return replace(found, note=f"moves to {came[found.name]}")
    return found
