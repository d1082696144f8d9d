"""A small kernel made of a dictionary: refuses what the real one refuses and takes along what the real one takes along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from reconciler.errors import KernelError
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    Address,
    Bridge,
    DeadEnd,
    FdbEntry,
    Ipvlan,
    Key,
    LinkUp,
    Macvlan,
    Namespace,
    Neighbour,
    Object,
    Route,
    Seen,
    Sysctl,
    VethPair,
    Vlan,
    Vxlan,
)
from reconciler.model.plan import Action, Operation, Outcome

EEXIST, ENOENT, ENODEV = 17, 2, 19

_ON_A_LINK = (LinkUp, Address, Route, FdbEntry, Neighbour)
_INSIDE = (*_ON_A_LINK, Bridge, Vxlan, Macvlan, Ipvlan, Sysctl)
UPLINK = "uplink0"
"""A link that the host always has."""


class SimulatedKernel:
    """Holds objects; `apply` carries out operations one by one. Foreign namespaces named in `sandboxes` always exist."""

    def __init__(self, objects: Iterable[Seen] = (), sandboxes: Iterable[NsRef] = ()) -> None:
        self.seen: dict[Key, Seen] = {found.object.key: found for found in objects}
        self._sandboxes = frozenset(sandboxes)

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        return [self._outcome(operation) for operation in operations]

    def _outcome(self, operation: Operation) -> Outcome:
        try:
            self.apply_one(operation)
        except KernelError as error:
            return Outcome(operation=operation, error=error)
        return Outcome(operation=operation)

    def apply_one(self, operation: Operation) -> None:
        """Carry out one operation; raises KernelError where the real kernel would."""
        found = operation.object
        if operation.action is Action.DELETE:
            self._refuse(found.key not in self.seen, ENOENT, operation)
            assert self.seen[found.key].is_ours, "only what is ours may be deleted"
            self._delete(found)
            return
        is_there = found.key in self.seen
        self._refuse(is_there and operation.action is Action.CREATE and not isinstance(found, Route), EEXIST, operation)
        self._refuse(not is_there and operation.action is Action.UPDATE, ENOENT, operation)
        self._refuse(not self._has_all_it_needs(found), ENODEV, operation)
        self.seen[found.key] = Seen(found, is_ours=not isinstance(found, Sysctl))

    def _refuse(self, is_refused: bool, errno: int, operation: Operation) -> None:
        if is_refused:
            raise KernelError(errno, operation.describe())

    def _has_all_it_needs(self, found: Object) -> bool:
        match found:
            case VethPair():
                return ("Bridge", found.ns, found.master) in self.seen and self._has_namespace(found.peer_ns)
            case Vxlan():
                return ("Bridge", found.ns, found.master) in self.seen
            case Bridge() | DeadEnd():
                return found.ns == HOST or self._has_namespace(found.ns)
            case Macvlan() | Ipvlan():
                has_parent = found.parent == UPLINK or any(
                    (kind, HOST, found.parent) in self.seen for kind in ("DeadEnd", "Vlan")
                )
                return has_parent and self._has_namespace(found.ns)
            case FdbEntry() | Neighbour():
                return ("Vxlan", found.ns, found.ifname) in self.seen
            case LinkUp() | Address():
                return self._has_link(found.ns, found.ifname)
            case Route():
                return any(
                    isinstance(o, Address) and (o.ns, o.ifname) == (found.ns, found.ifname) for o in self._objects()
                )
        return True

    def _has_namespace(self, ns: NsRef) -> bool:
        return ns in self._sandboxes or ("Namespace", ns) in self.seen

    def _has_link(self, ns: NsRef, ifname: str) -> bool:
        if ifname == "lo":
            return self._has_namespace(ns)
        kinds = ("Bridge", "DeadEnd", "Macvlan", "Ipvlan")
        return any((kind, ns, ifname) in self.seen for kind in kinds) or any(
            isinstance(o, VethPair) and (o.peer_ns, o.peer_ifname) == (ns, ifname) for o in self._objects()
        )

    def _objects(self) -> list[Object]:
        return [found.object for found in self.seen.values()]

    def _delete(self, found: Object) -> None:
        del self.seen[found.key]
        match found:
            case Bridge():
                self._drop_on(found.ns, found.ifname)
                for port in self._objects():
                    if isinstance(port, (VethPair, Vxlan)) and (port.ns, port.master) == (found.ns, found.ifname):
                        self.seen[port.key] = Seen(replace(port, master=""), is_ours=True)
            case VethPair():
                self._drop_on(found.peer_ns, found.peer_ifname)
            case Vxlan() | Macvlan() | Ipvlan():
                self._drop_on(found.ns, found.ifname)
            case DeadEnd() | Vlan():
                self._drop_on(found.ns, found.ifname)
                for child in self._objects():
                    if isinstance(child, (Macvlan, Ipvlan)) and child.parent == found.ifname:
                        self._delete(child)
            case Namespace():
                for inside in self._objects():
                    if isinstance(inside, VethPair) and found.ns in (inside.ns, inside.peer_ns):
                        self._delete(inside)
                for inside in self._objects():
                    if isinstance(inside, _INSIDE) and inside.ns == found.ns:
                        del self.seen[inside.key]
            case Address():
                self._flush_routes(found)

    def _drop_on(self, ns: NsRef, ifname: str) -> None:
        for other in self._objects():
            is_on = isinstance(other, _ON_A_LINK) and (other.ns, other.ifname) == (ns, ifname)
            is_setting = isinstance(other, Sysctl) and other.ns == ns and f"/{ifname}/" in other.name
            if is_on or is_setting:
                del self.seen[other.key]

    def _flush_routes(self, last: Address) -> None:
        where = (last.ns, last.ifname)
        if any(isinstance(o, Address) and (o.ns, o.ifname) == where for o in self._objects()):
            return
        for route in self._objects():
            if isinstance(route, Route) and (route.ns, route.ifname) == where:
                del self.seen[route.key]
