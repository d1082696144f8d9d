"""Around a pass: remember specs that were verified, go back to them from those that were not, end trials that nobody confirmed.

How a pass is run is handed in; this module only decides which specs it is run with, and what is remembered of it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from reconciler.errors import (
    ExitCode,
    KernelError,
    Protected,
    ReconcilerError,
    Refused,
    RolledBack,
    StatusError,
    Superseded,
    Suspended,
    TrialPending,
)
from reconciler.guard.last_good import (
    LastGood,
    RejectedSpecs,
    Verified,
    forget_all,
    forget_rejected,
    forget_verified,
    has_last_good,
    read_last_good,
    read_rejected,
    read_verified,
    write_last_good,
    write_rejected,
    write_verified,
)
from reconciler.guard.orders import Orders
from reconciler.guard.trial_record import Trial, current_boot, forget_trial, read_trial, since_boot, write_trial
from reconciler.kernel.place import place
from reconciler.model.holds import OnDrift
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import HOST_UNIT, STATUS_UNIT, Unit
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs
from reconciler.status.verdict import unsettled

log = logging.getLogger(__name__)

Run = Callable[[LoadedSpecs, Orders], Report]
"""One pass with these specs: apply and verify, nothing else."""

_WAY_BACK: Final = Orders(is_prune_allowed=True, is_reverting=True)
_TOLERATED: Final = ("Protected", "Suspended", "DriftDetected", "SandboxMissing", "NamesUnavailable")
"""Reasons of status that do not speak against the specs. A sandbox that is not there (yet) comes and goes without them."""


def recovered_pass(loaded: LoadedSpecs, settings: Settings, orders: Orders, run: Run) -> Report:
    """Run a pass with `loaded`, or with the last good specs where these must not be tried. For holders of the host's lock.

    Specs that were taken back are not applied again until they change; only another trial tries them. Those that a trial from
    another folder superseded give way to what was confirmed, until they change or take over.

    Raises TrialPending while other specs are on trial, Refused when a trial is asked for and there is nothing to go back to.
    """
    report = _end_of_trial(loaded, settings, run)
    if report is not None:
        return report
    if orders.trial_s:
        return _trial_pass(loaded, settings, orders, run)
    if orders.is_taking_over and (superseded := _rejected_as(loaded, settings)) is not None and superseded.successor:
        forget_rejected(settings.state_dir)
    rejected = _rejected_as(loaded, settings)
    if rejected is not None:
        return _way_back(settings, run, rejected)
    report = run(loaded, orders)
    failure = _failure(report) if orders.is_rollback_wanted else ""
    last = read_last_good(settings.state_dir) if failure else None
    if last is not None and last.current != loaded.digest:
        return _way_back(settings, run, _reject(settings, loaded.digest, failure), report)
    return remember(settings, loaded, report)


def instead(loaded: LoadedSpecs, settings: Settings, orders: Orders) -> tuple[LoadedSpecs, Orders, RolledBack | None]:
    """Return what a pass applies in the place of `loaded`, and why: what a dry run is to plan. Writes nothing."""
    rejected = _rejected_as(loaded, settings)
    last = read_last_good(settings.state_dir)
    if rejected is None or last is None or (rejected.successor and orders.is_taking_over):
        return loaded, orders, None
    return last.load(settings), _WAY_BACK, _reason_for(rejected, last)


def take_back(settings: Settings, trial_id: str, reason: str, run: Run) -> Report | None:
    """End a trial by going back to the last good specs; None when it was confirmed or taken back before.

    For holders of the host's lock. A repeat is harmless: the trial counts until the way back was walked.
    """
    trial = read_trial(settings.state_dir)
    return None if trial is None or trial.id != trial_id else _taken_back(trial, settings, reason, run)


def confirm(settings: Settings) -> str:
    """Make the specs on trial the last good ones; give their digest. For holders of the host's lock.

    Raises ReconcilerError when none are on trial, Refused when their time is over.
    """
    trial = read_trial(settings.state_dir)
    if trial is None:
        raise ReconcilerError("no specs are on trial: they were confirmed or taken back before")
    if trial.is_over():
        raise Refused("the time of the trial is over: the last good specs come back with the next pass")
    last = read_last_good(settings.state_dir)
    new = LastGood(versions={trial.digest: trial.texts}, current=trial.digest, specs=trial.specs)
    new = last.followed_by(trial.digest, trial.texts, trial.kept, trial.specs) if last else new
    write_last_good(settings.state_dir, new)
    if last is not None and last.specs and last.specs != trial.specs:
        reason = f"{trial.digest[:12]} of {trial.specs} were confirmed on trial"
        superseded = RejectedSpecs(digest=last.current, reason=reason, successor=trial.specs)
        write_rejected(settings.state_dir, superseded)
    else:
        forget_rejected(settings.state_dir)
    forget_trial(settings.state_dir)
    return trial.digest


def remember(settings: Settings, loaded: LoadedSpecs, report: Report) -> Report:
    """Keep the specs of a pass that was verified; give the report, with a problem where that was refused: what was done stands.

    Writes nothing when they were known to be good.
    """
    try:
        _remember(settings, loaded, report)
    except KernelError as error:
        problem = StatusError(f"these specs are applied, and cannot be remembered as the last good ones: {error}")
        return report.with_problem(STATUS_UNIT, problem)
    return report


def _remember(settings: Settings, loaded: LoadedSpecs, report: Report) -> None:
    if not _is_verified(report):
        return
    held = [(unit, error) for unit, error in report.drift.problems if isinstance(error, (Protected, Suspended))]
    kept = tuple(sorted({unit.network for unit, _ in held}))
    verified = read_verified(settings.state_dir)
    known = verified and (verified.digest, verified.kept, verified.specs)
    is_remembered = known == (loaded.digest, kept, loaded.folder)
    if not is_remembered or not has_last_good(settings.state_dir):
        _remember_texts(settings, loaded, kept)
    found = Verified(digest=loaded.digest, place=place(), kept=kept, specs=loaded.folder, sandboxes=_sandboxes(report))
    if found != verified and not any(isinstance(error, Suspended) for _, error in held):
        write_verified(settings.state_dir, found)


def forget(settings: Settings, report: Report) -> Report:
    """Forget all specs once what they declared was taken down; what is left of it still needs them.

    Give the report, with a problem where that was refused.
    """
    try:
        _forget(settings, report)
    except KernelError as error:
        return report.with_problem(STATUS_UNIT, StatusError(f"what was applied here cannot be forgotten: {error}"))
    return report


def _forget(settings: Settings, report: Report) -> None:
    forget_trial(settings.state_dir)
    if _is_verified(report) and not report.drift.problems:
        forget_all(settings.state_dir)
    else:
        forget_verified(settings.state_dir)


def _remember_texts(settings: Settings, loaded: LoadedSpecs, kept: tuple[str, ...]) -> None:
    last = read_last_good(settings.state_dir)
    new = LastGood(versions={loaded.digest: loaded.texts}, current=loaded.digest, specs=loaded.folder)
    new = new if last is None else last.followed_by(loaded.digest, loaded.texts, kept, loaded.folder)
    if new != last:
        write_last_good(settings.state_dir, new)
    if last is None or (last.current, last.specs) != (new.current, new.specs):
        forget_rejected(settings.state_dir)


def _sandboxes(report: Report) -> dict[NsRef, int]:
    lenient = {n.name for n in report.desired.networks if n.wanted.on_drift is not OnDrift.CORRECT}
    if not lenient:
        return {}
    return {
        attachment.wanted.sandbox.ns: report.sandboxes[attachment.wanted.sandbox.ns]
        for attachment in report.desired.attachments
        if attachment.wanted.sandbox.ns in report.sandboxes and any(e.network in lenient for e in attachment.endpoints)
    }


def _is_verified(report: Report) -> bool:
    if report.spec_faults or report.desired.has_faults:
        return False
    return all(issue.reason in _TOLERATED and issue.unit != HOST_UNIT for issue in unsettled(report))


def _failure(report: Report) -> str:
    """Return what speaks against the specs; "" when nothing does. What a guard refused or left is not their failure."""
    for issue in unsettled(report):
        if issue.reason not in _TOLERATED and issue.exit_code is not ExitCode.GUARDED:
            return issue.message
    return ""


def _reject(settings: Settings, digest: str, reason: str) -> RejectedSpecs:
    rejected = RejectedSpecs(digest=digest, reason=reason)
    write_rejected(settings.state_dir, rejected)
    return rejected


def _way_back(settings: Settings, run: Run, rejected: RejectedSpecs, failed: Report | None = None) -> Report:
    """Run a pass with the last good specs and say why."""
    last = read_last_good(settings.state_dir)
    if last is None:
        raise Refused(
            f"specs {rejected.digest[:12]} are not applied ({rejected.reason}), and none are known to be good"
        )
    loaded = last.load(settings)
    report = run(loaded, _WAY_BACK)
    failure = _failure(report)
    report = remember(settings, loaded, report)
    error: ReconcilerError = _reason_for(rejected, last)
    if failure:
        error = ReconcilerError(
            f"specs {rejected.digest[:12]} could not be rolled back to {last.current[:12]}: {failure}"
        )
    earlier = failed.outcomes if failed else ()
    told = replace(report.drift, problems=((HOST_UNIT, error), *report.drift.problems))
    return replace(report, drift=told, outcomes=(*earlier, *report.outcomes))


def _rejected_as(loaded: LoadedSpecs, settings: Settings) -> RejectedSpecs | None:
    """Return as what these specs are not applied; None when they are."""
    rejected = read_rejected(settings.state_dir)
    return rejected if rejected is not None and rejected.digest == loaded.digest else None


def _reason_for(rejected: RejectedSpecs, last: LastGood) -> RolledBack:
    """Return why the last good specs are in force instead, and what to do about it."""
    which = rejected.digest[:12]
    if rejected.successor:
        return Superseded(
            f"specs {which} are superseded: {rejected.reason}, and stay in force until these change; put those into this folder "
            "too, or run `reconcile --take-over` if these stand instead"
        )
    return RolledBack(
        f"specs {which} were rolled back to {last.current[:12]}: {rejected.reason}; "
        "they are applied again when they change, or by `reconcile try`"
    )


def _end_of_trial(loaded: LoadedSpecs, settings: Settings, run: Run) -> Report | None:
    """Take back a trial whose time is over; give the pass that did when `loaded` are the specs that were on trial."""
    trial = read_trial(settings.state_dir)
    if trial is None:
        return None
    if not trial.is_over():
        raise TrialPending(
            f"specs {trial.digest[:12]} are on trial for {trial.left_s():.0f} s more; "
            "`reconcile try --confirm` keeps them, `reconcile try --revert` takes them back"
        )
    report = _taken_back(trial, settings, "nobody confirmed them in time", run)
    return report if trial.digest == loaded.digest else None


def _taken_back(trial: Trial, settings: Settings, reason: str, run: Run) -> Report:
    rejected = _reject(settings, trial.digest, reason)
    if read_last_good(settings.state_dir) is None:
        # Somebody removed the file: there is no way back, and passes must go on.
        forget_trial(settings.state_dir)
    report = _way_back(settings, run, rejected)
    forget_trial(settings.state_dir)
    return report


def _trial_pass(loaded: LoadedSpecs, settings: Settings, orders: Orders, run: Run) -> Report:
    """Run a pass with specs that are taken back unless they are confirmed; those known to be good need no trial."""
    if loaded.faults:
        raise loaded.faults[0]
    last = read_last_good(settings.state_dir)
    if last is None:
        raise Refused("no specs are known to be good yet, so there is nothing to go back to: run `reconcile` first")
    if last.current == loaded.digest:
        return remember(settings, loaded, run(loaded, orders))
    trial = Trial(
        id=secrets.token_hex(8),
        digest=loaded.digest,
        texts=loaded.texts,
        deadline=since_boot() + orders.trial_s,
        boot=current_boot(),
        specs=loaded.folder,
    )
    write_trial(settings.state_dir, trial)
    report = run(loaded, orders)
    if not _is_verified(report):
        reason = _failure(report) or "a guard refused a part of them"
        return replace(_taken_back(trial, settings, reason, run), plan=report.plan)
    # The person who watches has the whole time from now on.
    kept = {
        unit.network: last.kept.get(unit.network, last.current)
        for unit, error in report.drift.problems
        if isinstance(error, (Protected, Suspended)) and unit != Unit()
    }
    write_trial(settings.state_dir, replace(trial, deadline=since_boot() + orders.trial_s, kept=kept))
    return report
