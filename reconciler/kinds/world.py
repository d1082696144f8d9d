"""What operations are carried out through."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kv.protocol import KvStore
from reconciler.model.plan import Operation, Outcome
from reconciler.settings import Settings

Handler = Callable[[Sequence[Operation]], Sequence[Outcome]]
"""Carries out operations that are independent of each other: one outcome each, in order. Never raises for one of them."""


class World(Struct, frozen=True, kw_only=True):
    """What the operations of one pass are carried out through. nft: the host's. kv: this host's own store. planned: all of them."""

    settings: Settings
    namespaces: Namespaces
    nft: Nft
    kv: KvStore
    planned: Sequence[Operation]
