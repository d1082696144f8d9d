"""The specs as a commit has them, from repositories of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.errors import ExitCode, RevisionUnreadable
from reconciler.git_tree import laid_out
from tests.unit.review.repository import commit, git, make_repository

EMPTY = {"specs/a.yaml": "networks: {}\n"}


def laid(target: str, folder: Path) -> dict[str, str]:
    with laid_out(target, folder) as found:
        files = [file for file in found.folder.rglob("*") if file.is_file()]
        return {str(file.relative_to(found.folder)): file.read_bytes()[:100].decode() for file in files}


def refusal(target: str, folder: Path) -> str:
    with pytest.raises(RevisionUnreadable) as raised, laid_out(target, folder):
        pass
    assert raised.value.exit_code is ExitCode.BAD_SPECS
    return str(raised.value)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    more = {"specs/deep/b.yaml.j2": "networks: {b: {}}\n", "specs/notes.txt": "none\n", "other/c.yaml": "{}\n"}
    return make_repository(tmp_path / "repo", EMPTY, more, {"specs/a.yaml": "networks: {a: {}}\n"})


def test_the_files_of_a_commit_are_laid_out_and_the_checkout_is_left_alone(repository: Path) -> None:
    (repository / "specs/a.yaml").write_text("edited\n")
    index = (repository / ".git/index").read_bytes()

    assert laid("HEAD~2", repository / "specs") == {"a.yaml": "networks: {}\n"}
    assert laid("HEAD", repository / "specs") == {
        "a.yaml": "networks: {a: {}}\n",
        "deep/b.yaml.j2": "networks: {b: {}}\n",
    }
    assert laid("main:other", repository / "specs") == {"c.yaml": "{}\n"}
    with laid_out("HEAD", repository / "specs") as found:
        folder = found.folder
    assert not folder.parent.exists()
    assert (repository / ".git/index").read_bytes() == index
    assert (repository / "specs/a.yaml").read_text() == "edited\n"


def test_no_program_that_a_repository_names_is_run(repository: Path, tmp_path: Path) -> None:
    """As its configuration may name them, of a clone that somebody else prepared: hooks, filters, a monitor of files, a pager."""
    trap, marker = repository / "trap", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    trap.chmod(0o755)
    commit(repository, {".gitattributes": "*.yaml filter=evil diff=evil merge=evil\n"})
    for key in (
        *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "diff.external"),
        *("filter.evil.smudge", "filter.evil.clean", "filter.evil.process", "diff.evil.textconv", "credential.helper"),
    ):
        git(repository, "config", key, str(trap))
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "fsmonitor-watchman"):
        (repository / ".git" / "hooks").mkdir(exist_ok=True)
        (repository / ".git" / "hooks" / hook).symlink_to(trap)
    git(repository, "status")
    assert marker.exists(), "the traps work"
    marker.unlink()

    assert "a.yaml" in laid("HEAD", repository / "specs")
    assert not marker.exists()


@pytest.mark.parametrize("revision", ["nope", "--help", "-h", "HEAD~9", "main^{tree}", "0" * 40])
def test_a_revision_that_is_none_is_refused(repository: Path, revision: str) -> None:
    assert "name a commit, tag or branch" in refusal(revision, repository / "specs")


def test_specs_that_are_new_are_compared_with_none(repository: Path) -> None:
    commit(repository, {"later/a.yaml": "networks: {}\n"})

    assert laid("HEAD~1", repository / "later") == {}
    assert laid("HEAD", repository / "later") == {"a.yaml": "networks: {}\n"}


def test_what_else_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    assert "git cannot read" in refusal("HEAD:nowhere", repository / "specs")
    assert "is no folder" in refusal("HEAD:specs/a.yaml", repository / "specs")
    assert "not a git repository" in refusal("HEAD", tmp_path)
    assert "is not there" in refusal("HEAD", tmp_path / "nothing")


def test_a_clone_without_history_says_how_to_have_it(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "shallow")

    assert "fetch-depth: 0" in refusal("HEAD~1", tmp_path / "shallow/specs")
    assert "a.yaml" in laid("HEAD", tmp_path / "shallow/specs")


def test_symbolic_links_that_may_be_specs_are_refused_and_others_do_not_matter(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", EMPTY)
    (repository / "specs/readme").symlink_to("/etc/passwd")
    commit(repository, {})
    assert laid("HEAD", repository / "specs") == {"a.yaml": "networks: {}\n"}

    (repository / "specs/evil.yaml").symlink_to("/etc/passwd")
    commit(repository, {})
    assert "evil.yaml is a symbolic link" in refusal("HEAD", repository / "specs")

    (repository / "specs/evil.yaml").unlink()
    (repository / "common").mkdir()
    (repository / "specs/more").symlink_to("../common")
    commit(repository, {"common/b.yaml": "{}\n"})
    assert "symbolic link" in refusal("HEAD", repository / "specs")


def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", EMPTY)
    blob = git(repository, "hash-object", "-w", "--stdin", given=b"{}\n")
    inner = git(repository, "mktree", given=f"100644 blob {blob}\tx.yaml\n".encode())
    for name in ("..", "."):
        # As fsck would refuse, and whoever writes objects by hand can make.
        tree = bytes.fromhex(inner)
        content = f"40000 {name}\0".encode() + tree
        outer = git(repository, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", given=content)
        made = git(repository, "commit-tree", "-m", "evil", outer)
        assert "no path inside a folder" in refusal(f"{made}:", repository)


def test_trees_that_stand_for_billions_of_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten trees of ten: some hundred bytes, of which git lists files without end."""
    monkeypatch.setattr("reconciler.git_tree._LISTING_MAX", 1 << 20)
    repository = make_repository(tmp_path / "repo", EMPTY)
    entry = f"100644 blob {git(repository, 'hash-object', '-w', '--stdin', given=b'{}')}\t{{}}.yaml\n"
    for _ in range(10):
        tree = git(repository, "mktree", given="".join(entry.format(n) for n in range(10)).encode())
        entry = f"040000 tree {tree}\t{{}}\n"
    made = git(repository, "commit-tree", "-m", "bomb", tree)

    assert "more than 1 MiB of files" in refusal(f"{made}:", repository)


def test_one_file_that_stands_in_many_places_is_counted_in_each(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", EMPTY)
    blob = git(repository, "hash-object", "-w", "--stdin", given=b"#" * (1 << 20))
    entries = "".join(f"100644 blob {blob}\t{number}.yaml\n" for number in range(33))
    made = git(repository, "commit-tree", "-m", "bomb", git(repository, "mktree", given=entries.encode()))

    assert "more than 32 MiB of specs" in refusal(f"{made}:", repository)


@pytest.mark.parametrize("path", ["/".join("a" * 18), "b" * 256])
def test_paths_that_no_folder_of_specs_has_are_refused(tmp_path: Path, path: str) -> None:
    repository = make_repository(tmp_path / "repo", EMPTY)
    entry = f"100644 blob {git(repository, 'hash-object', '-w', '--stdin', given=b'{}')}\t"
    for name in reversed(f"{path}.yaml".split("/")):
        tree = git(repository, "mktree", given=f"{entry}{name}\n".encode())
        entry = f"040000 tree {tree}\t"
    made = git(repository, "commit-tree", "-m", "long", tree)

    assert "no path inside a folder of specs" in refusal(f"{made}:", repository)


def test_a_file_that_is_too_large_is_seen_as_that(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repo", {"specs/a.yaml": "#" * ((1 << 20) + 1)})

    with laid_out("HEAD", repository / "specs") as found:
        assert (found.folder / "a.yaml").stat().st_size == (1 << 20) + 1
