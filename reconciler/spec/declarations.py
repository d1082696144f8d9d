"""One document -> its networks and attachments, each validated by itself, with the faults of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from msgspec import Struct
from pydantic import ValidationError

from reconciler.errors import SpecError
from reconciler.model.expectation import Expectation
from reconciler.model.wanted import Source
from reconciler.spec.attachment import AttachmentSpec
from reconciler.spec.document import Document, Path, Tree, kind_of, unfilled
from reconciler.spec.expectation import ExpectationSpec, expectation
from reconciler.spec.fields import parse_served_name
from reconciler.spec.messages import spec_faults, unknown_key
from reconciler.spec.network import NetworkSpec
from reconciler.spec.spec_model import SpecModel

SECTIONS: Final = ("networks", "attachments")
EXPECT: Final = "expect"
COMPOSE_KEYS: Final = ("configs", "name", "secrets", "services", "version", "volumes")
"""What else an ordinary Compose file has at its top; none of it is ours to judge."""

SpecT = TypeVar("SpecT", bound=SpecModel)


class Declared(Struct, Generic[SpecT], frozen=True):
    """One entry. spec None: it has faults, and all that is known of it is its key and place. text: what it says."""

    key: str
    section: str
    document: Document
    spec: SpecT | None
    text: str

    @property
    def source(self) -> Source:
        return self.document.source((self.section, self.key), at_key=True)

    def fault(self, path: Path, message: str, *, at_key: bool = False) -> SpecError:
        return self.document.fault((self.section, self.key, *path), message, at_key=at_key)


class Declarations(Struct, frozen=True, kw_only=True):
    """is_complete False: a part of the document could not be told to be networks, so some may be missing."""

    networks: tuple[Declared[NetworkSpec], ...] = ()
    attachments: tuple[Declared[AttachmentSpec], ...] = ()
    expectations: tuple[Expectation, ...] = ()
    faults: tuple[SpecError, ...] = ()
    is_complete: bool = True


_NOTHING: Final = Declarations()


def read_declarations(document: Document, before: Declarations = _NOTHING) -> Declarations:
    """Validate each entry. before: of an earlier state of the document; what is still said so is still the very same spec."""
    data = document.data
    if data is None:
        return Declarations()
    if not isinstance(data, dict):
        fault = document.fault((), f"a spec file is a mapping, this is {kind_of(data)}")
        return Declarations(faults=(fault,), is_complete=False)
    faults = list(_top_faults(document, data))
    is_complete = not faults and not any(len(path) == 1 for path in document.repeated)
    return Declarations(
        networks=tuple(_entries(document, "networks", NetworkSpec, before.networks, faults)),
        attachments=tuple(_entries(document, "attachments", AttachmentSpec, before.attachments, faults)),
        expectations=tuple(_expectations(document, data.get(EXPECT), faults)),
        faults=tuple(faults),
        is_complete=is_complete,
    )


def _top_faults(document: Document, data: dict[str, Tree]) -> Iterator[SpecError]:
    for key in data:
        if key not in (*SECTIONS, EXPECT, *COMPOSE_KEYS) and not key.startswith("x-"):
            yield document.fault((key,), unknown_key(key, (*SECTIONS, EXPECT)), at_key=True)
    for section in SECTIONS:
        if not isinstance(data.get(section), dict | None):
            yield document.fault((section,), f"expected a mapping of names, got {kind_of(data[section])}")


def _expectations(document: Document, data: Tree, faults: list[SpecError]) -> Iterator[Expectation]:
    if not isinstance(data, list | None):
        faults.append(document.fault((EXPECT,), f"expected a list, got {kind_of(data)}"))
    for index, value in enumerate(data) if isinstance(data, list) else ():
        try:
            spec = ExpectationSpec.model_validate(value if value is not None else "")
        except ValidationError as error:
            faults += spec_faults(document, (EXPECT, index), error)
        else:
            yield expectation(document, index, spec)


def _entries(
    document: Document,
    section: str,
    model: type[SpecT],
    before: tuple[Declared[SpecT], ...],
    faults: list[SpecError],
) -> Iterator[Declared[SpecT]]:
    known = {entry.key: entry for entry in before}
    for key, value in document.entries(section):
        if key.startswith("x-"):
            continue
        text, path, same = repr(value), (section, key), known.get(key)
        if same is not None and same.spec is not None and same.text == text and path not in document.repeated:
            spec: SpecT | None = same.spec
        else:
            spec = _validated(document, path, value, model, faults)
        yield Declared(key, section, document, spec, text)


def _validated(
    document: Document, path: Path, value: Tree, model: type[SpecT], faults: list[SpecError]
) -> SpecT | None:
    found: list[SpecError] = []
    try:
        parse_served_name(path[-1] if isinstance(path[-1], str) else None)
    except ValueError as error:
        found.append(document.fault(path, unfilled(str(path[-1])) or str(error), at_key=True))
    spec = None
    try:
        spec = model.model_validate(value)
    except ValidationError as error:
        found += spec_faults(document, path, error)
    faults += found
    return None if found or path in document.repeated else spec
