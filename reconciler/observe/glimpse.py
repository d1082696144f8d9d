"""What one look into a sandbox gives."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from reconciler.kernel.links import NSID_NOT_ASSIGNED, Link
from reconciler.kinds.view import Peers
from reconciler.model.identifiers import NsRef
from reconciler.model.observed import Keyed, SandboxFact


class Glimpse(Struct, frozen=True, kw_only=True):
    """What one look into a namespace gave.

    asked: the settings that it was asked for. peers: far ends found there, by the namespace of the near end, each by that one's
    number for this namespace, and the index. sublinks: our macvlan and ipvlan links there, host_nsid its number for the host.
    """

    fact: SandboxFact
    asked: frozenset[str] = frozenset()
    seen: Keyed = field(default_factory=dict)
    peers: Mapping[NsRef, Peers] = field(default_factory=dict)
    sublinks: tuple[Link, ...] = ()
    host_nsid: int = NSID_NOT_ASSIGNED
