"""What an importer found, in the words of spec files, and what of it those cannot say."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

Path = tuple[str | int, ...]


class NotCarried(Struct, frozen=True, kw_only=True):
    """One thing of the source that the specs do not say.

    where: "compose.yaml:12:7", "container web". what: "cap_add", "driver option com.example.x". why: one sentence, what an
    operator does about it, or why nothing need be done.
    """

    where: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: not carried: {self.what}: {self.why}"


class _ImportedEntry(Struct, frozen=True, kw_only=True):
    """body: what stands below its name in a spec file (docs/reference/specs.md), plain. source: one line, where it came from.

    places: where parts of the body came from, by the way to them, where that is known better.
    """

    name: str
    body: Mapping[str, object]
    source: str
    not_carried: tuple[NotCarried, ...] = ()
    places: Mapping[Path, str] = field(default_factory=dict)


class ImportedNetwork(_ImportedEntry, frozen=True, kw_only=True):
    pass


class ImportedAttachment(_ImportedEntry, frozen=True, kw_only=True):
    pass


class Imported(Struct, frozen=True, kw_only=True):
    """not_carried: of the source as a whole."""

    networks: tuple[ImportedNetwork, ...] = ()
    attachments: tuple[ImportedAttachment, ...] = ()
    not_carried: tuple[NotCarried, ...] = ()

    def all_not_carried(self) -> tuple[NotCarried, ...]:
        """Return all of it, that of the entries too, in the order in which a person meets it."""
        entries: tuple[ImportedNetwork | ImportedAttachment, ...] = (*self.networks, *self.attachments)
        return (*self.not_carried, *(each for entry in entries for each in entry.not_carried))
