"""What specs leave open, chosen: pools, addresses, links, host ports. One chain, for passes and for those foreseen. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from reconciler.drivers.remote_told import with_plugins
from reconciler.errors import AddressesAwaited, PortTaken, ReconcilerError
from reconciler.facts import Facts
from reconciler.incremental import Kept
from reconciler.ipam.assign import Assigner
from reconciler.ipam.held import Published, of_attachments, with_held
from reconciler.ipam.leases import Leases, leases
from reconciler.ipam.promises import Promises
from reconciler.model.cluster import ClusterState
from reconciler.model.desired import DesiredState
from reconciler.model.objects import Unit
from reconciler.model.wanted import Source, WantedState
from reconciler.ports.assign import PortAssigner
from reconciler.ports.links import assign_links


class Choices:
    """Chooses again and again: what depends on nothing that has changed is as it was, a new one chooses the same from nothing."""

    def __init__(self) -> None:
        self._ask, self._ask_at_last = Kept(), Kept()
        self._assign, self._assign_ports = Assigner(), PortAssigner()

    def __call__(
        self,
        wanted: WantedState,
        facts: Facts,
        promises: Promises,
        cluster: ClusterState,
        published: Published,
        sources: Mapping[Unit, Source],
    ) -> tuple[DesiredState, Leases]:
        """Return what this host shall have, with what stays as it runs, and what IPAM plugins gave for it.

        published: by the firewall right now, and so it stays, whether or not the store remembers it. sources: where units are
        declared now, which `wanted` may know as it was when it was chosen for last.
        """
        ask, plugins, promised = self._ask, facts.records.plugins, facts.records.ports
        unresolved = frozenset(name for name, error in cluster.refused.items() if isinstance(error, AddressesAwaited))
        leased = ask(leases, wanted, plugins, facts.incarnations, facts.host.name, unresolved=unresolved)
        desired = self._assign(wanted, facts.host, promises, cluster, leased)
        desired = ask(assign_links, ask(with_held, desired, wanted, promises, published, promised))
        desired = ask(self._assign_ports.__call__, desired, promised, ask(of_attachments, published), facts.ports)
        desired = self._ask_at_last(with_held, desired, wanted, promises, published, promised)
        desired = ask(with_plugins, desired, plugins, facts.sandboxes, leased.endpoints)
        return _placed(desired, sources), leased


def _placed(desired: DesiredState, sources: Mapping[Unit, Source]) -> DesiredState:
    """Have failures name the lines of the specs, as they are now: what is chosen does not depend on lines."""
    placed = tuple((unit, _naming(error, sources)) for unit, error in desired.failures)
    is_same = all(new is old for (_, new), (_, old) in zip(placed, desired.failures, strict=True))
    return desired if is_same else replace(desired, failures=placed)


def _naming(error: ReconcilerError, sources: Mapping[Unit, Source]) -> ReconcilerError:
    place = sources.get(Unit(attachment=error.holder)) if isinstance(error, PortTaken) and error.holder else None
    return error if place is None or not isinstance(error, PortTaken) else error.naming(place)
