"""The engine's side of the embedded DNS server: have one run, give it zones, end it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler import __version__
from reconciler.dns import control
from reconciler.dns.control import ResolverError

_START_TIMEOUT_S: Final = 20.0
_ENVIRONMENT: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
"""What the server is given of ours: it lives long, and there may be tokens among the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server as it says it is. digest: `zones_digest` of what is in force; failures: sandboxes not served, with the reason."""

    version: str
    pid: int
    digest: str
    failures: Mapping[str, str]


def running_server(run_dir: Path) -> RunningServer | None:
    """Give the server that listens to requests, of whatever version; None without one."""
    try:
        return _running(control.ask(run_dir, "status"))
    except ResolverError:
        return None


def ensure_server(run_dir: Path, netns_dir: Path) -> None:
    """Have a server of this version run for the caller's network namespace. Harmless when one does; one of another version cedes
    its place without closing a socket. Raises ResolverError.
    """
    running = running_server(run_dir)
    if running is not None and running.version == __version__:
        return
    module = (sys.executable, "-P", "-m", "reconciler.dns.server")  # -P: the folder we stand in may be a stranger's
    command = (*module, "--detach", "--run-dir", str(run_dir.absolute()), "--netns-dir", str(netns_dir.absolute()))
    try:
        done = subprocess.run(
            command,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise ResolverError(f"start the embedded DNS server: {cause}") from cause
    if done.returncode != 0:
        raise ResolverError(f"start the embedded DNS server: exit {done.returncode}; {_last_words(run_dir)}")


def publish_zones(run_dir: Path, text: str) -> RunningServer:
    """Put zones in force. Returns once all that can be served is, and says what cannot. Raises ResolverError."""
    _write(control.folder(run_dir), text)
    return _running(control.ask(run_dir, "reload"))


def stop_server(run_dir: Path) -> None:
    """End it, if it runs; sandboxes have no name service from then on."""
    if running_server(run_dir) is not None:
        control.ask(run_dir, "stop")


def _running(status: control.Document) -> RunningServer:
    failures = status["failures"]
    assert isinstance(failures, dict)
    return RunningServer(
        version=str(status["version"]), pid=int(str(status["pid"])), digest=str(status["digest"]), failures=failures
    )


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
