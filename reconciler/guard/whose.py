"""Whether this host is run from the folders that we were given, or from others, which must not lose what they made. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.errors import AnothersHost
from reconciler.guard.orders import Orders
from reconciler.ipam.promises import Promises
from reconciler.model.identifiers import BUILTIN_NETWORKS, GATEWAY_NETWORK
from reconciler.model.marks import Mark
from reconciler.model.wanted import WantedState
from reconciler.model.words import some
from reconciler.settings import Settings

_NAMED_MAX = 5


def anothers_state(marks: Iterable[Mark], settings: Settings, orders: Orders) -> AnothersHost | None:
    """Return why nothing may be done here: all bridges are run from another state folder.

    Where only some are, a take-over was cut short.
    """
    found = tuple(marks)
    if orders.is_taking_over or not found or any(mark.is_of_state(settings.state_folder) for mark in found):
        return None
    return AnothersHost(
        f"the networks of this host are run with --state-dir {found[0].state}, and this is {settings.state_folder}: "
        "one host has one state folder; if it was moved, or its owner is gone for good, run `reconcile --take-over`"
    )


def anothers_specs(
    marks: Iterable[Mark], wanted: WantedState, promises: Promises, settings: Settings, orders: Orders
) -> AnothersHost | None:
    """Return why these specs may not be applied: they would remove what those in another folder made.

    Specs with faults remove nothing.
    """
    found = tuple(marks)
    is_same = any(mark.is_of_specs(settings.specs_folder) for mark in found)
    is_allowed = orders.is_taking_over or orders.trial_s or orders.is_reverting
    if is_allowed or wanted.has_faults or is_same or not found:
        return None
    gone = _gone(found, wanted, promises)
    if not gone:
        return None
    return AnothersHost(
        f"this host is run with --specs {found[0].specs}, and {settings.specs_folder} would remove what those made: "
        f"{some(gone, _NAMED_MAX)}; declare both in one folder, or run `reconcile --take-over` if these stand instead"
    )


def _gone(marks: Iterable[Mark], wanted: WantedState, promises: Promises) -> list[str]:
    networks = {mark.network for mark in marks} | promises.networks.keys()
    networks -= {*BUILTIN_NETWORKS, GATEWAY_NETWORK, *(network.name for network in wanted.networks)}
    attachments = {attachment for _, attachment in promises.endpoints} - {each.name for each in wanted.attachments}
    return [f"network {name}" for name in sorted(networks)] + [f"attachment {name}" for name in sorted(attachments)]
