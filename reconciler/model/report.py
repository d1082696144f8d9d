"""What one pass found and did: the value that status files, logs and exit codes are made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from msgspec import field
from msgspec.structs import replace

from reconciler.errors import ReconcilerError, SpecError
from reconciler.model.desired import DesiredState
from reconciler.model.expectation import Expectation
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Unit
from reconciler.model.plan import Outcome, Plan
from reconciler.model.values import Value
from reconciler.model.wanted import Source, SpecWarning


class Probed(Value, frozen=True, kw_only=True):
    """What real packets said: reason and message for the reader; how many were asked, and how many did not go as the specs say."""

    uncompared: ClassVar[frozenset[str]] = frozenset({"asked"})
    reason: Literal["PacketsAgree", "PacketsDisagree", "NotAsked"]
    message: str
    asked: int = 0
    differing: int = 0


class Report(Value, frozen=True, kw_only=True):
    """One pass.

    plan: what was to be done (of the first round), its problems included. outcomes: empty for a dry run.
    drift: what a second look still found to be done; no operations is the proof that the host is as desired.
    digest: of the specs' names and contents. sandboxes: the inode of each sandbox's namespace at the last look.
    running: the endpoints whose link was there at the last look. sources: where units are declared. spec_files: those read.
    expectations: those that they hold. revision: the commit that they are at, "" where they are in no repository, or not told yet.
    probed: None where nobody sends packets.
    """

    unshown: ClassVar[frozenset[str]] = frozenset({"sources"})
    desired: DesiredState
    plan: Plan
    outcomes: tuple[Outcome, ...] = ()
    drift: Plan = field(default_factory=Plan)
    spec_faults: tuple[SpecError, ...] = ()
    spec_warnings: tuple[SpecWarning, ...] = ()
    spec_files: tuple[str, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    digest: str = ""
    revision: str = ""
    sandboxes: Mapping[NsRef, int] = field(default_factory=dict)
    running: frozenset[Unit] = frozenset()
    probed: Probed | None = None
    sources: Mapping[Unit, Source] = field(default_factory=dict)

    def with_problem(self, unit: Unit, error: ReconcilerError) -> Report:
        """Return the same with one more problem, found after the last look."""
        return replace(self, drift=replace(self.drift, problems=(*self.drift.problems, (unit, error))))
