"""Under which keys what is wanted and what was seen are not the same, kept from look to look: a change costs what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Set

from msgspec import Struct

from reconciler.incremental import changed_keys
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Key, Object, Seen, objects_differ, seen_differ


class Differences(Struct, frozen=True, kw_only=True):
    """keys: of what is on one side only, or otherwise there. contested: of what is wanted where something foreign may bar it."""

    keys: Set[Key] = frozenset()
    contested: Set[Key] = frozenset()


class Differing:
    """Compares again and again: looks only at what has changed on either side since the last time."""

    def __init__(self) -> None:
        self._wanted: Mapping[Key, Object] = {}
        self._seen: Mapping[Key, Seen] = {}
        self._found = Differences()

    def __call__(self, wanted: Mapping[Key, Object], seen: Mapping[Key, Seen]) -> Differences:
        mine = changed_keys(self._wanted, wanted, objects_differ)
        theirs = changed_keys(self._seen, seen, seen_differ)
        changed = mine | theirs
        if changed:
            keys = {key for key in changed if _differ(wanted.get(key), seen.get(key))}
            contested = {key for key in changed if _is_contested(wanted.get(key), seen.get(key))}
            self._found = Differences(
                keys=(self._found.keys - changed) | keys, contested=(self._found.contested - changed) | contested
            )
        self._wanted, self._seen = wanted, seen
        return self._found


def _differ(wanted: Object | None, seen: Seen | None) -> bool:
    return wanted != (None if seen is None else seen.object)


def _is_contested(wanted: Object | None, seen: Seen | None) -> bool:
    return wanted is not None and seen is not None and not seen.is_ours and wanted.is_barred_by(seen.object, _no_link)


def _no_link(ns: NsRef, ifname: str) -> bool:
    """A link of ours could only make less of what is in the way: who is barred must ask for it anew each time."""
    return False
