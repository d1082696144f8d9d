"""Spec files are read again only where they may hold something else."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec.structs import replace

from reconciler.spec import files
from reconciler.spec.files import SpecFolder, _stamp, read_folder
from reconciler.spec.load import load_specs
from tests.limits import few_descriptors


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
    written = (tmp_path / "a.yaml").stat().st_mtime_ns
    monkeypatch.setattr(time, "time_ns", lambda: written + 10**9)

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


@pytest.fixture
def led_outside(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of specs, and a file outside of it that is read there by a link."""
    folder, file = tmp_path / "specs" / "team", tmp_path / "secret.yaml"
    folder.mkdir(parents=True)
    file.write_text("token: abc")
    (folder / "a.yaml").symlink_to(file)
    return folder.parent, file


def test_who_can_put_a_link_there_has_no_file_read_that_is_anothers(led_outside: tuple[Path, Path]) -> None:
    folder, _ = led_outside
    assert [text.text for text in read_folder(folder, host="alpha").texts] == ["token: abc"]

    (folder / "team").chmod(0o777)
    (folder / "team" / "here.yaml").symlink_to("there.yaml")
    (folder / "team" / "there.yaml").write_text("a: 1")
    found = read_folder(folder, host="alpha")

    assert [text.text for text in found.texts] == ["a: 1", "a: 1"]
    assert [fault.file for fault in found.faults] == [str(folder / "team" / "a.yaml")]
    assert "leads out of the folder" in found.faults[0].message
    assert "abc" not in found.faults[0].message


def test_a_link_leads_out_to_files_of_whoever_put_it(
    led_outside: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = led_outside
    link, stranger, really = folder / "team" / "a.yaml", 4321, (os.lstat, os.fstat)

    def owned(status: os.stat_result, uid: int) -> os.stat_result:
        times = {"st_mtime_ns": status.st_mtime_ns, "st_ctime_ns": status.st_ctime_ns}
        return os.stat_result((*status[:4], uid, *status[5:10]), times)

    monkeypatch.setattr(os, "lstat", lambda path: owned(really[0](path), stranger if path == str(link) else 0))
    for owner, is_read in ((stranger, True), (0, False), (stranger + 1, False)):
        monkeypatch.setattr(os, "fstat", lambda fd, owner=owner: owned(really[1](fd), owner))
        assert bool(read_folder(folder, host="alpha").texts) is is_read


def test_what_cannot_be_read_for_the_moment_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    (tmp_path / "a.yaml").write_text("networks: {}\n")
    with few_descriptors():
        (unlisted,) = read_folder(tmp_path, host="alpha").faults
    (missing,) = read_folder(tmp_path / "nowhere", host="alpha").faults
    monkeypatch.setattr(files, "opened", refuse)
    (unread,) = read_folder(tmp_path, host="alpha").faults

    assert (unlisted.is_retryable, unread.is_retryable, missing.is_retryable) == (True, True, False)


def test_of_more_files_than_are_read_none_is_left_out_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its networks would go. They count together, whichever folder they are in."""
    monkeypatch.setattr(files, "FILES_MAX", 3)
    for name in ("vars.yaml", "one/a.yaml", "one/b.yaml", "two/c.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert len(read_folder(tmp_path, host="alpha").texts) == 4

    (tmp_path / "two/d.yaml").write_text("{}")
    found = read_folder(tmp_path, host="alpha")

    assert "more than 3 spec files" in str(found.faults[0])
    assert not found.is_listed


def test_more_bytes_than_are_read_are_a_fault_also_when_they_were_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ALL_BYTES_MAX", 300)
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text("#" * 100)
        os.utime(tmp_path / f"{name}.yaml", (0, 0))
    monkeypatch.setattr(files, "_SETTLED_NS", -(10**18))
    before = read_folder(tmp_path, host="alpha")
    assert before.is_listed

    (tmp_path / "c.yaml").write_text("#" * 101)
    for known in ({}, before.read):
        found = read_folder(tmp_path, host="alpha", known=known)
        assert "MiB of spec files" in str(found.faults[0])
        assert not found.is_listed
