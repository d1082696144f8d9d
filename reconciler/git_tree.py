"""A folder as a git commit has it, laid out apart: nothing of the checkout is touched, and nothing in a repository is trusted."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from msgspec import Struct

from reconciler.errors import RevisionUnreadable
from reconciler.programs import Heard, SaidTooMuch, said_by
from reconciler.records.file import make_folder
from reconciler.settings import program_environment
from reconciler.spec.document import BYTES_MAX
from reconciler.spec.files import ALL_BYTES_MAX, FILES_MAX, FOLDERS_DEEP_MAX, SPEC_LIKE

_TIMEOUT_S: Final = 60.0
_GIT: Final = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false")
"""A repository's own configuration may name programs to run; these are those that what is asked here would start."""
_REGULAR: Final = frozenset(("100644", "100755"))
_SYMLINK: Final = "120000"
_COMMITS_SHOWN: Final = 12
_LISTING_MAX: Final = 1 << 25
"""Bytes of a list of files: a few trees that hold each other again and again stand for billions of them."""
_HEAD_MAX: Final = 128
"""Bytes that `cat-file` says of an object beside its content."""
_NAME_MAX: Final = 255
"""NAME_MAX (linux/limits.h)."""


class Laid(Struct, frozen=True, kw_only=True):
    """folder: where the files are, for as long as the context is open. commit: the full hash. name: REV and the short hash."""

    folder: Path
    commit: str
    name: str


@contextmanager
def laid_out(target: str, folder: Path) -> Iterator[Laid]:
    """Lay out what `REV[:PATH]` has of the repository that `folder` is in. PATH: from the repository's top, default `folder`.

    A default PATH that is not there yet is an empty folder: somebody begins with it. Raises RevisionUnreadable.
    """
    revision, _, path = target.partition(":")
    git = Git(folder)
    root = path.strip("/") or git.text("rev-parse", "--show-prefix").strip("\n/")
    commit = _commit(git, revision)
    is_new = not path and root != "" and not git.text("ls-tree", "--full-tree", commit, "--", root)
    with tempfile.TemporaryDirectory(prefix="reconcile-") as place:
        laid = Path(place) / "specs"
        laid.mkdir()
        if not is_new:
            lay_out(git, commit, revision, root, laid)
        yield Laid(folder=laid, commit=commit, name=f"{revision} ({short(commit)})")


def short(commit: str) -> str:
    return commit[:_COMMITS_SHOWN]


def lay_out(git: Git, commit: str, name: str, root: str, folder: Path) -> None:
    """Write the spec files that a commit has below `root`. name: what errors call the commit. Raises RevisionUnreadable."""
    files = _files(git, commit, name, root)
    contents = _contents(git, [blob for _, blob in files if blob])
    for path, blob in files:
        content = next(contents) if blob else bytes(BYTES_MAX + 1)
        file = folder.joinpath(*path.parts)
        make_folder(file.parent)
        file.write_bytes(content)


class Git(Struct, frozen=True):
    """The git program, asked from within a folder."""

    folder: Path

    def text(self, *arguments: str) -> str:
        done = self.run(*arguments)
        if done.code != 0:
            said = done.complaint.decode(errors="replace").strip().partition("\n")[0]
            raise RevisionUnreadable(f"git cannot read {self.folder}: {said}")
        return done.out.decode(errors="surrogateescape")

    def run(self, *arguments: str, given: bytes = b"", bytes_max: int | None = None) -> Heard:
        bytes_max = _LISTING_MAX if bytes_max is None else bytes_max
        try:
            return said_by(
                (*_GIT, *arguments),
                folder=self.folder,
                environment=program_environment(_QUIET),
                given=given,
                timeout_s=_TIMEOUT_S,
                bytes_max=bytes_max,
            )
        except FileNotFoundError:
            missing = "git" if self.folder.is_dir() else str(self.folder)
            raise RevisionUnreadable(f"{missing} is not there: it takes a checkout and git") from None
        except TimeoutError:
            raise RevisionUnreadable(f"git took more than {_TIMEOUT_S:g} s in {self.folder}") from None
        except OSError as error:
            raise RevisionUnreadable(f"git cannot be run in {self.folder}: {error.strerror}") from error
        except SaidTooMuch:
            text = f"git lists more than {bytes_max >> 20} MiB of files in {self.folder}"
            raise RevisionUnreadable(f"{text}: name the folder of the specs") from None


_QUIET: Final[Mapping[str, str]] = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
}
"""No lock is taken, nobody is asked, and nothing is fetched."""


def _commit(git: Git, revision: str) -> str:
    done = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if done.code == 0:
        return done.out.decode().strip()
    if git.text("rev-parse", "--is-shallow-repository").strip() == "true":
        text = f"revision {revision!r} is not in this clone, which has no history: check out with fetch-depth: 0"
        raise RevisionUnreadable(f"{text} (GitHub), GIT_DEPTH: 0 (GitLab) or `git fetch --unshallow`")
    raise RevisionUnreadable(
        f"revision {revision!r} is not in the repository of {git.folder}: name a commit, tag or branch"
    )


def _files(git: Git, commit: str, revision: str, root: str) -> Sequence[tuple[PurePosixPath, str]]:
    """Return path below the root and object of every spec file; "" for an object that is too large to be one."""
    tree = f"{commit}:{root}" if root else commit
    if root and git.text("cat-file", "-t", tree).strip() != "tree":
        raise RevisionUnreadable(f"{root} is no folder at {revision}")
    found: list[tuple[PurePosixPath, str]] = []
    links: list[str] = []
    total = 0
    for record in git.text("ls-tree", "-r", "-z", "-l", "--full-tree", tree).split("\0")[:-1]:
        (mode, _, blob, size), path = record.partition("\t")[0].split(), record.partition("\t")[2]
        if mode == _SYMLINK:
            links.append(path)
        elif mode in _REGULAR and path.lower().endswith(SPEC_LIKE):
            found.append((_inside(path, revision), blob if int(size) <= BYTES_MAX else ""))
            total += min(int(size), BYTES_MAX)
    if total > ALL_BYTES_MAX:
        raise RevisionUnreadable(
            f"{root or 'the repository'} has more than {ALL_BYTES_MAX >> 20} MiB of specs at {revision}"
        )
    if len(found) > FILES_MAX:
        raise RevisionUnreadable(
            f"{root or 'the repository'} has more than {FILES_MAX} files at {revision}: name the folder"
        )
    _refuse_links(git, tree, links, revision)
    return found


def _refuse_links(git: Git, tree: str, links: Sequence[str], revision: str) -> None:
    """Refuse symbolic links to what may be specs: left out in silence, their networks would seem to go."""
    if not links:
        return
    asked = "".join(f"{tree}{'/' if ':' in tree else ':'}{link}\n" for link in links if "\n" not in link)
    answers = git.run("cat-file", "--batch-check", "--follow-symlinks", given=os.fsencode(asked)).out
    leads_to_folder = b" tree " in answers
    named = next((link for link in links if link.lower().endswith(SPEC_LIKE)), links[0] if leads_to_folder else "")
    if named:
        text = f"{named} is a symbolic link at {revision}, and links are not followed there"
        raise RevisionUnreadable(f"{text}: name the folder that it leads to, as git:{revision}:PATH")


def _inside(path: str, revision: str) -> PurePosixPath:
    """git itself makes no path that leads elsewhere; who writes objects by hand can. Nor are specs so deep or long."""
    pure = PurePosixPath(path)
    parts = path.split("/")
    is_long = len(parts) > FOLDERS_DEEP_MAX + 1 or any(len(os.fsencode(part)) > _NAME_MAX for part in parts)
    if is_long or pure.is_absolute() or any(part in ("", ".", "..") for part in parts):
        raise RevisionUnreadable(f"{path[:200]!r} is no path inside a folder of specs, at {revision}")
    return pure


def _contents(git: Git, blobs: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of each object, in turn."""
    if not blobs:
        return
    asked = "".join(f"{blob}\n" for blob in blobs).encode()
    answer, at = git.run("cat-file", "--batch", given=asked, bytes_max=ALL_BYTES_MAX + _HEAD_MAX * len(blobs)).out, 0
    for blob in blobs:
        end = answer.find(b"\n", at)
        head = answer[at:end].split()
        if end < 0 or len(head) != 3 or head[1] != b"blob":
            raise RevisionUnreadable(f"git does not give the object {blob}: the clone is not complete")
        size = int(head[2])
        yield answer[end + 1 : end + 1 + size]
        at = end + 2 + size
