"""An archive is there whole or not at all, and replaces nothing unasked."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from reconciler.doctor.archive import refuse_present, write_archive
from reconciler.errors import ReconcilerError


def test_it_holds_its_members_in_a_folder_of_its_name_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"

    write_archive(file, {"README": "r", "specs/a.yaml": "\ud800"}, is_replacing=False)

    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as archive:
        assert archive.getnames() == ["report/README", "report/specs/a.yaml"]
    assert [*tmp_path.iterdir()] == [file]


def test_a_file_that_is_there_is_replaced_on_request_alone(tmp_path: Path) -> None:
    file = tmp_path / "report.tar.gz"
    file.symlink_to("nowhere")

    for refused in (
        lambda: refuse_present(file, is_replacing=False),
        lambda: write_archive(file, {}, is_replacing=False),
    ):
        with pytest.raises(ReconcilerError, match="--force"):
            refused()
    write_archive(file, {"README": "r"}, is_replacing=True)

    assert tarfile.is_tarfile(file)
    assert not file.is_symlink()
    assert [*tmp_path.iterdir()] == [file]


def test_where_nothing_can_be_written_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    for file in (tmp_path / "none" / "x", tmp_path / "folder"):
        with pytest.raises(ReconcilerError, match="cannot be written"):
            write_archive(file, {}, is_replacing=True)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
