"""Snapshots that somebody made by hand, with a checksum that fits: what no look gives is refused, not worked on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, Literal

import pytest

from reconciler.errors import FileUnreadable
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Address, Unit
from reconciler.records.sealed import sealed
from reconciler.snapshot.typed import is_typed
from reconciler.snapshots import read_snapshot

RECORDED = Path(__file__).parents[2] / "upgrade" / "0.1.0" / "snapshot.json.gz"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        ("a", NsRef, True),
        (None, str | None, True),
        (1, str | None, False),
        (("a", "b"), tuple[str, ...], True),
        (("a", 1), tuple[str, ...], False),
        (("a", 1), tuple[str, int], True),
        (("a",), tuple[str, int], False),
        ("ab", tuple[str, ...], False),
        (frozenset({1}), frozenset[int], True),
        (frozenset({"a"}), frozenset[int], False),
        ({"a": 1}, Mapping[str, int], True),
        ({1: 1}, Mapping[str, int], False),
        ({"a": "1"}, Mapping[str, int], False),
        ("x", Literal["x", "y"], True),
        ([], Literal["x", "y"], False),
        (ip_address("192.0.2.1"), IPv4Address, True),
        ("192.0.2.1", IPv4Address, False),
        (Unit(network="n"), Unit, True),
        (Unit(network=7), Unit, False),  # type: ignore[arg-type]
        ({"anything": [7, None, {"a": True}]}, object, True),
        ({"deep": ({"a": Unit(network="n")},)}, object, False),
        ({1: 1}, object, False),
        (Unit(network="n"), Address | Unit, True),
        (Unit(network=7), Address | Unit, False),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_types_hold_down_to_the_last_part(value: object, kind: Any, expected: bool) -> None:
    assert is_typed(value, kind) == expected


def snapshot() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(RECORDED.read_bytes()))["snapshot"]
    return found


def read(tmp_path: Path, changed: object) -> None:
    file = tmp_path / "snapshot.json"
    file.write_text(sealed("snapshot", "2", {"snapshot": changed}))
    read_snapshot(str(file))


def test_a_true_one_is_read(tmp_path: Path) -> None:
    read(tmp_path, snapshot())


@pytest.mark.parametrize("member", sorted(snapshot().keys() - {""}))
@pytest.mark.parametrize("value", [7, [7], {"": "map", "of": [[7, 7]]}, {"": "KernelError", "args": 7, "fields": []}])
def test_one_with_a_member_of_another_type_is_refused(tmp_path: Path, member: str, value: object) -> None:
    with pytest.raises(FileUnreadable, match="no snapshot"):
        read(tmp_path, {**snapshot(), member: value})


def test_one_that_calls_an_object_by_another_key_is_refused(tmp_path: Path) -> None:
    changed = snapshot()
    changed["facts"]["seen"]["of"][0][0] = []

    with pytest.raises(FileUnreadable, match="no snapshot"):
        read(tmp_path, changed)
