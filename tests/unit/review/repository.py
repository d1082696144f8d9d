"""A repository with two commits: what a pull request changes, for tests. The same hashes each time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Final

_IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "t"), ("EMAIL", "t@example.invalid"), ("DATE", "2026-11-29T00:00:00Z"))
}

BEFORE: Final = {
    "specs/nets.yaml": """\
    networks:
      front:
        ipam: {config: [{subnet: 172.21.0.0/24}]}
      back:
        internal: true
        ipam: {config: [{subnet: 172.22.0.0/24}]}
      old:
        ipam: {config: [{subnet: 172.23.0.0/24}]}
    """,
    "specs/apps.yaml": """\
    attachments:
      web:
        hosts: [alpha]
        networks: {front: {}, back: {}}
      db:
        hosts: [alpha]
        networks:
          back: {aliases: [database]}
      job:
        hosts: [alpha, beta]
        networks: [back]
      cache:
        hosts: [alpha]
        networks: [old, front]
    """,
}
AFTER: Final = {
    "specs/nets.yaml": """\
    networks:
      front:
        ipam: {config: [{subnet: 172.21.0.0/24}]}
      back:
        internal: false
        ipam: {config: [{subnet: 172.22.0.0/24}]}
    """,
    "specs/apps.yaml": """\
    attachments:
      web:
        hosts: [alpha]
        networks: {front: {}, back: {}}
        ports: ["8080:80"]
      db:
        hosts: [beta]
        networks:
          back: {aliases: [database]}
      job:
        hosts: [alpha, beta]
        networks: [back]
      cache:
        hosts: [alpha]
        networks: [front]
    """,
}


def git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    done = subprocess.run(
        ("git", "-c", "commit.gpgsign=false", *arguments),
        cwd=folder,
        check=True,
        capture_output=True,
        input=given,
        env={**os.environ, **_IDENTITY},
    )
    return done.stdout.decode().strip()


def make_repository(folder: Path, *commits: Mapping[str, str]) -> Path:
    """Make one with these files in each commit."""
    folder.mkdir(exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for files in commits:
        commit(folder, files)
    return folder


def commit(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "specs")
