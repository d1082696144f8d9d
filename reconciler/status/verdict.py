"""What a pass left unsettled, and which exit code says so. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from reconciler.errors import (
    AddressesAwaited,
    AnothersHost,
    DriftLeft,
    ExitCode,
    FightingWriter,
    FirewallMissing,
    KvError,
    NameConflict,
    ParentMissing,
    PlanError,
    PluginError,
    Protected,
    PruneRefused,
    ReconcilerError,
    RepositoryUnreachable,
    ResolverError,
    RevisionUnreadable,
    RolledBack,
    SandboxMissing,
    SpecError,
    StatusError,
    Superseded,
    Suspended,
)
from reconciler.model.objects import Unit
from reconciler.model.plan import Plan
from reconciler.model.report import Report
from reconciler.model.words import some, without

_PRECEDENCE: Final = (
    ExitCode.BAD_CONFIG,
    ExitCode.NO_PRIVILEGE,
    ExitCode.LOCKED,
    ExitCode.UNAVAILABLE,
    ExitCode.BAD_SPECS,
    ExitCode.ROLLED_BACK,
    ExitCode.GUARDED,
    ExitCode.FAILED,
    ExitCode.UNREACHED,
    ExitCode.CHANGES,
    ExitCode.OK,
)
"""Of several failures the one that must be mended first: the tool's surroundings, then the specs, then what the host refused."""

_SHOWN: Final = 3

REASONS: Final[tuple[tuple[type[ReconcilerError], str], ...]] = (
    (Protected, "Protected"),
    (PruneRefused, "PruneGuard"),
    (Suspended, "Suspended"),
    (DriftLeft, "DriftDetected"),
    (Superseded, "Superseded"),
    (RolledBack, "RolledBack"),
    (AnothersHost, "AnothersHost"),
    (NameConflict, "OwnershipConflict"),
    (SandboxMissing, "SandboxMissing"),
    (ParentMissing, "ParentMissing"),
    (RepositoryUnreachable, "RepositoryUnreachable"),
    (RevisionUnreadable, "RevisionRefused"),
    (SpecError, "ValidationFailed"),
    (PluginError, "PluginFailed"),
    (AddressesAwaited, "AddressesAwaited"),
    (FightingWriter, "FightingWriter"),
    (PlanError, "BuildFailed"),
    (FirewallMissing, "FirewallMissing"),
    (ResolverError, "NamesUnavailable"),
    (KvError, "KVUnavailable"),
    (StatusError, "StatusNotWritten"),
)


OTHERS_IN_FORCE: Final = frozenset({"RepositoryUnreachable", "RevisionRefused", "RolledBack", "Superseded"})
"""Reasons that say that other specs are in force, and nothing against what these declare."""


class Unsettled(Struct, frozen=True, kw_only=True):
    """One unit that is not as declared. reason: one word for machines; message: one line for the person who must act."""

    unit: Unit
    reason: str
    message: str
    is_retryable: bool
    exit_code: ExitCode

    @property
    def is_on_purpose(self) -> bool:
        """Return whether somebody asked for it: no failure, and nothing for the pass to mend."""
        return self.exit_code is ExitCode.OK


def reason_of(kind: type[ReconcilerError]) -> str:
    """Return the reason of an error: the first of a class that it is one of."""
    return next((reason for of, reason in REASONS if issubclass(kind, of)), "ApplyFailed")


def unsettled(report: Report) -> tuple[Unsettled, ...]:
    """Return what an applied pass could not bring about, by the last look at the host; nothing is the proof that all is as desired.

    Outcomes do not count by themselves: what failed once and was mended since is fine.
    """
    return (*_problems(report, report.drift), *_remaining(report))


def undecided(report: Report) -> tuple[Unsettled, ...]:
    """Return what a dry run found impossible; the changes that it proposes are no failure."""
    return _problems(report, report.plan)


def exit_code(report: Report, issues: Iterable[Unsettled]) -> ExitCode:
    codes = [issue.exit_code for issue in issues]
    return first_to_mend([*codes, ExitCode.BAD_SPECS] if report.spec_faults else codes)


def first_to_mend(codes: Iterable[ExitCode]) -> ExitCode:
    """Choose one exit code for several failures; OK when there are none."""
    return min(codes, key=_PRECEDENCE.index, default=ExitCode.OK)


def _problems(report: Report, plan: Plan) -> tuple[Unsettled, ...]:
    """Who awaits addresses that a plugin did not give has the plugin's error for a reason."""
    found = {(unit, str(error)): error for unit, error in (*report.desired.failures, *plan.problems)}
    explained = {unit for (unit, _), error in found.items() if not isinstance(error, AddressesAwaited)}
    return tuple(
        _from_error(unit, error)
        for (unit, _), error in sorted(found.items(), key=lambda item: item[0])
        if not (isinstance(error, AddressesAwaited) and unit in explained)
    )


def _from_error(unit: Unit, error: ReconcilerError) -> Unsettled:
    return Unsettled(
        unit=unit,
        reason=reason_of(type(error)),
        message=without(str(error), *unit.names()),  # whoever shows it names the unit
        is_retryable=error.is_retryable,
        exit_code=error.exit_code,
    )


def _remaining(report: Report) -> Iterable[Unsettled]:
    """One entry per unit that the last look found different."""
    remaining: dict[Unit, list[str]] = {}
    for operation in report.drift.operations:
        remaining.setdefault(operation.unit, []).append(operation.describe())
    for unit, descriptions in sorted(remaining.items()):
        yield Unsettled(
            unit=unit,
            reason="VerifyFailed",
            message=f"not as desired after the pass, still to do: {some(descriptions, _SHOWN)}",
            is_retryable=True,
            exit_code=ExitCode.FAILED,
        )
