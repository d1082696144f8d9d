"""Spec files are read again only where they may hold something else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.spec.files import SpecFolder, _stamp, read_folder
from reconciler.spec.load import load_specs


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what has so much time go by that the files count as settled."""

    def pass_by() -> None:
        now = time.time_ns() + 10**10
        monkeypatch.setattr(time, "time_ns", lambda: now)

    return pass_by


def opened(monkeypatch: pytest.MonkeyPatch, folder: Path, before: SpecFolder) -> tuple[list[str], SpecFolder]:
    """Read the folder again; give the names of the files that were opened for it."""
    names, really_open = [], os.open

    def counting(path: str, *args: int, **more: int | None) -> int:
        names.append(os.path.basename(path))
        return really_open(path, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", counting)
        found = read_folder(folder, host="alpha", known=before.read)
    return names, found


def test_file_that_was_just_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")

    before = read_folder(tmp_path, host="alpha")

    assert opened(monkeypatch, tmp_path, before) == (["a.yaml"], before)


def test_settled_files_are_not_read_again_but_for_one_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: Callable[[], None]
) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(f"{name}: 1")
    later()
    before = read_folder(tmp_path, host="alpha")
    same = opened(monkeypatch, tmp_path, before)
    (tmp_path / "new").write_text("b: 2")
    os.replace(tmp_path / "new", tmp_path / "b.yaml")
    names, after = opened(monkeypatch, tmp_path, before)

    assert same == ([], before)
    assert names == ["b.yaml"]
    assert after == read_folder(tmp_path, host="alpha")
    assert after.digest != before.digest


def test_names_begin_with_the_folder_as_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text("a: 1")
    monkeypatch.chdir(tmp_path)

    for folder, shown_as, name in ((".", None, "sub/a.yaml"), ("sub", None, "sub/a.yaml"), ("sub", "x", "x/a.yaml")):
        found = read_folder(Path(folder), host="alpha", shown_as=Path(shown_as) if shown_as else None)
        assert [text.name for text in found.texts] == [name]


def test_who_doubts_the_times_has_every_file_read_again(tmp_path: Path, later: Callable[[], None]) -> None:
    (tmp_path / "a.yaml").write_text("networks: {a: {}}")
    later()
    before = load_specs(tmp_path, host="alpha")
    times = os.stat(tmp_path / "a.yaml")
    kept = before.known.files[str(tmp_path / "a.yaml")]
    (tmp_path / "a.yaml").write_text("networks: {b: {}}")
    known = {str(tmp_path / "a.yaml"): replace(kept, stamp=_stamp(os.stat(tmp_path / "a.yaml")))}
    deceived = replace(before, known=replace(before.known, files=known))

    assert times.st_size == os.stat(tmp_path / "a.yaml").st_size
    assert [n.name for n in load_specs(tmp_path, host="alpha", previous=deceived).wanted.networks][:1] == ["a"]
    unread = load_specs(tmp_path, host="alpha", previous=deceived.unread())
    assert [n.name for n in unread.wanted.networks][:1] == ["b"]
