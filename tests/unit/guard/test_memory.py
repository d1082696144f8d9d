"""What the state folder remembers: good specs, suspensions, and files that are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import KernelError
from reconciler.guard.last_good import (
    LastGood,
    Verified,
    read_last_good,
    read_verified,
    write_last_good,
    write_verified,
)
from reconciler.guard.state_file import read_fields, write_fields
from reconciler.guard.suspension import EVERYTHING, Suspension, resume, suspend, suspensions
from reconciler.guard.trial_record import Trial, current_boot, read_trial, since_boot, write_trial
from reconciler.model.identifiers import NsRef
from reconciler.spec.files import SpecText, read_folder
from reconciler.spec.load import load_specs, load_texts
from tests.limits import few_descriptors

A, B, C = ((SpecText(f"{name}.yaml", f"networks: {{{name}: {{}}}}\n"),) for name in "abc")
FIRST = LastGood(versions={"a": A}, current="a")


def test_last_good_and_the_one_before_are_kept_and_no_others() -> None:
    third = FIRST.followed_by("b", B, ()).followed_by("c", C, ())

    assert (third.current, third.previous, sorted(third.versions)) == ("c", "b", ["b", "c"])


def test_versions_that_a_kept_network_needs_outlive_the_others() -> None:
    third = FIRST.followed_by("b", B, ["x"]).followed_by("c", C, ["x"])
    fourth = third.followed_by("d", A, ())

    assert third.kept == {"x": "a"}
    assert sorted(third.versions) == ["a", "b", "c"]
    assert third.versions_of(["x", "y"]) == {"a": {"x"}, "c": {"y"}}
    assert (fourth.kept, sorted(fourth.versions)) == ({}, ["c", "d"])


def test_same_specs_again_change_nothing() -> None:
    second = FIRST.followed_by("b", B, ())

    assert second.followed_by("b", B, ()) == second
    assert second.followed_by("b", B, ["x"]) == second


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    last = FIRST.followed_by("b", (SpecText("v.yaml", "é: 1\n", False, True), SpecText("t.yaml.j2", "", True)), ["x"])
    verified = Verified(digest="d", place="p", kept=("x",), sandboxes={NsRef("netns:web"): 4026531840})
    trial = Trial(id="1", digest="d", texts=A, deadline=since_boot() + 60, boot=current_boot(), kept={"x": "a"})
    write_last_good(tmp_path, last)
    write_verified(tmp_path, verified)
    write_trial(tmp_path, trial)

    assert read_last_good(tmp_path) == last
    assert read_verified(tmp_path) == verified
    assert read_trial(tmp_path) == trial
    assert not trial.is_over()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last-good.json", "trial.json", "verified.json"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"current": 3, "versions": []}', "\xff"]
)
def test_damaged_files_count_as_none_and_are_told(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("last-good.json", "suspensions.json"):
        (tmp_path / name).write_text(content, encoding="latin-1")

    assert read_last_good(tmp_path) is None
    assert suspensions(tmp_path, 0) == ()
    assert "is damaged" in caplog.text or content.startswith('{"current"')


def test_what_is_suspended_is_not_forgotten_for_want_of_a_descriptor(tmp_path: Path) -> None:
    suspend(tmp_path, [suspension("a")], 0)

    with few_descriptors(), pytest.raises(KernelError, match=r"read .*suspensions.json"):
        suspensions(tmp_path, 0)
    assert [each.network for each in suspensions(tmp_path, 0)] == ["a"]


def test_crash_between_write_and_rename_harms_nobody(tmp_path: Path) -> None:
    write_fields(tmp_path / "x.json", {"a": 1})
    (tmp_path / ".x.json.tmp").write_text("half of")

    assert read_fields(tmp_path / "x.json") == {"a": 1}
    write_fields(tmp_path / "x.json", {"a": 2})
    assert read_fields(tmp_path / "x.json") == {"a": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_what_cannot_be_put_in_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()

    with pytest.raises(KernelError, match="move away what stands there"):
        write_fields(tmp_path / "x.json", {})

    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(KernelError, match=r"x\.json"):
        write_fields(tmp_path / "file" / "x.json", {})


def test_trial_of_another_boot_is_over() -> None:
    trial = Trial(id="1", digest="d", texts=(), deadline=since_boot() + 60, boot="another")

    assert trial.is_over()


def suspension(network: str, until: float = 0.0, reason: str = "why") -> Suspension:
    return Suspension(network=network, actor="root", reason=reason, since=10.0, until=until)


def test_suspensions_add_up_are_replaced_end_and_expire(tmp_path: Path) -> None:
    suspend(tmp_path, [suspension("a"), suspension("b", until=20.0)], 10.0)
    suspend(tmp_path, [suspension("a", reason="another"), suspension(EVERYTHING)], 11.0)

    assert [one.network for one in suspensions(tmp_path, 19.9)] == [EVERYTHING, "a", "b"]
    assert [one.reason for one in suspensions(tmp_path, 20.0)] == ["why", "another"]
    assert resume(tmp_path, ["a", "z"], 21.0) == ("a",)
    assert resume(tmp_path, (), 21.0) == (EVERYTHING,)
    assert resume(tmp_path, (), 21.0) == ()
    assert list(tmp_path.iterdir()) == []


def test_texts_say_what_the_folder_said(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("name: web\n")
    (tmp_path / "a.yaml.j2").write_text("networks: {'{{ name }}': {}}\n")
    (tmp_path / "b.yaml").write_text("\ufeffnetworks: {other: {bogus: 1}}\n")

    loaded = load_specs(tmp_path, host="alpha")
    again = load_texts(loaded.texts, host="alpha", digest=loaded.digest)

    assert loaded.texts == read_folder(tmp_path, host="alpha").texts
    assert again.wanted == loaded.wanted
    assert [str(fault) for fault in again.faults] == [str(fault) for fault in loaded.faults]
    assert again.digest == loaded.digest
