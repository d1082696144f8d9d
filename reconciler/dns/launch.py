"""The engine's side of the embedded DNS server: have one run, give it zones, end it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from reconciler.dns import control
from reconciler.dns.control import ResolverError

_START_TIMEOUT_S: Final = 20.0


def ensure_server(run_dir: Path, netns_dir: Path) -> None:
    """Have a server of this version run for the caller's network namespace. Harmless when one does; one of another version cedes
    its place without closing a socket. Raises ResolverError.
    """
    command: list[str | Path] = [
        sys.executable,
        "-P",
        "-m",
        "reconciler.dns.server",
        "--detach",
        "--run-dir",
        run_dir,
        "--netns-dir",
        netns_dir,
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_START_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise ResolverError(f"start the embedded DNS server: {cause}") from cause
    if done.returncode != 0:
        raise ResolverError(f"start the embedded DNS server: exit {done.returncode}; {_last_words(run_dir)}")


def is_running(run_dir: Path) -> bool:
    """Say whether a server listens to requests, of whatever version."""
    try:
        control.ask(run_dir, "status")
    except ResolverError:
        return False
    return True


def publish_zones(run_dir: Path, text: str) -> Mapping[str, str]:
    """Put zones in force; give the sandboxes that cannot be served, with the reason, once all others are. Raises ResolverError."""
    _write(control.folder(run_dir), text)
    failures = control.ask(run_dir, "reload")["failures"]
    assert isinstance(failures, dict)
    return failures


def stop_server(run_dir: Path) -> None:
    """End it, if it runs; sandboxes have no name service from then on."""
    if is_running(run_dir):
        control.ask(run_dir, "stop")


def _write(folder: Path, text: str) -> None:
    """Replace the file at once: a server that starts meanwhile reads the old zones or the new ones."""
    temporary = folder / f"{control.ZONES_FILE}.new"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(folder / control.ZONES_FILE)
    except OSError as cause:
        raise ResolverError(f"write {temporary}: {cause.strerror}") from cause


def _last_words(run_dir: Path) -> str:
    try:
        lines = (control.folder(run_dir) / control.LOG_FILE).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
