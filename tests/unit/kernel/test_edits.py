"""Writes to files in a folder are told once they are asked for, and that some were lost."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from reconciler.kernel.edits import Edits


def test_writes_in_the_place_are_told_and_renames_are_not(tmp_path: Path) -> None:
    edits = Edits()
    folder = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "a").touch()
    watch = edits.watch(folder)
    assert edits.watch(folder) == watch
    os.close(folder)

    (tmp_path / "a").rename(tmp_path / "b")
    assert edits.take() == []
    (tmp_path / "b").write_text("x")
    assert set(edits.take() or ()) == {(watch, b"b")}
    assert edits.take() == []


def test_what_was_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    overflow = struct.pack("=iIII", -1, 0x4000, 0, 0)
    write = struct.pack("=iIII", 1, 0x2, 0, 16) + b"b".ljust(16, b"\0")
    read = iter((write + overflow, write, b"", write, b""))
    edits = Edits()
    monkeypatch.setattr(edits, "_read", lambda: next(read))

    assert edits.take() is None
    assert edits.take() == [(1, b"b")]


def test_no_descriptor_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed, close = [], os.close
    monkeypatch.setattr(os, "close", lambda fd: (closed.append(fd), close(fd)))
    edits = Edits()
    fd = edits._fd

    del edits

    assert fd in closed
