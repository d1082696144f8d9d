"""What a pass must leave as it is although it differs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from reconciler.errors import Held
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import HOST_UNIT, Unit


class OnDrift(StrEnum):
    """What is done when somebody else changed what is ours: put it back, tell of it, or nothing."""

    CORRECT = "correct"
    WARN = "warn"
    IGNORE = "ignore"


class Holds(Struct, frozen=True, kw_only=True):
    """Found by `guard`, obeyed by every look of the pass.

    refused: what stays although the specs no longer declare it; it is declared again for this pass, so this is only told.
    suspended: networks, or the host unit for everything; no operation may touch them.
    on_drift: networks whose drift is left, present only while nothing but drift can be the cause of a difference.
    sandboxes: inodes of the sandboxes' namespaces when the host was last verified; another one is no drift.
    """

    refused: tuple[tuple[Unit, Held], ...] = ()
    suspended: tuple[tuple[Unit, Held], ...] = ()
    on_drift: Mapping[str, OnDrift] = field(default_factory=dict)
    sandboxes: Mapping[NsRef, int] = field(default_factory=dict)

    @property
    def are_all_suspended(self) -> bool:
        return any(unit == HOST_UNIT for unit, _ in self.suspended)
