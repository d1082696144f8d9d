from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.errors import ConfigError
from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork, NotCarried
from reconciler.importing.write import file_texts, stream_text, write_folder
from reconciler.spec.load import load_specs

IMPORTED = Imported(
    networks=(ImportedNetwork(name="front", body={"internal": True}, source="network front"),),
    attachments=(ImportedAttachment(name="web", body={"networks": ["front"]}, source="container web"),),
    not_carried=(NotCarried(where="engine", what="swarm", why="there is none here"),),
)
COMMAND = "reconcile import test"


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_of_two_files_loads(tmp_path: Path) -> None:
    write_folder(file_texts(IMPORTED, COMMAND), tmp_path / "deep" / "specs")

    loaded = load_specs(tmp_path / "deep" / "specs", host="here")
    assert loaded.faults == ()
    assert names(tmp_path / "deep") == ["specs"]
    assert [network.name for network in loaded.wanted.networks if network.is_internal] == ["front"]
    assert [attachment.name for attachment in loaded.wanted.attachments] == ["web"]
    assert "# not carried: swarm (engine): there is none here\nnetworks:" in stream_text(IMPORTED, COMMAND)


def test_what_an_import_left_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "specs"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(folder)

    write_folder(file_texts(IMPORTED, COMMAND), link)
    write_folder(file_texts(Imported(attachments=IMPORTED.attachments), COMMAND), folder)

    assert names(folder) == ["attachments.yaml"]
    assert names(tmp_path) == ["link", "specs"]


@pytest.mark.parametrize("name", ["mine.yaml", ".git", "networks.yaml"])
def test_what_somebody_else_put_there_or_edited_is_never_lost(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "specs"
    write_folder(file_texts(IMPORTED, COMMAND), folder)
    with (folder / name).open("a") as file:
        file.write("# mine\n")

    with pytest.raises(ConfigError, match=f"{name} was not written by an import, or edited since: name another folder"):
        write_folder(file_texts(IMPORTED, COMMAND), folder)

    assert (folder / name).read_text().endswith("# mine\n")


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "specs"
    write_folder(file_texts(IMPORTED, COMMAND), folder)
    before = {path.name: path.read_text() for path in folder.iterdir()}

    def refused(descriptor: int) -> None:
        raise InterruptedError

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(Exception, match="cannot be written"):
        write_folder(file_texts(Imported(), COMMAND), folder)

    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    assert names(tmp_path) == ["specs"]


def test_nothing_is_a_file_that_says_so(tmp_path: Path) -> None:
    write_folder(file_texts(Imported(not_carried=IMPORTED.not_carried), "reconcile import `x\ny`"), tmp_path / "specs")

    (path,) = (tmp_path / "specs").iterdir()
    assert path.read_text().splitlines()[0].startswith("# Written by `reconcile import ?x?y?`; SHA-256")
    assert load_specs(tmp_path / "specs", host="here").faults == ()
