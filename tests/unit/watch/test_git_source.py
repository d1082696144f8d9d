"""Specs from a repository: what is fetched, what is refused, and what stays in force meanwhile."""

from __future__ import annotations

import errno
import os
import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import pytest

from reconciler.errors import ConfigError, KernelError, RepositoryUnreachable, RevisionRefused, RevisionUnreadable
from reconciler.git_remote import Repository, parse_remote
from reconciler.settings import Settings
from reconciler.spec import files
from reconciler.status.revision import specs_revision
from reconciler.watch.git_source import GitSource, git_specs_dir
from tests.unit.review.repository import commit, git, make_repository
from tests.waiting import patient

GOOD = {"specs/a.yaml": "networks: {a: {}}\n"}
HOUR_S = 3600.0


class Host:
    """A host whose specs come from a repository."""

    def __init__(self, repository: Path, state_dir: Path, stack: ExitStack) -> None:
        self.repository, self._stack, self._ref = repository, stack, ""
        self.settings = Settings(host="h", state_dir=state_dir, specs_dir=git_specs_dir(state_dir))

    def source(self, keyring: Path | None = None, ref: str = "main:specs") -> GitSource:
        """Begin, as a watcher does; nothing is fetched by the clock."""
        remote = parse_remote(f"{self.repository}#{ref}", is_proved=False)
        goes_on, self._ref = self._ref == ref and self.settings.specs_dir.exists(), ref
        source = self._stack.enter_context(closing(GitSource(self.settings, remote, keyring, HOUR_S)))
        if goes_on:  # else it has looked already
            self.take(source)
        return source

    def stop(self) -> None:
        self._stack.close()

    def take(self, source: GitSource) -> None:
        """Wait until it has news, and take them."""
        select.select([source], [], [], patient(20))
        source.drain()

    def again(self, source: GitSource) -> None:
        source.reloading()
        self.take(source)

    @property
    def specs(self) -> dict[str, str]:
        found = self.settings.specs_dir
        return {path.name: path.read_text() for path in sorted(found.rglob("[!.]*"))}

    @property
    def head(self) -> str:
        return git(self.repository, "rev-parse", "HEAD")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(make_repository(tmp_path / "repo", GOOD), tmp_path / "state", stack)


def test_the_commit_that_a_branch_is_at_is_in_force_and_what_is_bad_is_not(host: Host) -> None:
    source = host.source()
    first = host.head
    assert host.specs == {"a.yaml": "networks: {a: {}}\n"}
    assert (source.commit, source.problem) == (first, None)
    assert str(specs_revision(host.settings.specs_dir)) == first

    commit(host.repository, {"specs/b.yaml": "networks: {b: {intrenal: 1}}\n", "elsewhere/c.yaml": "no specs\n"})
    host.again(source)
    assert isinstance(source.problem, RevisionRefused)
    said = f"commit {host.head[:12]} has faults, and the one before stays in force: b.yaml:1:16: unknown key 'intrenal'"
    assert str(source.problem).startswith(said)
    assert (source.commit, [*host.specs]) == (first, ["a.yaml"])

    commit(host.repository, {"specs/b.yaml": "networks: {b: {}}\n"})
    source.reloading()
    select.select([source], [], [], patient(20))
    assert isinstance(source.problem, RevisionRefused), "over with the commit in force, not before"
    source.drain()
    assert (source.problem, source.commit, [*host.specs]) == (None, host.head, ["a.yaml", "b.yaml"])

    for left in ("shallow.lock", "objects/pack/tmp_pack_x"):
        (host.settings.state_dir / "git" / "repository" / left).write_text("by a git that was killed")
    commit(host.repository, {"specs/b.yaml": "networks: {c: {}}\n"})
    host.again(source)  # may fail once
    if source.problem is not None:
        host.again(source)
    assert (source.problem, source.commit) == (None, host.head)
    second = git(host.repository, "rev-parse", "HEAD~1")

    git(host.repository, "branch", "--move", "main", "gone")
    host.again(source)
    assert isinstance(source.problem, RevisionUnreadable)
    assert str(source.problem) == f"{host.repository} has no main"
    assert [*host.specs] == ["a.yaml", "b.yaml"]
    kept = {path.name for path in (host.settings.state_dir / "git" / "commits").iterdir()}
    assert kept == {source.commit, second}, "nothing piles up"


def test_a_commit_that_cannot_be_linked_is_tried_again(host: Host) -> None:
    source = host.source()
    first, link = host.head, host.settings.specs_dir
    target = link.readlink()
    link.unlink()
    link.mkdir()
    commit(host.repository, {"specs/b.yaml": "networks: {b: {}}\n"})

    host.again(source)

    assert isinstance(source.problem, KernelError)
    assert source.commit == first
    assert not link.with_name("specs.tmp").is_symlink()

    link.rmdir()
    link.symlink_to(target)
    host.again(source)

    assert (source.problem, source.commit, [*host.specs]) == (None, host.head, ["a.yaml", "b.yaml"])


def test_a_commit_that_could_not_be_read_is_judged_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the next commit or SIGHUP, it was."""

    def refuse(path: str) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    source = host.source()
    commit(host.repository, {"specs/a.yaml": "networks: {b: {}}\n"})
    with monkeypatch.context() as patched:
        patched.setattr(files, "opened", refuse)
        host.again(source)
    assert type(source.problem) is RevisionUnreadable
    assert str(source.problem).endswith("stays in force: a.yaml:0:0: cannot be read: Input/output error")

    source._wake.set()  # as the clock does
    host.take(source)

    assert (source.problem, source.commit) == (None, host.head)


def test_offline_goes_on_with_what_there_is_also_after_a_restart(host: Host, tmp_path: Path) -> None:
    host.source()
    host.stop()
    away = host.repository.rename(tmp_path / "away")

    source = host.source()
    assert isinstance(source.problem, RepositoryUnreachable)
    assert [*host.specs] == ["a.yaml"]
    assert source.commit == git(away, "rev-parse", "HEAD")
    away.rename(host.repository)
    host.again(source)
    assert source.problem is None
    host.stop()

    other = host.source(ref="nowhere:specs")
    assert isinstance(other.problem, RevisionUnreadable)
    assert (other.commit, os.path.lexists(host.settings.specs_dir)) == ("", False), (
        "another ref's specs are not what is asked for"
    )


@pytest.fixture
def signers(tmp_path: Path) -> Callable[[str], tuple[Path, tuple[str, ...]]]:
    def make(name: str) -> tuple[Path, tuple[str, ...]]:
        """Give a file of allowed signers with a new key, and what has git sign with it."""
        key = tmp_path / name
        subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key), check=True)
        keyring = tmp_path / f"{name}.signers"
        keyring.write_text(f"t@example.invalid {key.with_suffix('.pub').read_text()}")
        return keyring, ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")

    return make


def test_only_what_is_signed_by_somebody_known_is_in_force(
    host: Host, signers: Callable[[str], tuple[Path, tuple[str, ...]]]
) -> None:
    keyring, sign = signers("known")
    _, forge = signers("unknown")

    source = host.source(keyring)
    assert str(source.problem).startswith(f"commit {host.head[:12]} is not signed by anybody in {keyring}: ")
    assert source.commit == ""
    git(host.repository, *forge, "commit", "--quiet", "--allow-empty", "-S", "-m", "forged")
    host.again(source)
    assert (type(source.problem), source.commit) == (RevisionRefused, "")
    git(host.repository, *sign, "commit", "--quiet", "--allow-empty", "-S", "-m", "signed")
    host.again(source)
    assert (source.problem, source.commit) == (None, host.head)

    commit(host.repository, GOOD)  # unsigned, but with a signed tag
    git(host.repository, *sign, "tag", "-s", "v1", "-m", "one")
    host.stop()
    assert host.source(keyring, ref="v1:specs").commit == host.head


def test_who_answers_in_the_servers_place_leaves_the_last_good_commit_in_force(
    host: Host,
    tmp_path: Path,
    signers: Callable[[str], tuple[Path, tuple[str, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether he has another repository, of nobody's or of his own signature, or keeps silent."""
    keyring, sign = signers("known")
    _, forge = signers("unknown")
    git(host.repository, *sign, "commit", "--quiet", "--allow-empty", "-S", "-m", "signed")
    source, good = host.source(keyring), host.head
    assert source.commit == good
    host.repository.rename(tmp_path / "away")
    make_repository(host.repository, {"specs/a.yaml": "networks: {evil: {}}\n"})

    for more in ((), forge):
        git(host.repository, *more, "commit", "--quiet", "--allow-empty", *(["-S"] if more else []), "-m", "evil")
        host.again(source)
        assert isinstance(source.problem, RevisionRefused)
        assert (source.commit, host.specs) == (good, {"a.yaml": "networks: {a: {}}\n"})

    monkeypatch.setattr("reconciler.git_remote.FETCH_S", patient(0.5))
    head = host.repository / ".git" / "HEAD"
    head.unlink()
    os.mkfifo(head)
    host.again(source)
    assert isinstance(source.problem, RepositoryUnreachable)
    assert (source.commit, host.specs) == (good, {"a.yaml": "networks: {a: {}}\n"})


def test_a_server_that_talks_without_end_is_not_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says to people comes to us as git passes it on."""
    monkeypatch.setenv("GIT_SSH_COMMAND", "sh -c 'yes blah >&2'")
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    repository = Repository(tmp_path / "held", parse_remote("t@example.invalid:specs", is_proved=True), None)

    with pytest.raises(RepositoryUnreachable, match="git says more than 1 MiB"):
        repository.fetch()


def test_openpgp_keys_are_a_keyring_too(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "g"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    generate = ("gpg", "--batch", "--passphrase", "", "--quick-gen-key", "t@example.invalid", "ed25519", "sign", "0")
    try:
        subprocess.run(generate, check=True, capture_output=True)
        git(
            host.repository,
            "-c",
            "gpg.format=openpgp",
            "commit",
            "--allow-empty",
            "-q",
            "-St@example.invalid",
            "-m",
            "signed",
        )
        keys = subprocess.run(("gpg", "--armor", "--export"), check=True, capture_output=True).stdout
    finally:
        subprocess.run(("gpgconf", "--kill", "all"), check=True)
    keyring = tmp_path / "keys.asc"
    keyring.write_bytes(keys)
    monkeypatch.delenv("GNUPGHOME")

    assert host.source(keyring).commit == host.head
    commit(host.repository, GOOD)
    assert str(host.source(keyring).problem).startswith(f"commit {host.head[:12]} is not signed by anybody")


def test_nothing_of_a_repository_takes_effect_but_its_spec_files(host: Host, tmp_path: Path) -> None:
    specs, marker = host.repository / "specs", tmp_path / "ran"
    hook = f"#!/bin/sh\ntouch {marker}\n"
    commit(
        host.repository,
        {".gitattributes": "*.yaml filter=evil\n", "specs/run.sh": hook, "specs/.reconcile-commit": "lie\n"},
    )
    git(host.repository, "config", "uploadpack.packObjectsHook", f"touch {marker};")
    git(host.repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},specs/module")
    git(host.repository, "commit", "--quiet", "-m", "module")

    source = host.source()
    assert (source.problem, [*host.specs], marker.exists()) == (None, ["a.yaml"], False)
    assert str(specs_revision(host.settings.specs_dir)) == source.commit != "lie"

    (specs / "b.yaml").symlink_to("/etc/passwd")
    git(host.repository, "add", "--", "specs/b.yaml")
    git(host.repository, "commit", "--quiet", "-m", "link")
    host.again(source)
    assert "b.yaml is a symbolic link" in str(source.problem)
    (specs / "b.yaml").unlink()
    commit(host.repository, {"specs/b.yaml": "#" * (1 << 20) + "\n"})
    host.again(source)
    assert "b.yaml:0:0: the file is larger than 1 MiB" in str(source.problem)
    assert [*host.specs] == ["a.yaml"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ext::sh -c 'touch /tmp/x'", "expected https://"),
        ("fd::3", "expected https://"),
        ("ftp://example.invalid/r", "expected https://"),
        ("-oProxyCommand=x:y", "expected https://"),
        ("--file:x", "expected https://"),
        ("git@-oProxyCommand:x", "expected https://"),
        ("ssh://-oProxyCommand/x", "expected https://"),
        ("ssh://git@-oProxyCommand/x", "expected https://"),
        ("https://me:secret@example.invalid/r", "credential.helper"),
        ("https://token@example.invalid/r", "credential.helper"),
        ("ssh://git:secret@example.invalid/r", "use a key"),
        ("http://example.invalid/r", "--verify-signatures"),
        ("git://example.invalid/r", "--verify-signatures"),
        ("https://example.invalid/r#--upload-pack=x", "git ref"),
        ("https://example.invalid/r#a..b", "git ref"),
        ("https://example.invalid/r#main:../x", "git path"),
    ],
)
def test_addresses_that_run_programs_or_tell_secrets_are_refused(typed: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_remote(typed, is_proved=False)

    assert said in str(raised.value)
    assert not any(secret in str(raised.value) for secret in ("secret", "token", "touch"))


@pytest.mark.parametrize(
    ("typed", "ref", "path", "protocol"),
    [
        ("https://example.invalid/o/r.git", "HEAD", "", "https"),
        ("https://example.invalid/o/r.git#main:prod/specs/", "main", "prod/specs", "https"),
        ("git@example.invalid:o/r.git#v1.0", "v1.0", "", "ssh"),
        ("ssh://git@example.invalid:22/r#:specs", "HEAD", "specs", "ssh"),
        ("/srv/r", "HEAD", "", "file"),
    ],
)
def test_addresses_name_ref_and_folder(typed: str, ref: str, path: str, protocol: str) -> None:
    found = parse_remote(typed, is_proved=False)

    assert (found.ref, found.path, found.protocol) == (ref, path, protocol)
