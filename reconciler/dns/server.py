"""The process that serves names in all sandboxes of a host: `python -P -m reconciler.dns.server --run-dir DIR`.

Knows nothing of specs, networks or the engine's state but the zones file. It outlives the engine; a later one takes its place.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from reconciler import __version__
from reconciler.dns import control, succession
from reconciler.dns.privileges import drop_privileges
from reconciler.dns.service import Service
from reconciler.dns.succession import Inheritance
from reconciler.errors import ExitCode, ReconcilerError, ResolverError
from reconciler.records.file import make_folder

_READY: Final = b"ready"
_PREDECESSOR_S: Final = 5.0
"""How long one that holds the lock may take until it can be spoken to, or is gone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; 0 at once if one of this version runs already, whose place one of another version cedes."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    if options.detach:
        return _detach(options.run_dir, lambda tell: _serve(options, lambda: tell(_READY)))
    return _serve(options, lambda: None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reconciler.dns.server", description="Serve names at 127.0.0.11 in the sandboxes of this host."
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="the engine's run folder")
    parser.add_argument("--netns-dir", type=Path, default=Path("/run/netns"), help="where named namespaces are")
    parser.add_argument("--detach", action="store_true", help="return when it serves, leaving it behind")
    return parser


def _serve(options: argparse.Namespace, on_ready: Callable[[], None]) -> int:
    os.umask(0o077)
    _allow_descriptors()
    try:
        inheritance = _inherit(options.run_dir)
        if inheritance is None:
            on_ready()
            return ExitCode.OK
        drop_privileges()
        Service(options.run_dir, options.netns_dir, inheritance).run(on_ready)
    except ReconcilerError as error:
        logging.getLogger(__name__).error("%s", error)
        return error.exit_code
    return ExitCode.OK


def _inherit(run_dir: Path) -> Inheritance | None:
    """Begin, or take over from a server of another version; None when one of this version runs. Raises ResolverError."""
    deadline = time.monotonic() + _PREDECESSOR_S
    while (fresh := succession.begin(run_dir)) is None:
        try:
            is_same = control.ask(run_dir, "status", _PREDECESSOR_S)["version"] == __version__
            return None if is_same else succession.take_over(run_dir)
        except ResolverError:  # it is only just starting, or about to end
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
    return fresh


def _allow_descriptors() -> None:
    """Three descriptors a sandbox, and streams: take all that the hard limit allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _detach(run_dir: Path, serve: Callable[[Callable[[bytes], None]], int]) -> int:
    """Run `serve` in a process of its own session that nobody waits for; return when it tells that it is ready, or has ended."""
    receiver, sender = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child:
        os.close(sender)
        os.waitpid(child, 0)
        return ExitCode.OK if os.read(receiver, 16) == _READY else ExitCode.FAILED
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(receiver)
    _redirect_output(run_dir)
    os.chdir("/")

    def tell(word: bytes) -> None:
        os.write(sender, word)
        os.close(sender)

    code = serve(tell)
    os._exit(code)


def _redirect_output(run_dir: Path) -> None:
    """Nothing to read, nothing shown; errors go to a file of the run folder, begun anew with each server."""
    folder = control.folder(run_dir)
    make_folder(folder, 0o700)
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        flags = (
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NONBLOCK
        )  # of a pipe nobody waits for a reader
        log = os.open(folder / control.LOG_FILE, flags, 0o600)
    except OSError:
        log = nothing  # what stands there is in the way of the log, not of names
    for fd, target in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(target, fd)


if __name__ == "__main__":
    sys.exit(main())
