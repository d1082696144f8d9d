"""What other users of the host can read and write of our files, when the umask keeps nobody from anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.dns import launch
from reconciler.guard.state_file import write_fields
from reconciler.kinds.container_file import Note, write_note
from reconciler.kinds.sandbox_file import _made_folder, _put
from reconciler.model.identifiers import NsRef
from reconciler.status.write import _replace
from reconciler.watch.journal import _append

READ_BY_OTHERS, WRITTEN_BY_OTHERS = 0o044, 0o022


@pytest.fixture(autouse=True)
def lax() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_what_only_we_need_is_read_by_nobody_else_whatever_the_umask(tmp_path: Path) -> None:
    note = Note(path="/x", process=NsRef("pid:1"), before="theirs", ours=("ours",))
    write_fields(tmp_path / "state" / "last-good.json", {"text": "of specs"})
    write_note(tmp_path / "run", "web", "hosts", note)
    launch._write(tmp_path / "run" / "dns", "{}")

    found = modes(tmp_path)
    files = {name for name in found if (tmp_path / name).is_file()}
    assert files == {"state/last-good.json", "run/containers/web/hosts", "run/dns/zones.json"}
    assert {name for name in files if found[name] & (READ_BY_OTHERS | WRITTEN_BY_OTHERS)} == set()
    assert {name for name in found if found[name] & WRITTEN_BY_OTHERS} == set()


def test_what_is_for_all_to_read_is_for_nobody_else_to_write_whatever_the_umask(tmp_path: Path) -> None:
    _append(tmp_path / "state", [{"kind": "applied"}], 1 << 20)
    with _made_folder(tmp_path / "run" / "sandboxes", "web") as folder:
        _put(folder, "hosts", b"")
        _replace(folder, {"web": (b"{}",)})

    found = modes(tmp_path)
    files = {mode for name, mode in found.items() if (tmp_path / name).is_file()}
    assert files == {0o644}
    assert {name for name, mode in found.items() if mode & WRITTEN_BY_OTHERS} == set()
