"""What operations are carried out through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kv.protocol import KvStore
from reconciler.model.plan import Operation, Outcome
from reconciler.settings import Settings

if TYPE_CHECKING:
    from reconciler.kinds.cluster_record import LookedAtStore
    from reconciler.kinds.name_tables import Published
    from reconciler.plugin.client import Plugins

Handler = Callable[[Sequence[Operation]], Sequence[Outcome]]
"""Carries out operations that are independent of each other: one outcome each, in order. Never raises for one of them."""


class World(Struct, frozen=True, kw_only=True):
    """What the operations of one pass are carried out through.

    nft: the host's. kv: this host's own store; cluster: the cluster's, None for a host in no cluster. plugins: whom to ask for
    who speaks to them, which not every host needs. planned: all operations of the pass.
    """

    settings: Settings
    namespaces: Namespaces
    nft: Nft
    kv: KvStore
    cluster: LookedAtStore | None
    names: Published
    plugins: Callable[[], Plugins]
    planned: Sequence[Operation]
