"""Files that are handed on tell by themselves when they are not what was written."""

from __future__ import annotations

import json
from itertools import chain

import pytest

from reconciler.errors import FileAltered, FileUnreadable
from reconciler.records.sealed import sealed, unsealed

FIELDS = {"host": "ünknown", "list": [1, None, {"a": True}]}
TEXT = sealed("saved plan", "1", FIELDS)


def read(text: str, *versions: str) -> object:
    return unsealed("p.json", text.encode(), "saved plan", versions or ("1",))


def test_what_was_written_is_read_however_it_is_laid_out() -> None:
    assert read(TEXT) == FIELDS
    assert read(json.dumps(json.loads(TEXT), sort_keys=True)) == FIELDS


def test_one_that_is_cut_off_is_none() -> None:
    for length in chain(range(0, len(TEXT) - 2, 7), (len(TEXT) - 2,)):
        with pytest.raises(FileUnreadable, match=r"p\.json is no saved plan, or was cut off"):
            read(TEXT[:length])


@pytest.mark.parametrize(
    "change", [("ünknown", "other"), ("true", "false"), ("\n}", ',"more": 1}'), ('"checksum"', '"sum"')]
)
def test_one_that_was_edited_is_told(change: tuple[str, str]) -> None:
    with pytest.raises(FileAltered, match="edited by hand"):
        read(TEXT.replace(*change))


def test_another_kind_or_version_is_named() -> None:
    with pytest.raises(FileUnreadable, match="of version 1, this program reads 3 and 2"):
        read(TEXT, "3", "2")
    with pytest.raises(FileUnreadable, match=r"p\.json is no saved plan$"):
        read(sealed("snapshot", "1", {}))


def test_half_a_character_is_refused_and_bytes_of_paths_are_none() -> None:
    """Paths go on to be quoted, files to be written, and neither takes the half of a pair that no system gives."""
    undecodable = {"specs": "/srv/\udcff", "smile": "\U0001f600"}
    written = sealed("saved plan", "1", undecodable)
    assert read(written) == read(json.dumps(json.loads(written))) == undecodable

    for half in ("\ud800", "a\udbff", "\udfff"):
        made = json.dumps(json.loads(sealed("saved plan", "1", {"deep": [{half: half}]})))
        with pytest.raises(FileUnreadable, match="half a character"):
            read(made)
