"""The specs' repository elsewhere: fetch one commit with the git program, check its signature, lay out its files.

Nothing of a repository is run or trusted: there is no work tree, so no hook, filter, link or submodule of it takes effect; only
the transport of the address is allowed; time and file sizes are bounded. Credentials are git's own business (`credential.helper`,
an ssh key), and no address that holds some is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.errors import ConfigError, RepositoryUnreachable, RevisionRefused, RevisionUnreadable
from reconciler.git_tree import Git, lay_out, short
from reconciler.programs import SaidTooMuch, end, said_by
from reconciler.records.faults import shown
from reconciler.records.file import content, make_folder
from reconciler.settings import program_environment

FETCH_S: Final = 120.0
"""How long one fetch may take."""

_SAID_MAX: Final = 1 << 20
"""Bytes: what a server says to people reaches us too."""

_FILE_MAX: Final = 1 << 21
"""In blocks of 512 bytes, as ulimit counts: the largest file that git may write, 1 GiB."""

_URL: Final = re.compile(r"(?P<scheme>https|http|ssh|git|file)://(?P<rest>[^\s#]+)\Z")
_SCP: Final = re.compile(r"(?:\w[\w.-]*@)?\w[\w.-]*:(?!:)[^\s#]+\Z")
_REF: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]*\Z")
_HELD: Final = "refs/reconcile/fetched"
_OPENPGP: Final = (b"-----BEGIN PGP", b"\x99", b"\x98", b"\xc6")
_NOT_FOUND: Final = 127
_REFUSING: Final = "false"
"""A program that accepts no signature."""

_GIT: Final = (
    *("sh", "-c", 'ulimit -f "$0" 2>/dev/null; exec git "$@"', str(_FILE_MAX)),
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "submodule.recurse=false"),
    *(
        "-c",
        "transfer.fsckObjects=true",
        "-c",
        "gc.autoDetach=false",
        "-c",
        "gc.pruneExpire=now",
        "-c",
        "fetch.writeCommitGraph=false",
    ),
)
_DROPPED: Final = frozenset(
    (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
    )
)


class Remote(Struct, frozen=True, kw_only=True):
    """ref: a branch, tag or full hash. path: of the specs' folder, from the repository's top. protocol: as git calls it."""

    url: str
    ref: str = "HEAD"
    path: str = ""
    protocol: str

    def __str__(self) -> str:
        return f"{self.url}#{self.ref}{f':{self.path}' if self.path else ''}"


def parse_remote(text: str, *, is_proved: bool) -> Remote:
    """Read `URL[#REF[:PATH]]`. is_proved: signatures are checked. Raises ConfigError."""
    address, _, rest = text.partition("#")
    ref, _, path = rest.partition(":")
    if ref and not _REF.match(ref):
        raise ConfigError(f"git ref {ref!r}: expected a branch, a tag or the full hash of a commit")
    parts = path.strip("/").split("/") if path.strip("/") else []
    if any(part in ("", ".", "..") for part in parts):
        raise ConfigError(f"git path {path!r}: expected a folder, from the top of the repository")
    protocol = _protocol(address)
    if protocol in ("http", "git") and not is_proved:
        raise ConfigError(f"git: what comes by {protocol}:// may be anybody's: use https, ssh, or --verify-signatures")
    return Remote(url=address, ref=ref or "HEAD", path="/".join(parts), protocol=protocol)


def _protocol(address: str) -> str:
    expected = "expected https://…, ssh://…, USER@HOST:PATH, or a folder as file://… or /…"
    if address.startswith("/") and not re.search(r"\s", address):
        return "file"
    match = _URL.match(address)
    if match is None:
        if "::" not in address and "://" not in address and _SCP.match(address):
            return "ssh"
        raise ConfigError(f"git: {expected}")  # what else was typed may hold anything
    if match["rest"].partition("/")[0].rpartition("@")[2].startswith("-"):
        raise ConfigError(f"git: {expected}")  # what programs could take for an option
    if match["scheme"] in ("https", "http") and "@" in match["rest"].partition("/")[0]:
        text = "git: the address holds a name or password, which others can see: use git's credential.helper"
        raise ConfigError(text)
    if match["scheme"] == "ssh" and ":" in match["rest"].rpartition("@")[0]:
        raise ConfigError("git: the address holds a password, which others can see: use a key")
    return match["scheme"]


class Repository:
    """What was fetched, in a bare repository of ours. Raises RepositoryUnreachable, RevisionUnreadable and RevisionRefused.

    It is for who keeps others away from the folder. What cannot be fetched into is thrown away, as nothing is lost with it.
    """

    def __init__(self, folder: Path, remote: Remote, keyring: Path | None) -> None:
        self._folder, self._remote, self._keyring = folder, remote, keyring
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def fetch(self) -> str:
        """Fetch what the ref is at now; return its commit."""
        if not (self._folder / "HEAD").exists():
            make_folder(self._folder, 0o700)
            self._ok("init", "--quiet", "--bare", "--template=", ".")
        try:
            self._fetch()
        except RepositoryUnreachable:
            shutil.rmtree(self._folder, ignore_errors=True)  # a lock, or half of something, that a killed git left
            raise
        return self._ok("rev-parse", "--verify", "--quiet", "--end-of-options", f"{_HELD}^{{commit}}").strip()

    def _fetch(self) -> None:
        flags = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force", "--depth=1")
        code, _, said = self._run("fetch", *flags, "--", self._remote.url, f"+{self._remote.ref}:{_HELD}")
        if code == 0:
            return
        if "couldn't find remote ref" in said or "not our ref" in said:
            raise RevisionUnreadable(f"{self._remote.url} has no {self._remote.ref}")
        raise RepositoryUnreachable(f"{self._remote.url} cannot be fetched: {said}")

    def check(self, commit: str) -> None:
        """Refuse a commit that nobody in the keyring signed, by its own signature or that of the tag that was fetched."""
        if self._keyring is None:
            return
        is_tag = self._ok("cat-file", "-t", _HELD).strip() == "tag"
        verify = ("verify-tag", _HELD) if is_tag else ("verify-commit", commit)
        try:
            is_openpgp = content(self._keyring).lstrip().startswith(_OPENPGP)
        except OSError as error:
            raise RevisionUnreadable(f"{self._keyring} cannot be read: {error.strerror}") from error
        code, said = self._by_openpgp(verify) if is_openpgp else self._by_ssh(verify)
        if code != 0:
            raise RevisionRefused(
                f"commit {short(commit)} is not signed by anybody in {self._keyring}: {said or 'no signature'}"
            )

    def _by_ssh(self, verify: tuple[str, str]) -> tuple[int, str]:
        keys = ("-c", f"gpg.ssh.allowedSignersFile={self._keyring}", "-c", "gpg.minTrustLevel=fully")
        others = (
            "-c",
            f"gpg.program={_REFUSING}",
            "-c",
            f"gpg.openpgp.program={_REFUSING}",
            "-c",
            f"gpg.x509.program={_REFUSING}",
        )
        code, _, said = self._run(*keys, *others, *verify)
        return code, said

    def _by_openpgp(self, verify: tuple[str, str]) -> tuple[int, str]:
        """Nobody but those in the keyring is known, and no agent or key server is asked."""
        others = ("-c", f"gpg.ssh.program={_REFUSING}", "-c", f"gpg.x509.program={_REFUSING}", "-c", "gpg.program=gpg")
        with tempfile.TemporaryDirectory(prefix="reconcile-") as home:
            Path(home, "gpg.conf").write_text("trust-model always\nno-autostart\nno-auto-key-retrieve\nbatch\n")
            command = ("gpg", "--batch", "--no-autostart", "--homedir", home, "--quiet", "--import", str(self._keyring))
            code, _, said = self._await(command, {})
            if code == 0:
                code, _, said = self._run(*others, *verify, environment={"GNUPGHOME": home})
        return code, said

    def lay_out(self, commit: str, folder: Path) -> None:
        """Write the commit's spec files into a folder that is not there yet."""
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder, 0o700)
        lay_out(Git(self._folder), commit, f"{self._remote.ref} ({short(commit)})", self._remote.path, folder)

    def tidy(self) -> None:
        self._run("gc", "--quiet", "--auto")

    def close(self) -> None:
        """End what runs; another thread may wait for it."""
        self._is_closed = True
        if (process := self._process) is not None:
            end(process)

    # ---- the program

    def _ok(self, *arguments: str) -> str:
        code, out, said = self._run(*arguments)
        if code != 0:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise RevisionUnreadable(f"git cannot use {self._folder}: {said or arguments[0]}")
        return out

    def _run(self, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
        return self._await((*_GIT, *arguments), environment or {})

    def _await(self, command: tuple[str, ...], more: dict[str, str]) -> tuple[int, str, str]:
        """Return exit code, output, and the last line of what the program said."""
        environment = {name: value for name, value in program_environment({}).items() if name not in _DROPPED}
        environment |= {
            "GIT_ALLOW_PROTOCOL": self._remote.protocol,
            "GIT_DIR": ".",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND") or "ssh -oBatchMode=yes -oConnectTimeout=20",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            "SSH_ASKPASS_REQUIRE": "never",
            **more,
        }
        try:
            said = said_by(
                command,
                folder=self._folder,
                environment=environment,
                timeout_s=FETCH_S,
                bytes_max=_SAID_MAX,
                begun=self._begun,
            )
        except TimeoutError:
            raise RepositoryUnreachable(f"git took more than {FETCH_S:g} s with {self._remote.url}") from None
        except SaidTooMuch:
            raise RepositoryUnreachable(f"git says more than {_SAID_MAX >> 20} MiB of {self._remote.url}") from None
        except OSError as error:
            raise RepositoryUnreachable(f"{command[0]} cannot be run: {error.strerror}") from error
        finally:
            self._process = None
        if said.code == _NOT_FOUND:
            raise RepositoryUnreachable("git is not there: install it")
        return said.code, said.out.decode(errors="replace"), _last_line(said.complaint.decode(errors="replace"))

    def _begun(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        if self._is_closed:
            end(process)


def _last_line(text: str) -> str:
    """Return the line that says most: git's own `fatal:`, else the last; user names and passwords in addresses are masked."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next(
        (line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")), lines[-1] if lines else ""
    )
    return shown(re.sub(r"//[^/@\s]*@", "//…@", said))
