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
        if not seen:
            self._found = Differences(keys=wanted.keys())  # in their order, which is nearly that of the plan
        else:
            changed = changed_keys(self._wanted, wanted, objects_differ) | changed_keys(self._seen, seen, seen_differ)
            self._found = self._brought_up_to_date(wanted, seen, changed) if changed else self._found
        self._wanted, self._seen = wanted, seen
        return self._found

    def _brought_up_to_date(
        self, wanted: Mapping[Key, Object], seen: Mapping[Key, Seen], changed: Set[Key]
    ) -> Differences:
        keys = {key for key in changed if _differ(wanted.get(key), seen.get(key))}
        contested = {key for key in changed if _is_contested(wanted.get(key), seen.get(key))}
        return Differences(
            keys=(self._found.keys - changed) | keys, contested=(self._found.contested - changed) | contested
        )


def _differ(wanted: Object | None, seen: Seen | None) -> bool:
    """What others have and nobody here wants is theirs."""
    if wanted is None:
        return seen is not None and seen.is_ours
    return seen is None or wanted != seen.object


def _is_contested(wanted: Object | None, seen: Seen | None) -> bool:
    return seen is not None and not seen.is_ours and wanted is not None and wanted.is_barred_by(seen.object, _no_link)


def _no_link(ns: NsRef, ifname: str) -> bool:
    """A link of ours could only make less of what is in the way: who is barred must ask for it anew each time."""
    return False
