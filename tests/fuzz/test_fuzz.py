"""Each border takes its kept inputs, and some others made of them, always the same: nothing is found. `make fuzz` tries more."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.bounds import Bounds, Finding
from tests.fuzz.corpus import BYTES_MAX, KEPT, folder_of, kept
from tests.fuzz.mended import MENDED
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

TESTS = Path(__file__).parent.parent
CPU_S = 30.0
"""Of the processor, for one input: coverage, a debugger or a slow machine may take many times as long."""


def found(bounds: Bounds, data: bytes) -> Finding | None:
    finding = bounds.tried(data)
    if finding is not None:  # so that it plays again: python -m tests.fuzz --replay TARGET FILE
        print(f"{finding.text}\n\ninput: {data!r}")
    return finding


@pytest.mark.apart
@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_nothing_is_found(target: Target) -> None:
    inputs = kept(target)
    random = Random(hashlib.sha256(target.name.encode()).digest())
    with Bounds(target, cpu_s=CPU_S) as bounds:
        assert [data for data in inputs if found(bounds, data)] == []
        for _ in range(target.runs):
            assert found(bounds, mutated(target, random.choice(inputs), inputs, random)) is None


LONG = {
    "status files": b'{"networks": {"' + b"0" * 100_000 + b'": {}}, "labels": ["' + b"0" * 100_000 + b'=x"]}',
    "formatting": b"a: b\n" + b"\r" * 300_000 + b"x: y\n",
    "import compose": b"services: {}\n==== .env\n" + b"".join(b"A%d=$A\n" % number for number in range(100_000)),
}
"""As long as files may be, and once a cost with the square of that, which no input of some kB shows."""


@pytest.mark.parametrize("name", LONG)
def test_nothing_costs_with_the_square_of_its_length(name: str) -> None:
    with Bounds(TARGETS[name], cpu_s=CPU_S / 3) as bounds:
        assert found(bounds, LONG[name]) is None


def test_kept_inputs_are_few_small_and_of_a_target() -> None:
    folders = {folder_of(KEPT, name).name for name in TARGETS}

    assert {folder.name for folder in KEPT.iterdir()} <= folders
    for folder in KEPT.iterdir():
        assert sum(path.stat().st_size for path in folder.iterdir()) <= BYTES_MAX


@pytest.mark.parametrize(("border", "what", "test"), MENDED)
def test_what_was_mended_is_of_a_border_and_kept_out_by_a_test(border: str, what: str, test: str) -> None:
    path, _, name = test.partition("::")

    assert border in TARGETS
    assert f"def {name}(" in (TESTS / path).read_text(), what
