"""Settings that the kernel gives back in other words than they were typed in (`0x20` as `32`, `30001` milliseconds as `30000`).

What the kernel makes of a text only the kernel knows. So what it gives right after the text was written is recorded at
`reading/<digest>`, and as long as it gives that, the setting is seen as it was typed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Key, KvRecord, Object, Seen, Sysctl
from reconciler.records.document import Misfit
from reconciler.records.fields import Fields

RECORD_MAX: Final = 64 * 1024
"""Characters of one record: two values, a page each at most (proc(5)), and escapes."""

READING_RECORDS: Final = "reading/"
_FIELDS: Final = ("given", "name", "ns", "typed")


class Reading(Struct, frozen=True, kw_only=True):
    """given: what the kernel gave after `typed` was written. name: path with slashes below /proc/sys."""

    ns: NsRef
    name: str
    typed: str
    given: str

    @property
    def setting(self) -> Sysctl:
        return Sysctl(ns=self.ns, name=self.name, value=self.typed)

    @property
    def path(self) -> str:
        return (
            READING_RECORDS + hashlib.sha256(f"{self.ns}\0{self.name}".encode(errors="surrogatepass")).hexdigest()[:32]
        )

    def text(self) -> str:
        return json.dumps({field: getattr(self, field) for field in _FIELDS}, separators=(",", ":"))


def decode_readings(records: Mapping[str, str]) -> tuple[Reading, ...]:
    """Read records (path to JSON text); those that are none of these, or not where they belong, are passed over."""
    texts = ((path, text) for path, text in records.items() if path.startswith(READING_RECORDS))
    found = ((path, _reading(text)) for path, text in texts)
    return tuple(reading for path, reading in found if reading is not None and reading.path == path)


def _reading(text: str) -> Reading | None:
    try:
        given, name, ns, typed = map(Fields.of(text, RECORD_MAX).text, _FIELDS)
    except Misfit:
        return None
    return Reading(ns=NsRef(ns), name=name, typed=typed, given=given)


def seen_as_typed(seen: Mapping[Key, Seen], readings: tuple[Reading, ...]) -> Mapping[Key, Seen]:
    """Return the settings that are still as they were read, as they were typed."""
    found: dict[Key, Seen] = {}
    for reading in readings:
        typed = reading.setting
        now = seen.get(typed.key)
        if now is not None and isinstance(now.object, Sysctl) and now.object.value == reading.given:
            found[typed.key] = Seen(typed, is_ours=now.is_ours)
    return found


def kept_readings(wanted: Callable[[Key], Object | None], readings: tuple[Reading, ...]) -> Iterator[KvRecord]:
    """Yield the records of settings that are still wanted as they were typed; the others go. wanted: what is, by key."""
    for reading in readings:
        setting = wanted(reading.setting.key)
        if isinstance(setting, Sysctl) and setting.value == reading.typed:
            yield KvRecord(unit=setting.unit, path=reading.path, value=reading.text())
