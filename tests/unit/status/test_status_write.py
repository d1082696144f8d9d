"""Status files on disk: atomic, not rewritten without cause, never outside of their folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.errors import NameConflict, ReconcilerError, kernel_error
from reconciler.model.desired import DesiredState
from reconciler.model.objects import Unit
from reconciler.model.plan import Plan
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.status import revision, write
from reconciler.status.files import Documents, StatusFiles
from reconciler.status.read import InspectedKind, read_documents, resolve
from reconciler.status.revision import KnownRevision, parse_status, specs_revision
from reconciler.status.summary import Revision
from reconciler.status.tell import Status
from reconciler.status.write import StatusFolder, Written, read_summary
from tests.fakes.desired import attachment, endpoint, host_facts, network


def files(*networks: str, attachments: tuple[str, ...] = (), text: str = "[]\n") -> StatusFiles:
    return StatusFiles(
        summary="{}\n", networks=dict.fromkeys(networks, (text.encode(),)), attachments=dict.fromkeys(attachments, text)
    )


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    return {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in sorted(folder.rglob("*.json"))}


def test_repeat_writes_nothing_and_leaves_every_time_of_change(tmp_path: Path) -> None:
    wanted = files("front", "back", attachments=("web",))
    assert StatusFolder(tmp_path).write(wanted) == Written(4, 0)
    before = stamps(tmp_path)

    assert StatusFolder(tmp_path).write(wanted) == Written(0, 0)

    assert stamps(tmp_path) == before


def test_only_the_file_that_differs_is_written(tmp_path: Path) -> None:
    StatusFolder(tmp_path).write(files("front", "back"))
    before = stamps(tmp_path)

    changed = replace(files("front", "back"), networks={"front": (b"[]\n",), "back": (b"[1", b"]\n")})
    assert StatusFolder(tmp_path).write(changed) == Written(1, 0)

    after = stamps(tmp_path)
    assert [file.name for file in after if after[file] != before[file]] == ["back.json"]


def test_file_that_somebody_changed_is_put_back(tmp_path: Path) -> None:
    StatusFolder(tmp_path).write(files("front"))
    (tmp_path / "networks/front.json").write_text("[ ]\n")

    assert StatusFolder(tmp_path).write(files("front")) == Written(1, 0)

    assert (tmp_path / "networks/front.json").read_text() == "[]\n"


@pytest.mark.parametrize("file", ["summary.json", "networks/front.json", "attachments/web.json"])
def test_file_that_somebody_wrote_to_is_missed_until_it_is_put_back(tmp_path: Path, file: str) -> None:
    folder, wanted = StatusFolder(tmp_path, is_followed=True), files("front", attachments=("web",))
    assert not folder.is_as_left()
    folder.write(wanted)
    assert folder.is_as_left()
    (tmp_path / "networks/.draft.json").write_text("of others")
    (tmp_path / "networks/.draft.json").unlink()
    folder.write(wanted)
    assert folder.is_as_left()

    with (tmp_path / file).open("r+") as opened:
        opened.write("{}")  # of the same length for one of them, and not closed yet
        opened.flush()
        assert [folder.is_as_left() for _ in range(2)] == [False, False]

    assert not folder.is_as_left()
    folder.forget()
    assert folder.write(wanted) == Written(0 if file == "summary.json" else 1, 0)
    assert folder.is_as_left()


def test_folder_that_was_put_in_the_place_of_another_is_followed(tmp_path: Path) -> None:
    folder, wanted = StatusFolder(tmp_path, is_followed=True), files("front")
    folder.write(wanted)
    (tmp_path / "networks").rename(tmp_path / "aside")
    assert not folder.is_as_left()
    folder.forget()
    folder.write(wanted)

    (tmp_path / "aside/front.json").write_text("nobody's")
    assert folder.is_as_left()
    (tmp_path / "networks/front.json").write_text("damaged")
    assert not folder.is_as_left()


def test_where_nobody_tells_of_writes_files_are_as_they_were_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise kernel_error(errno.EMFILE, "be told")

    monkeypatch.setattr(write, "Edits", refused)
    folder = StatusFolder(tmp_path, is_followed=True)
    folder.write(files("front"))
    (tmp_path / "networks/front.json").write_text("damaged")
    assert folder.is_as_left()

    (tmp_path / "networks/front.json").unlink()
    assert not folder.is_as_left()


def test_where_writes_may_have_been_lost_all_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StatusFolder(tmp_path, is_followed=True)
    folder.write(files("front"))
    monkeypatch.setattr(write.Edits, "take", lambda _: None)

    assert not folder.is_as_left()


@pytest.mark.parametrize("happens", ["damaged", "removed", "replaced", "all removed"])
def test_status_that_somebody_changed_tells_the_same_again(tmp_path: Path, happens: str) -> None:
    """Times and counters too: the pass that wrote them is remembered, unless another of ours wrote a summary since."""
    status, folder = Status(settings(tmp_path), is_staying=True), tmp_path / "status"
    status.tell(converged(now="t1"), Revision())
    before = {file: file.read_text() for file in sorted(folder.rglob("*.json"))}
    file = folder / "summary.json"
    expected = "t1"
    if happens == "damaged":
        file.write_text(before[file].replace("t1", "t9"))
    elif happens == "removed":
        file.unlink()
    elif happens == "all removed":
        shutil.rmtree(folder)
    else:
        (tmp_path / "other").write_text(before[file].replace("t1", expected := "t2"))
        (tmp_path / "other").rename(file)
    assert not status.is_current()

    status.told(converged(now="t3"))

    assert status.is_current()
    assert {file: file.read_text() for file in before} == before | {file: before[file].replace("t1", expected)}


def test_file_of_a_removed_network_goes_and_foreign_files_stay(tmp_path: Path) -> None:
    StatusFolder(tmp_path).write(files("front", "back", attachments=("web",)))
    foreign = [tmp_path / "networks" / name for name in ("notes.txt", ".hidden.json", "-odd.json")]
    for file in foreign:
        file.write_text("mine")

    assert StatusFolder(tmp_path).write(files("front")) == Written(0, 2)

    assert sorted(os.listdir(tmp_path / "networks")) == sorted(["front.json", *(file.name for file in foreign)])


@pytest.mark.parametrize(
    "kept",
    [{"kept_networks": frozenset({"back"})}, {"is_pruning": False}],
    ids=["its unit failed", "not all specs can be read"],
)
def test_file_stays_when_its_network_was_left_as_it_was(tmp_path: Path, kept: dict[str, object]) -> None:
    StatusFolder(tmp_path).write(files("front", "back"))

    assert StatusFolder(tmp_path).write(replace(files("front"), **kept)) == Written(0, 0)  # type: ignore[arg-type]

    assert (tmp_path / "networks/back.json").exists()


@pytest.mark.parametrize("content", ["precious", "[]\n"], ids=["other content", "same content"])
def test_symlink_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path, content: str) -> None:
    status, outside = tmp_path / "status", tmp_path / "outside"
    StatusFolder(status).write(files())
    outside.write_text(content)
    (status / "networks/front.json").symlink_to(outside)
    (status / "networks/.front.json.tmp").symlink_to(outside)

    StatusFolder(status).write(files("front"))

    assert outside.read_text() == content
    assert not (status / "networks/front.json").is_symlink()


@pytest.mark.parametrize("name", ["../evil", "a/b", ".", "..", "", "-x", "a\n", "x" * 129])
def test_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ReconcilerError, match="not a name"):
        StatusFolder(tmp_path / "status").write(files(name))

    assert not list(tmp_path.rglob("*evil*"))


def test_left_over_temporary_file_of_a_crash_does_no_harm(tmp_path: Path) -> None:
    StatusFolder(tmp_path).write(files())
    (tmp_path / "networks/.front.json.tmp").write_text("half")

    StatusFolder(tmp_path).write(files("front"))

    assert os.listdir(tmp_path / "networks") == ["front.json"]


def test_thousand_files_are_written_whole(tmp_path: Path) -> None:
    names = tuple(f"a{number}" for number in range(1000))

    assert StatusFolder(tmp_path).write(files(attachments=names)).written == 1001

    assert all((tmp_path / f"attachments/{name}.json").read_text() == "[]\n" for name in names)
    assert not list(tmp_path.rglob("*.tmp"))


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("a file in the way")

    with pytest.raises(ReconcilerError, match="status"):
        StatusFolder(tmp_path / "status").write(files("front"))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000], ids=["empty", "list", "half", "bytes", "deep"]
)
def test_damaged_summary_reads_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "summary.json").write_bytes(content)

    assert read_summary(tmp_path) == {}


def converged(*problems: tuple[Unit, ReconcilerError], now: str = "t1") -> Report:
    front = network("front", "10.7.0.0/24")
    web = attachment("web", [endpoint("web", "front", "10.7.0.2/24")])
    desired = DesiredState(host=replace(host_facts(), now=now), networks=(front,), attachments=(web,))
    return Report(desired=desired, plan=Plan(), drift=Plan(problems=problems), digest="d1")


def settings(folder: Path) -> Settings:
    return Settings(host="alpha", specs_dir=folder / "specs", status_dir=folder / "status")


def test_report_is_written_and_read_back(tmp_path: Path) -> None:
    assert Status(settings(tmp_path)).tell(converged(), Revision()) == Written(3, 0)

    found = read_documents(tmp_path / "status", InspectedKind.NETWORK)

    assert [document["Name"] for document in found] == ["front"]
    assert list(found[0]["Containers"]) == [read_documents(tmp_path / "status", InspectedKind.ATTACHMENT)[0]["Id"]]  # type: ignore[arg-type]


def test_later_report_of_the_same_state_writes_nothing(tmp_path: Path) -> None:
    Status(settings(tmp_path)).tell(converged(), Revision())

    assert Status(settings(tmp_path)).tell(converged(now="t2"), Revision()) == Written(0, 0)


def test_git_is_asked_when_specs_are_others_or_all_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def at(folder: Path) -> Revision:
        asked.append(folder)
        return Revision(f"c{len(asked)}")

    monkeypatch.setattr(revision, "specs_revision", at)
    status = Status(settings(tmp_path))

    for digest in ("d1", "d1", "d2"):
        shown = status.told(replace(converged(), digest=digest)).revision
    assert (len(asked), shown) == (2, "c2")

    status.forget()
    assert status.told(replace(converged(), digest="d2")).revision == "c3"


def test_attachment_whose_sandbox_failed_is_not_listed_on_its_network() -> None:
    problem = (Unit(attachment="web"), NameConflict("x"))

    found = Documents({}, netns_dir=Path("/run/netns")).files(converged(problem), Revision())

    assert json.loads(b"".join(found.networks["front"]))[0]["Containers"] == {}


def documents(*pairs: tuple[str, str]) -> list[dict[str, object]]:
    return [{"Name": name, "Id": id_} for name, id_ in pairs]


FULL = "ab" * 32


@pytest.mark.parametrize(
    ("reference", "name"),
    [("one", "one"), (FULL, "two"), ("abab", "abab"), ("cd", "one")],
    ids=["name", "full id", "name before prefix", "prefix"],
)
def test_reference_is_resolved_as_the_engine_does(reference: str, name: str) -> None:
    there = documents(("one", "cd" * 32), ("two", FULL), ("abab", "ef" * 32))

    assert resolve(there, InspectedKind.NETWORK, reference)["Name"] == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("a", r"network a is ambiguous \(2 matches found based on ID prefix\)"),
        ("nope", "No such network: nope"),
        ("", "No such network: "),
    ],
    ids=["ambiguous", "unknown", "empty"],
)
def test_reference_that_fits_none_or_several_is_refused(reference: str, message: str) -> None:
    there = documents(("one", "ab" * 32), ("two", "ac" * 32))

    with pytest.raises(ReconcilerError, match=f"^{message}$"):
        resolve(there, InspectedKind.NETWORK, reference)  # type: ignore[arg-type]


def test_documents_come_in_natural_order(tmp_path: Path) -> None:
    for name in ("net10", "net2", "alpha", "9"):
        (tmp_path / "networks").mkdir(exist_ok=True)
        (tmp_path / f"networks/{name}.json").write_text(json.dumps([{"Name": name, "Id": "x"}]))

    found = read_documents(tmp_path, InspectedKind.NETWORK)

    assert [document["Name"] for document in found] == ["9", "alpha", "net2", "net10"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '[{"Name": 1, "Id": "x"}]', "[1, 2]"])
def test_file_that_is_none_of_ours_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/front.json").write_text(text)

    with pytest.raises(ReconcilerError, match=r"front\.json"):
        read_documents(tmp_path, InspectedKind.NETWORK)


def test_missing_status_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ReconcilerError, match=r"no status below .* yet"):
        read_documents(tmp_path, InspectedKind.NETWORK)


def git(folder: Path, *arguments: str | Path) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")
    done = subprocess.run(("git", *identity, *arguments), cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "a.yaml").write_text("networks: {}\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "specs")
    return tmp_path


def test_revision_is_the_commit_of_the_specs(repository: Path) -> None:
    assert specs_revision(repository / "specs") == Revision(git(repository, "rev-parse", "HEAD"))


@pytest.mark.parametrize("file", ["a.yaml", "new.yaml"], ids=["edited", "untracked"])
def test_revision_is_dirty_when_a_spec_is_not_committed(repository: Path, file: str) -> None:
    (repository / "specs" / file).write_text("networks: {n: {}}\n")

    assert specs_revision(repository / "specs").is_dirty


def test_change_beside_the_specs_leaves_the_revision_clean(repository: Path) -> None:
    (repository / "README").write_text("x")

    assert not specs_revision(repository / "specs").is_dirty


def test_programs_that_a_repository_names_are_not_run(repository: Path) -> None:
    trap = repository / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {repository}/sprung\n")
    trap.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(trap))

    specs_revision(repository / "specs")

    assert not (repository / "sprung").exists()


def test_asking_for_the_revision_writes_nothing_into_the_repository(repository: Path) -> None:
    (repository / "specs/a.yaml").touch()
    before = (repository / ".git/index").stat().st_mtime_ns

    specs_revision(repository / "specs")

    assert (repository / ".git/index").stat().st_mtime_ns == before


def test_specs_outside_of_a_repository_have_no_revision(tmp_path: Path) -> None:
    assert specs_revision(tmp_path) == Revision()


@pytest.mark.parametrize("tree", ["main", "worktree"])
def test_commit_of_what_is_applied_is_known_without_asking_git(
    repository: Path, tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tree == "worktree":
        git(repository, "worktree", "add", "--quiet", repository / "beside")
        repository = repository / "beside"
    asked: list[Path] = []
    monkeypatch.setattr(
        "reconciler.status.revision.specs_revision", lambda folder: (asked.append(folder), specs_revision(folder))[1]
    )
    known = KnownRevision()
    (repository / "specs/a.yaml").write_text("networks: {n: {}}\n")
    first = known.of(repository / "specs", "specs")
    assert first.is_dirty
    assert known.is_current()
    assert known.of(repository / "specs", "specs") == first
    assert len(asked) == 1

    git(repository, "commit", "--quiet", "-a", "-m", "more")

    assert not known.is_current()
    assert known.of(repository / "specs", "specs") == Revision(git(repository, "rev-parse", "HEAD"))
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "nothing")
    assert not known.is_current()
    assert known.of(repository / "specs", "specs") == Revision(git(repository, "rev-parse", "HEAD"))
    assert known.is_current()


def test_git_that_hangs_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = repository / "bin/git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nsleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("reconciler.status.revision._TIMEOUT_S", 0.05)

    assert specs_revision(repository / "specs") == Revision()


def test_repository_without_a_commit_has_no_revision() -> None:
    assert parse_status("# branch.oid (initial)\n# branch.head main\n? a.yaml\n") == Revision("", is_dirty=True)
