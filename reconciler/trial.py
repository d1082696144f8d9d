"""Specs on trial: a guardian of its own session takes them back in time, whatever becomes of who started the trial.

The time and the specs stand in the state folder (`guard.trial_record`); guardian and starter only read it. Whoever of them
takes the host's lock first does the work, and when both are gone the next pass does.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler import pipeline
from reconciler.backends import open_backends
from reconciler.errors import LockHeld, ReconcilerError
from reconciler.guard.last_good import read_rejected
from reconciler.guard.recovery import confirm
from reconciler.guard.trial_record import Trial, read_trial
from reconciler.kernel.lock import PASS, HostLock, holder
from reconciler.model.report import Report
from reconciler.records.file import make_folder
from reconciler.settings import Settings

log = logging.getLogger(__name__)

_POLL_S: Final = 0.1
_RETRY_S: Final = 0.5
_GRACE_S: Final = 3.0
"""How long the guardian may be late before the starter does its work."""


def start_guardian(settings: Settings) -> None:
    """Leave a process behind that takes the next trial back when its time is over; it ends with the trial.

    Call before any backend is opened and any trial begins. What it has to say goes to <state-dir>/trial.log.
    """
    make_folder(settings.state_dir)
    starter = os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        os.close(starter)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _detach(settings.state_dir / "trial.log")
        _guard(settings, starter)
    except BaseException:
        log.exception("the guardian of the trial failed")
    finally:
        os._exit(0)


def _detach(log_file: Path) -> None:
    """Let go of the terminal; only SIGTERM and SIGKILL end a guardian."""
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    written = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("reconciler")
    package.handlers = [handler]


def _guard(settings: Settings, starter: int) -> None:
    """Stay until the starter is gone and nothing is on trial; whatever is, also from earlier, ends in time."""
    while True:
        is_gone = bool(select.select([starter], [], [], 0)[0])
        trial = read_trial(settings.state_dir)
        if trial is None and is_gone:
            return
        if trial is not None and trial.is_over():
            take_back(settings, trial.id, "nobody confirmed them in time")
        time.sleep(_POLL_S if trial is None else min(_RETRY_S, max(_POLL_S, trial.left_s())))


def _same(settings: Settings, trial_id: str) -> Trial | None:
    trial = read_trial(settings.state_dir)
    return trial if trial is not None and trial.id == trial_id else None


def take_back(settings: Settings, trial_id: str, reason: str) -> Report | None:
    """Take the trial back as soon as the host's lock is free; None when it was over by then, one way or the other."""
    while (trial := _same(settings, trial_id)) is not None:
        try:
            with open_backends(settings) as backends:
                return pipeline.revert(settings, backends, trial.id, reason)
        except LockHeld:
            time.sleep(_RETRY_S)
        except ReconcilerError as error:
            log.error("cannot take the specs back yet: %s", error)
            time.sleep(_RETRY_S * 4)
    return None


def confirm_trial(settings: Settings) -> str:
    """Keep the specs on trial; give their digest. Raises ReconcilerError when there are none, Refused when it is too late."""
    while True:
        try:
            with HostLock():
                return confirm(settings)
        except LockHeld:
            time.sleep(_POLL_S)


class TrialOutcome(Struct, frozen=True):
    """How a trial ended. report: of the way back, when this process walked it."""

    is_kept: bool
    report: Report | None = None


def await_answer(settings: Settings, trial: Trial, signals: TrialSignals) -> TrialOutcome:
    """Wait until the trial is confirmed (Enter on a terminal, SIGUSR1, `--confirm` elsewhere) or taken back."""
    while (present := _same(settings, trial.id)) is not None:
        if signals.is_refused:
            return TrialOutcome(False, take_back(settings, trial.id, "the trial was interrupted"))
        if signals.is_confirmed or _is_enter_pressed():
            confirm_trial(settings)
            return TrialOutcome(True)
        if present.left_s() < -_GRACE_S:
            return TrialOutcome(False, take_back(settings, trial.id, "nobody confirmed them in time"))
    while holder(PASS):  # who ended it has the host's lock until the status says so too
        time.sleep(_POLL_S)
    return TrialOutcome(not _is_rejected(settings, trial))


def _is_rejected(settings: Settings, trial: Trial) -> bool:
    rejected = read_rejected(settings.state_dir)
    return rejected is not None and rejected.digest == trial.digest


def _is_enter_pressed() -> bool:
    if not sys.stdin.isatty():
        time.sleep(_POLL_S)
        return False
    return bool(select.select([sys.stdin], [], [], _POLL_S)[0]) and bool(sys.stdin.readline())


class TrialSignals:
    """Takes the answer of those who send signals: SIGUSR1 confirms, Ctrl-C and SIGTERM refuse. Puts the handlers back in the end.

    A pass that runs meanwhile comes to its end, so that what is taken back then is whole.
    """

    def __enter__(self) -> TrialSignals:
        self.is_confirmed = self.is_refused = False
        self._before = {
            signal.SIGUSR1: signal.signal(signal.SIGUSR1, self._confirm),
            signal.SIGINT: signal.signal(signal.SIGINT, self._refuse),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._refuse),
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _confirm(self, *_: object) -> None:
        self.is_confirmed = True

    def _refuse(self, *_: object) -> None:
        self.is_refused = True
