"""JSON files that are handed on, such as saved plans: with kind, version, and a checksum over all the rest. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from reconciler.errors import FileAltered, FileUnreadable
from reconciler.records.document import Misfit, json_object

LENGTH_MAX: Final = 1 << 28
"""Bytes; a host of 10,000 attachments takes some 60 million."""

_ESCAPED_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def sealed(kind: str, version: str, fields: Mapping[str, object]) -> str:
    """Return the text of a file. fields: plain values. Bytes of paths that are no UTF-8 become escapes, which any writer takes."""
    document = {"kind": kind, "version": version, "checksum": _checksum(fields), **fields}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    return text.encode(errors="backslashreplace").decode() + "\n"


def unsealed(name: str, content: bytes, kind: str, versions: Sequence[str]) -> Mapping[str, object]:
    """Return the fields of a file. versions: that are read, the newest first.

    Raises FileUnreadable for what is none such, FileAltered for one that was edited.
    """
    try:
        document = dict(json_object(content, LENGTH_MAX))
    except Misfit as misfit:
        raise FileUnreadable(f"{name} is no {kind}, or was cut off: {misfit}; make it again") from None
    found, its_version, checksum = (document.pop(member, None) for member in ("kind", "version", "checksum"))
    if found != kind:
        raise FileUnreadable(f"{name} is no {kind}")
    if its_version not in versions:
        told = its_version[:20] if isinstance(its_version, str) else "none"
        raise FileUnreadable(
            f"{name} is a {kind} of version {told}, this program reads {' and '.join(versions)}: make it again"
        )
    if _ESCAPED_HALF.search(content) and not _is_text(document):
        raise FileUnreadable(f"{name} is no {kind}: it has half a character; make it again")
    if checksum != _checksum(document):
        raise FileAltered(f"{name} was edited by hand, or cut off: its checksum does not fit; make it again")
    return document


def _is_text(document: object) -> bool:
    """Return whether no text has half of a surrogate pair, but for those that stand for bytes of paths (PEP 383)."""
    try:
        json.dumps(document, ensure_ascii=False).encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _checksum(fields: Mapping[str, object]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
