"""The engine's side of the embedded DNS server: have one run, give it zones, end it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler import __version__
from reconciler.dns import control
from reconciler.dns.lock_holder import await_lost_servers, has_ended_within, lock_holders, server_life
from reconciler.errors import ResolverError, ResolverSilent
from reconciler.records.file import content, make_folder

log = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 20.0
_STATUS_TIMEOUT_S: Final = 2.0
"""A server that does not say how it is within this time does not answer."""

_SECOND_TIMEOUT_S: Final = 3.0
"""What one that did not answer a look is given before another takes its place: the machine may have been busy otherwise."""

_END_TIMEOUT_S: Final = 5.0
_FOLLOWED_MAX: Final = 500
"""Names in one request, of up to 128 characters each."""

_LAST_WORDS_MAX: Final = 1 << 16
_NEW_ZONES_FILE: Final = f"{control.ZONES_FILE}.new"
_ENVIRONMENT: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")


class RunningServer(Struct, frozen=True, kw_only=True):
    """A server as it says it is. digest: `zones_digest` of what is in force; failures: sandboxes not served, with the reason.

    host: inode of the network namespace that it asks the world from, 0 when it does not say.
    """

    version: str
    pid: int
    digest: str
    failures: Mapping[str, str]
    host: int = 0


def running_server(run_dir: Path) -> RunningServer | None:
    """Return the server that answers requests, of whatever version; None without one."""
    try:
        return asked_server(run_dir)
    except ResolverSilent:
        return None


def asked_server(run_dir: Path, timeout_s: float = _STATUS_TIMEOUT_S) -> RunningServer | None:
    """Return the server that runs, of whatever version; None without one. Raises ResolverSilent when it does not answer."""
    try:
        return _running(control.ask(run_dir, "status", timeout_s))
    except ResolverSilent:
        raise
    except ResolverError:
        return None


def is_current(running: RunningServer) -> bool:
    """Return whether it is of this version and asks the world from the caller's network namespace."""
    return running.version == __version__ and running.host == _own_namespace()


def _own_namespace() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def ensure_server(run_dir: Path, netns_dir: Path) -> None:
    """Have a server of this version run for the caller's network namespace. Harmless when one does; one of another version cedes
    its place without closing a socket; one of another namespace, or that does not answer, ends. Raises ResolverError.
    """
    running = _answering_server(run_dir)
    if running is not None:
        if is_current(running):
            return
        if running.host != _own_namespace():
            stop_server(run_dir)
    await_lost_servers(run_dir)
    arguments = ("--detach", "--run-dir", str(run_dir.absolute()), "--netns-dir", str(netns_dir.absolute()))
    try:
        code = run_server(arguments, _START_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise ResolverError(f"start the embedded DNS server: {cause}") from cause
    if code != 0:
        raise ResolverError(f"start the embedded DNS server: exit {code}; {_last_words(run_dir)}")


def _answering_server(run_dir: Path) -> RunningServer | None:
    """Return the server that answers, if need be after some time. One that does not is ended."""
    try:
        return asked_server(run_dir, _SECOND_TIMEOUT_S)
    except ResolverSilent:
        _end_silent_server(run_dir)
        return None


def run_server(arguments: Sequence[str], timeout_s: float) -> int:
    """Run the server's program and give its exit code; with --detach it ends once the server serves."""
    module = (sys.executable, "-P", "-m", "reconciler.dns.server")  # -P: the folder we stand in may be a stranger's
    done = subprocess.run(
        (*module, *arguments),
        env=server_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode


def server_environment() -> dict[str, str]:
    """Return what the server gets of our environment: it lives long, and there may be tokens among the rest."""
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def publish_zones(run_dir: Path, text: str, changes: Mapping[str, object] | None = None) -> RunningServer:
    """Put zones in force. Returns once all that can be served is, and says what cannot. Raises ResolverError.

    changes: what differs from those in force, where that is known. The file has all of them in any case, so whoever ends
    at whatever moment, the next server, or the next pass, finds them.
    """
    _write(control.folder(run_dir), text)
    if changes is not None and len(control.encode(changes)) <= control.CHANGE_MAX:
        return _running(control.ask(run_dir, "change", more=changes))
    return _running(control.ask(run_dir, "reload"))


def follow_sandboxes(run_dir: Path, names: Sequence[str]) -> None:
    """Have the server, if one runs, look now into which namespaces these sandboxes lead. Raises ResolverError."""
    if running_server(run_dir) is not None:
        for start in range(0, len(names), _FOLLOWED_MAX):
            control.ask(run_dir, "follow", more={"sandboxes": names[start : start + _FOLLOWED_MAX]})


def published_zones(run_dir: Path) -> str:
    """Return the text that was published last, "" when there is none that can be read."""
    try:
        return content(control.folder(run_dir) / control.ZONES_FILE).decode(errors="replace")
    except OSError:
        return ""


def zones_stamp(run_dir: Path) -> tuple[int, ...] | None:
    """Return what is another as soon as the published text is, None when there is none."""
    try:
        found = os.stat(control.folder(run_dir) / control.ZONES_FILE)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def stop_server(run_dir: Path) -> None:
    """End it, if it runs, and wait until it is gone; sandboxes have no name service from then on. Raises ResolverError."""
    try:
        if not _is_stopped_by_request(run_dir):
            _end_silent_server(run_dir)
    except ResolverSilent:
        _end_silent_server(run_dir)


def _is_stopped_by_request(run_dir: Path) -> bool:
    """Return whether the server has ended, or none runs. Raises ResolverError."""
    running = asked_server(run_dir)
    life = None if running is None else server_life(running.pid)
    if life is None:
        return True
    try:
        control.ask(run_dir, "stop")
        return has_ended_within(life, _END_TIMEOUT_S)
    finally:
        os.close(life)


def _end_silent_server(run_dir: Path) -> None:
    """End the process that has the server's lock. Harmless without one. Raises ResolverError."""
    for holder in lock_holders(run_dir):
        log.warning("the embedded DNS server, process %d, does not answer: it is ended", holder.pid)
        holder.end()


def remove_folder(run_dir: Path) -> None:
    """Remove what servers left behind. For when none runs. The zones go last: by them whoever comes next, were we killed, knows
    that one ran here. Raises ResolverError.
    """
    folder = control.folder(run_dir)
    try:
        for name in (_NEW_ZONES_FILE, control.SOCKET_FILE, control.LOG_FILE, control.LOCK_FILE, control.ZONES_FILE):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as cause:
        raise ResolverError(f"remove {cause.filename}: {cause.strerror}") from cause


def _running(status: control.Document) -> RunningServer:
    failures = status["failures"]
    assert isinstance(failures, dict)
    return RunningServer(
        version=str(status["version"]),
        pid=int(str(status["pid"])),
        digest=str(status["digest"]),
        failures=failures,
        host=int(str(status.get("host", 0))),
    )


def _write(folder: Path, text: str) -> None:
    """Replace the file at once: a server that starts meanwhile reads the old zones or the new ones."""
    temporary = folder / _NEW_ZONES_FILE
    try:
        make_folder(folder, 0o700)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(folder / control.ZONES_FILE)
    except OSError as cause:
        with suppress(OSError):
            temporary.unlink()
        raise ResolverError(f"write {temporary}: {cause.strerror}") from cause


def _last_words(run_dir: Path) -> str:
    try:
        log = os.open(control.folder(run_dir) / control.LOG_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(log, errors="replace") as file:
            lines = file.read(_LAST_WORDS_MAX).splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"
