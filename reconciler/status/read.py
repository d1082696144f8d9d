"""Status files read back, for the command line: no rights needed, no kernel, no store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

from reconciler.errors import ReconcilerError
from reconciler.model.identifiers import NAME_PATTERN
from reconciler.records.document import Misfit, json_value
from reconciler.records.file import BYTES_MAX, content
from reconciler.status.json_text import Json

Document = dict[str, Json]
Documents = tuple[Document, ...]


class InspectedKind(StrEnum):
    """What is inspected; the plural is the name of its folder."""

    NETWORK = "network"
    ATTACHMENT = "attachment"


_FULL_ID: Final = 64


def read_documents(status_dir: Path, kind: InspectedKind) -> Documents:
    """Return all documents of a kind in natural order of their names (`net2` before `net10`).

    Raises ReconcilerError when no pass has written any yet, or a file is none of ours.
    """
    folder = status_dir / f"{kind}s"
    try:
        files = [entry for entry in folder.iterdir() if entry.suffix == ".json" and NAME_PATTERN.match(entry.stem)]
    except FileNotFoundError:
        raise ReconcilerError(f"no status below {status_dir} yet: `reconcile` writes it with its first pass") from None
    except OSError as error:
        raise ReconcilerError(f"{folder} cannot be read: {error.strerror}") from error
    return tuple(document for file in sorted(files, key=_natural_order) if (document := _document(file)) is not None)


def name_of(document: Document) -> str:
    """Return the name; containers carry it with a slash."""
    return str(document["Name"]).removeprefix("/")


def sandbox_key(document: Document) -> str:
    """Return where an attachment's sandbox is, as `docker inspect` has a path there; "" when it is not said."""
    match document.get("NetworkSettings"):
        case {"SandboxKey": str(key)}:
            return key
    return ""


def resolve(documents: Sequence[Document], kind: InspectedKind, reference: str) -> Document:
    """Find a document as the engine does: by full id, then by full name, then by a prefix of the id that only one has.

    Raises ReconcilerError in the engine's words.
    """
    for document in documents:
        if len(reference) == _FULL_ID and document["Id"] == reference:
            return document
    for document in documents:
        if name_of(document) == reference:
            return document
    matches = [document for document in documents if reference and str(document["Id"]).startswith(reference)]
    if len(matches) > 1:
        raise ReconcilerError(f"{kind} {reference} is ambiguous ({len(matches)} matches found based on ID prefix)")
    if not matches:
        raise ReconcilerError(f"No such {kind}: {reference}")
    return matches[0]


def _natural_order(file: Path) -> list[tuple[bool, int, str]]:
    """Numbers by their value and before text."""
    parts = re.split(r"(\d+)", file.stem)
    return [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts if part]


def _document(file: Path) -> Document | None:
    """Return the one item of a file; None when it was removed since it was listed."""
    try:
        found = json_value(content(file), BYTES_MAX)
    except FileNotFoundError:
        return None
    except (OSError, Misfit) as error:
        raise ReconcilerError(
            f"{file} is damaged ({error}): remove it, the next `reconcile` writes it again"
        ) from error
    match found:
        case [{"Name": str(), "Id": str()} as document]:
            return cast("Document", document)
    raise ReconcilerError(f"{file} is no status file of this tool: remove it, the next `reconcile` writes it again")
