"""Which networks a pass refuses to remove although the specs no longer declare them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from msgspec import Struct

from reconciler.errors import Held, Protected, PruneRefused
from reconciler.guard.orders import Orders
from reconciler.ipam.promises import Promises
from reconciler.model.identifiers import BUILTIN_NETWORKS, GATEWAY_NETWORK
from reconciler.model.objects import HOST_UNIT, Unit
from reconciler.model.wanted import WantedState
from reconciler.settings import PruneLimit


class Refusals(Struct, frozen=True, kw_only=True):
    """networks: those that stay, each with the reason. is_whole: the specs are not believed at all, no attachment goes either."""

    networks: Mapping[str, Held]
    is_whole: bool = False

    def told(self) -> tuple[tuple[Unit, Held], ...]:
        """Return whom to tell it of; the host when specs without any network would take attachments away."""
        if self.is_whole and not self.networks:
            return ((HOST_UNIT, PruneRefused(_EMPTY)),)
        return tuple((Unit(network=name), error) for name, error in sorted(self.networks.items()))


_EMPTY = "the specs declare nothing any more; if that is meant, run `reconcile --allow-prune` or `reconcile down`"


def refusals(
    wanted: WantedState, promises: Promises, limit: PruneLimit, orders: Orders, *, has_members: bool
) -> Refusals:
    """Compare what runs by the promises with what is declared. Specs with faults remove nothing anyway.

    has_members: some attachment is on some network.
    """
    if wanted.has_faults:
        return Refusals(networks={})
    declared = {network.name for network in wanted.networks}
    running = promises.networks.keys() - BUILTIN_NETWORKS - _implied(promises)
    gone = running - declared
    is_suspicious = _is_suspicious(wanted, limit, len(gone), len(running), has_members=has_members)
    if not orders.is_prune_allowed and is_suspicious:
        return Refusals(networks={name: _too_many(name, len(gone), len(running)) for name in gone}, is_whole=True)
    if orders.is_protection_off:
        return Refusals(networks={})
    kept = {name for name in gone - orders.unprotected if promises.networks[name].is_protected}
    return Refusals(networks={name: _protected(name) for name in kept})


def unheeded(orders: Orders, wanted: WantedState, promises: Promises) -> Iterator[str]:
    """Yield remarks on names that protection shall be taken from and that no protected network has."""
    if not orders.unprotected:
        return
    known = {name for name, promise in promises.networks.items() if promise.is_protected}
    known |= {network.name for network in wanted.networks if network.is_protected}
    for name in sorted(orders.unprotected - known):
        near = get_close_matches(name[:64], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"protected are: {', '.join(sorted(known)) or 'none'}"
        yield f"--unprotect {name}: no protected network has that name; {hint}"


def _implied(promises: Promises) -> frozenset[str]:
    """The gateway network of overlay networks comes and goes with who needs it, unless somebody protected it."""
    found = promises.networks.get(GATEWAY_NETWORK)
    return frozenset() if found is None or found.is_protected else frozenset((GATEWAY_NETWORK,))


def _is_suspicious(wanted: WantedState, limit: PruneLimit, gone: int, running: int, *, has_members: bool) -> bool:
    users = [network for network in wanted.networks if network.name not in BUILTIN_NETWORKS]
    if not users and not wanted.attachments:
        return bool(gone or has_members)
    return limit.is_exceeded(gone, running) or bool(gone and not users)


def _too_many(name: str, gone: int, running: int) -> PruneRefused:
    return PruneRefused(
        f"network {name} is no longer declared, but the specs would remove {gone} of {running} networks at once, so none goes; "
        "mend the specs, or run `reconcile --allow-prune`"
    )


def _protected(name: str) -> Protected:
    return Protected(
        f"network {name} is protected and stays although it is no longer declared; "
        f"declare it with `protect: false` first, or run `reconcile --unprotect {name}`"
    )
