"""What exists: the objects found, and the facts about the host that choices depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.errors import ReconcilerError
from reconciler.model.desired import HostFacts
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Key, Seen, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFact:
    """A namespace that was looked for. inode: of its nsfs file, 0 when it is not there; is_ours: made by this instance.

    error: why it cannot be used (gone, is the host's own, held by another attachment); a missing one of kind netns has none.
    """

    inode: int
    is_ours: bool = False
    error: ReconcilerError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the host. failures: units that could not be looked at (no nft: the host unit), with the reason."""

    host: HostFacts
    seen: Mapping[Key, Seen]
    sandboxes: Mapping[NsRef, SandboxFact] = field(default_factory=dict)
    failures: tuple[tuple[Unit, ReconcilerError], ...] = ()
