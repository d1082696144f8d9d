"""Whether the kernel's queue may have run over, of which watchfiles does not tell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.kernel import notifier
from reconciler.kernel.notifier import PathNotifier
from tests.waiting import eventually


def test_a_queue_that_was_full_may_have_run_over_and_a_quiet_one_has_not(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.touch()
    other.touch()
    watching = PathNotifier([str(tmp_path)])
    assert eventually(watching.may_have_lost), "nobody has looked yet"
    assert eventually(lambda: not watching.may_have_lost())
    list(tmp_path.iterdir())
    assert not watching.may_have_lost(), "a look makes events itself"

    for _ in range(
        int(notifier._QUEUE_LENGTH.read_text()) // 2
    ):  # one event a call: the kernel drops what repeats the last
        os.utime(one)
        os.utime(other)

    assert eventually(watching.may_have_lost)
    assert not watching.may_have_lost()
    watching.close()


def test_who_cannot_tell_may_always_have_lost_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifier, "_THREAD", "another")
    watching = PathNotifier([str(tmp_path)])

    assert watching.may_have_lost()
    assert watching.may_have_lost()
    watching.close()
