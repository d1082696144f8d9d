"""The specs of the last pass that was verified, as texts, and the ones before: what there is to go back to.

<state-dir>/last-good.json holds the texts and changes with the specs only. <state-dir>/verified.json is small, so that a pass with
nothing to do need not read the other. <state-dir>/rolled-back.json names specs that are not applied until they change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import asdict, replace

from reconciler.guard.state_file import read_fields, remove, write_fields
from reconciler.model.identifiers import NsRef
from reconciler.records.lenient import items_of, mapping_of, text_of, texts_of
from reconciler.settings import Settings
from reconciler.spec.files import SpecText
from reconciler.spec.load import LoadedSpecs, load_texts

Texts = tuple[SpecText, ...]


class LastGood(Struct, frozen=True, kw_only=True):
    """versions: texts by digest. current, previous: digests; previous "" when there is none.

    kept: networks that are not as in `current` but still as in another version: protected, or suspended. specs: the folder that
    `current` was read from.
    """

    versions: Mapping[str, Texts]
    current: str
    previous: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)
    specs: str = ""

    def load(self, settings: Settings, digest: str = "") -> LoadedSpecs:
        """Understand one version, `current` unless named; one that is not there declares nothing."""
        digest = digest or self.current
        texts = self.versions.get(digest, ())
        loaded = load_texts(texts, host=settings.host, digest=digest, is_bridge_enabled=settings.is_bridge_enabled)
        return replace(loaded, folder=self.specs)

    def versions_of(self, names: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """Give, by digest, those of `names` that are as that version has them."""
        found: dict[str, set[str]] = {}
        for name in names:
            found.setdefault(self.kept.get(name, self.current), set()).add(name)
        return {digest: frozenset(of_version) for digest, of_version in found.items()}

    def followed_by(self, digest: str, texts: Texts, kept: Iterable[str], specs: str = "") -> LastGood:
        """Return what is remembered once specs with `digest`, of the folder `specs`, are verified. kept: networks that stay as they
        were."""
        as_before = {name: self.kept.get(name, self.current) for name in kept}
        stays = {name: version for name, version in as_before.items() if version != digest}
        previous = self.previous if digest == self.current else self.current
        wanted = {digest, previous, *stays.values()}
        known = {**self.versions, digest: texts}
        return LastGood(
            versions={name: known[name] for name in sorted(wanted) if name in known},
            current=digest,
            previous=previous,
            kept=stays,
            specs=specs,
        )


class Verified(Struct, frozen=True, kw_only=True):
    """The last verified pass. place: the boot and the namespace that it took place in.

    kept: networks that it left as they were before, sorted. specs: the folder of its specs. sandboxes: inodes by namespace, of
    attachments on networks whose drift is left.
    """

    digest: str
    place: str
    kept: tuple[str, ...] = ()
    specs: str = ""
    sandboxes: Mapping[NsRef, int] = field(default_factory=dict)


class RejectedSpecs(Struct, frozen=True, kw_only=True):
    """Specs that are not applied until they change. successor: the folder of those that were confirmed in their place; "" where
    they were taken back.
    """

    digest: str
    reason: str
    successor: str = ""


def read_last_good(state_dir: Path) -> LastGood | None:
    fields = read_fields(state_dir / "last-good.json")
    if fields is None or not text_of(fields, "current"):
        return None
    versions = mapping_of(fields, "versions")
    return LastGood(
        versions={digest: texts_from(mapping_of(versions, digest)) for digest in versions},
        current=text_of(fields, "current"),
        previous=text_of(fields, "previous"),
        kept=texts_of(fields, "kept"),
        specs=text_of(fields, "specs"),
    )


def has_last_good(state_dir: Path) -> bool:
    return (state_dir / "last-good.json").exists()


def write_last_good(state_dir: Path, last: LastGood) -> None:
    versions = {digest: fields_of(texts) for digest, texts in last.versions.items()}
    write_fields(state_dir / "last-good.json", {**asdict(last), "versions": versions})


def fields_of(texts: Texts) -> Mapping[str, object]:
    return {"files": [asdict(text) for text in texts]}


def texts_from(fields: Mapping[str, object]) -> Texts:
    return tuple(
        SpecText(
            text_of(file, "name"),
            text_of(file, "text"),
            file.get("is_template") is True,
            file.get("is_variables") is True,
        )
        for file in items_of(fields, "files")
        if isinstance(file, dict)
    )


def read_verified(state_dir: Path) -> Verified | None:
    fields = read_fields(state_dir / "verified.json")
    if fields is None:
        return None
    inodes = mapping_of(fields, "sandboxes")
    return Verified(
        digest=text_of(fields, "digest"),
        place=text_of(fields, "place"),
        kept=tuple(map(str, items_of(fields, "kept"))),
        specs=text_of(fields, "specs"),
        sandboxes={NsRef(ns): inode for ns, inode in inodes.items() if isinstance(inode, int)},
    )


def write_verified(state_dir: Path, verified: Verified) -> None:
    write_fields(state_dir / "verified.json", asdict(verified))


def forget_verified(state_dir: Path) -> None:
    remove(state_dir / "verified.json")


def read_rejected(state_dir: Path) -> RejectedSpecs | None:
    fields = read_fields(state_dir / "rolled-back.json")
    if fields is None:
        return None
    digest, reason, successor = (text_of(fields, name) for name in ("digest", "reason", "successor"))
    return RejectedSpecs(digest=digest, reason=reason, successor=successor)


def write_rejected(state_dir: Path, rejected: RejectedSpecs) -> None:
    write_fields(state_dir / "rolled-back.json", asdict(rejected))


def forget_all(state_dir: Path) -> None:
    """Forget what was applied here, after it was taken down."""
    for name in ("verified.json", "last-good.json", "rolled-back.json"):
        remove(state_dir / name)


def forget_rejected(state_dir: Path) -> None:
    remove(state_dir / "rolled-back.json")
