"""Places in the specs as a reviewer's checkout has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli import checkout
from reconciler.cli.checkout import in_checkout
from reconciler.model.wanted import Source


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "specs" / "a.yaml"
    made.parent.mkdir()
    made.write_text("networks:\n  a: {}\n")
    return made


def test_a_file_of_the_checkout_is_named_from_its_top(file: Path, tmp_path: Path) -> None:
    found = in_checkout(Source(str(file), 2, 3), {"GITHUB_WORKSPACE": str(tmp_path)})

    assert found == Source("specs/a.yaml", 2, 3)


def test_a_file_beside_the_checkout_keeps_its_path(file: Path, tmp_path: Path) -> None:
    found = in_checkout(Source(str(file), 2, 3), {"GITHUB_WORKSPACE": str(tmp_path / "other")})

    assert found == Source(str(file), 2, 3)


def test_a_line_of_an_older_text_is_not_pointed_at(file: Path, tmp_path: Path) -> None:
    found = in_checkout(Source(str(file), 17, 3), {"GITHUB_WORKSPACE": str(tmp_path)})

    assert found == Source("specs/a.yaml", 0, 0)


def test_a_file_is_read_once_for_all_that_is_said_of_it_and_again_when_it_changes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(checkout, "opened", lambda path: opened.append(path) or Path(path).open("rb"))  # noqa: SIM115

    assert [in_checkout(Source(str(file), line, 1)).line for line in (1, 2, 3, 2)] == [1, 2, 0, 2]
    assert opened == [str(file)]
    file.write_text("networks:\n  a: {}\n  b: {}\n")
    assert in_checkout(Source(str(file), 3, 1)).line == 3


def test_a_file_that_cannot_be_read_keeps_its_line(tmp_path: Path) -> None:
    found = in_checkout(Source(str(tmp_path / "gone.yaml"), 2, 3), {"GITHUB_WORKSPACE": str(tmp_path)})

    assert found == Source("gone.yaml", 2, 3)
