"""What the person who starts a pass allows it to do. Values only."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Orders(Struct, frozen=True, kw_only=True):
    """is_prune_allowed: however many networks are no longer declared, they may go.

    unprotected: protected networks that may go as well; is_protection_off: all of them may.
    is_rollback_wanted: go back to the last good specs when these cannot be verified.
    trial_s: more than 0: the specs are on trial, see `reconciler.guard.trial`. is_reverting: this is the way back.
    is_taking_over: the host is run from our folders from now on, whoever ran it before.
    """

    is_prune_allowed: bool = False
    unprotected: frozenset[str] = frozenset()
    is_protection_off: bool = False
    is_rollback_wanted: bool = False
    trial_s: float = 0.0
    is_reverting: bool = False
    is_taking_over: bool = False


NO_ORDERS: Final = Orders()
