"""What differs in the text of the specs: entry by entry, field by field, each with its line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from msgspec import Struct

from reconciler.model.objects import Unit
from reconciler.model.plan import Action
from reconciler.model.wanted import Source, WantedState
from reconciler.review.values import EntryChange, FieldChange, SharedChange
from reconciler.spec.document import Document, Path, Tree

_SECTIONS: Final = ("networks", "attachments")
_Place = tuple[str, str]
"""Section and key of an entry."""


class DifferingEntry(Struct, frozen=True, kw_only=True):
    """One network or attachment whose text differs. was, is_there: before, and now."""

    place: _Place
    source: Source
    was: bool
    is_there: bool
    fields: tuple[FieldChange, ...]


def differing_entries(before: Sequence[Document], after: Sequence[Document]) -> tuple[DifferingEntry, ...]:
    """Compare all that two versions of the specs say."""
    shared = {id(document) for document in before} & {id(document) for document in after}
    old = _entries(document for document in before if id(document) not in shared)
    new = _entries(document for document in after if id(document) not in shared)
    return tuple(_differing(old, new))


def entry_changes(entries: Iterable[DifferingEntry], had: WantedState, has: WantedState) -> tuple[EntryChange, ...]:
    """Return what of that one host has. had, has: what it is to have by all entries."""
    return tuple(_changes(entries, _names(had), _names(has)))


def shared_changes(by_host: Mapping[str, Iterable[EntryChange]]) -> tuple[SharedChange, ...]:
    """Put together what is the same on several hosts."""
    hosts: dict[tuple[Unit, tuple[FieldChange, ...]], dict[Action, list[str]]] = defaultdict(lambda: defaultdict(list))
    first: dict[tuple[Unit, tuple[FieldChange, ...]], EntryChange] = {}
    for host, changes in by_host.items():
        for change in changes:
            key = change.unit, _hashable(change.fields)
            hosts[key][change.action].append(host)
            if change.is_before <= first.setdefault(key, change).is_before:
                first[key] = change
    return tuple(
        SharedChange(
            unit=change.unit,
            source=change.source,
            is_before=change.is_before,
            fields=change.fields,
            hosts=tuple((action, tuple(found)) for action, found in sorted(hosts[key].items())),
        )
        for key, change in sorted(first.items(), key=lambda item: (bool(item[0][0].attachment), item[0][0]))
    )


def _hashable(fields: Sequence[FieldChange]) -> tuple[FieldChange, ...]:
    """Two changes are the same when their texts are."""
    return tuple(
        FieldChange(path=field.path, before=repr(field.before), after=repr(field.after), source=field.source)
        for field in fields
    )


def _entries(documents: Iterable[Document]) -> dict[_Place, tuple[Document, Tree]]:
    return {
        (section, key): (document, value)
        for document in documents
        for section in _SECTIONS
        for key, value in document.entries(section)
        if not key.startswith("x-")
    }


def _names(wanted: WantedState) -> Collection[str]:
    return {attachment.name for attachment in wanted.attachments}


def _differing(
    old: Mapping[_Place, tuple[Document, Tree]], new: Mapping[_Place, tuple[Document, Tree]]
) -> Iterator[DifferingEntry]:
    for place in sorted(old.keys() | new.keys()):
        before, after = old.get(place), new.get(place)
        fields = tuple(_field_changes(place, before, after))
        document = (after or old[place])[0]
        if fields or before is None or after is None:
            source = document.source(place, at_key=True)
            yield DifferingEntry(
                place=place, source=source, was=before is not None, is_there=after is not None, fields=fields
            )


def _changes(entries: Iterable[DifferingEntry], had: Collection[str], has: Collection[str]) -> Iterator[EntryChange]:
    for entry in entries:
        section, key = entry.place
        is_network = section == "networks"
        was, is_there = entry.was and (is_network or key in had), entry.is_there and (is_network or key in has)
        if was or is_there:
            yield EntryChange(
                unit=Unit(network=key) if is_network else Unit(attachment=key),
                action=Action.UPDATE if was and is_there else Action.CREATE if is_there else Action.DELETE,
                source=entry.source,
                is_before=not entry.is_there,
                fields=entry.fields,
            )


def _field_changes(
    place: _Place, old: tuple[Document, Tree] | None, new: tuple[Document, Tree] | None
) -> Iterator[FieldChange]:
    """Of an entry that is new or gone its own line says enough."""
    if old is None or new is None:
        return
    yield from _differences(place, (old[0], old[1] or {}), (new[0], new[1] or {}), ())


def _differences(
    place: _Place, old: tuple[Document, Tree], new: tuple[Document, Tree], path: Path
) -> Iterator[FieldChange]:
    (old_document, before), (new_document, after) = old, new
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in (*before, *(key for key in after if key not in before)):
            values = (old_document, before.get(key)), (new_document, after.get(key))
            yield from _differences(place, *values, (*path, key))
        return
    if isinstance(before, list) and isinstance(after, list):
        gone = [(item, old_document.source((*place, *path, at))) for at, item in enumerate(before) if item not in after]
        come = [(item, new_document.source((*place, *path, at))) for at, item in enumerate(after) if item not in before]
        for was, now in zip_longest(gone, come, fillvalue=(None, None)):
            yield _change(path, was[0], now[0], now[1] or was[1] or new_document.source((*place, *path)))
        return
    document = old_document if after is None else new_document
    yield _change(path, before, after, document.source((*place, *path), at_key=True))


def _change(path: Path, before: Tree, after: Tree, source: Source) -> FieldChange:
    return FieldChange(path=".".join(map(str, path)), before=before, after=after, source=source)
