"""The difference between what shall be and what is, as ordered operations. An empty plan is the proof of convergence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import AddressesAwaited, NameConflict, ReconcilerError
from reconciler.incremental import Later, Table
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import Place
from reconciler.model.objects import Key, LinkUp, Object, Seen, Unit, objects_differ
from reconciler.model.plan import Action, Disruption, Operation, Plan
from reconciler.plan.differing import Differences, Differing
from reconciler.plan.disruption import disruption_of, must_be_made_anew
from reconciler.plan.ordering import is_forgetting, step
from reconciler.plan.ownership import Owners


class Boundaries(Struct, frozen=True, kw_only=True):
    """What must stay as it is.

    failures: units that could not be decided or looked at; nothing of theirs is touched.
    is_pruning: False when the specs could not all be read; then only what declared units no longer need may go.
    declared: every unit that the specs that could be read speak of, where it is not pruning.
    remarks: what is in the way of units that are brought about all the same, as far as that goes.
    ended: endpoints that are not wanted any more and may go, whatever stands in the way of their network.
    kept: what is wanted of units that are left alone all the same, as it only tells of what runs.
    """

    failures: Sequence[tuple[Unit, ReconcilerError]] = ()
    is_pruning: bool = True
    declared: frozenset[Unit] = frozenset()
    remarks: Sequence[tuple[Unit, ReconcilerError]] = ()
    ended: frozenset[Unit] = frozenset()
    kept: frozenset[Key] = frozenset()


def make_plan(
    wanted: Mapping[Key, Object],
    seen: Mapping[Key, Seen],
    owners: Owners,
    boundaries: Boundaries,
    differences: Differences | None = None,
) -> Plan:
    """Return the operations that turn `seen` into `wanted`, in order, and the units left alone with the reason.

    Pure and total: the same input gives the same plan in the same order, whatever the order of the mappings. differences: what
    `Differing` gives for the two, to save work.
    """
    wanted = wanted if isinstance(wanted, Table) else Table(wanted, objects_differ)
    differences = differences or Differing()(wanted, seen)
    problems = [*boundaries.failures, *_conflicts(differences.contested, wanted, seen)]
    blocked = Blocked(unit for unit, _ in problems)
    # Who awaits addresses is left alone but for being given them, or told where they come from.
    stopped = Blocked(unit for unit, error in problems if not isinstance(error, AddressesAwaited))
    problems += boundaries.remarks
    may_go = _Pruning(owners=owners, blocked=blocked, boundaries=boundaries)
    free = _Free(wanted=wanted, blocked=blocked, stopped=stopped, kept=boundaries.kept)
    barred = free.barred()
    changes = _changes(free, seen, differences.keys | barred if barred else differences.keys, may_go)
    ordered = sorted(changes, key=lambda operation: (step(operation), operation.object.key))
    operations = _with_disruption(ordered, owners)
    return Plan(operations=tuple(operations), problems=tuple(sorted(problems, key=lambda p: (p[0], str(p[1])))))


class Blocked:
    """The units that nothing may be done for: those given, and all that need one of them."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units = frozenset(units)
        self._attachments = frozenset(unit.attachment for unit in self._units if unit.attachment)

    def __bool__(self) -> bool:
        return bool(self._units)

    def covers(self, unit: Unit) -> bool:
        """Return whether `unit` is blocked. A failure on one network blocks the attachment's other endpoints too."""
        if not self._units:
            return False
        return (
            unit in self._units
            or unit.attachment in self._attachments
            or any(parent in self._units for parent in unit.parents())
        )


class _Free(Struct, frozen=True, kw_only=True):
    """What is wanted, without what is blocked."""

    wanted: Table[Key, Object]
    blocked: Blocked
    stopped: Blocked
    kept: frozenset[Key]

    def get(self, key: Key) -> Object | None:
        found: Object | None = self.wanted.get(key)
        if key in self.kept:
            return found
        if found is None or (self.stopped if found.traits.is_awaited else self.blocked).covers(found.unit):
            return None
        return found

    def barred(self) -> Set[Key]:
        """Return the keys of blocked units: under these nothing is wanted."""
        if not self.blocked:
            return frozenset()
        by_unit = self.wanted.index(_by_unit)
        return {key for unit, keys in by_unit.items() if self.blocked.covers(unit) for key in keys}

    def on(self, gone: _Gone) -> Iterator[tuple[Key, Object]]:
        """Yield what has to be made again, as it may go with what goes."""
        by_place = self.wanted.index(_by_place) if gone.is_something else {}
        for key in {key for place in gone.places() for key in by_place.get(place, ())}:
            if (found := self.get(key)) is not None:
                yield key, found


def _by_unit(key: Key, found: Object) -> Iterator[Unit]:
    yield found.unit


def _by_place(key: Key, found: Object) -> Iterable[Place]:
    return found.sits_on()


def _conflicts(
    contested: Iterable[Key], wanted: Mapping[Key, Object], seen: Mapping[Key, Seen]
) -> Iterator[tuple[Unit, ReconcilerError]]:
    """Find foreign objects under names that we need. A foreign address, route or record that is as wanted serves as well."""

    def is_own_link(ns: NsRef, ifname: str) -> bool:
        link = seen.get(LinkUp(ns=ns, ifname=ifname).key)
        return link is not None and link.is_ours

    for key in contested:
        mine, other = wanted[key], seen[key].object
        if mine.is_barred_by(other, is_own_link):
            message = f"{other.found_as()} is in the way and not ours; remove or rename it, or choose another name"
            yield mine.unit, NameConflict(message)


class _Pruning(Struct, frozen=True, kw_only=True):
    owners: Owners
    blocked: Blocked
    boundaries: Boundaries

    def allows(self, found: Object) -> bool:
        """Return whether something of ours that nobody wants any more may go."""
        unit = self.owners.unit_of(found)
        if unit is None:
            return self.boundaries.is_pruning
        if unit not in self.boundaries.ended and self.blocked.covers(unit):
            return False
        return self.boundaries.is_pruning or self._is_declared(unit)

    def left_on(self, found: Iterable[Object]) -> Iterator[str]:
        """Yield the networks of endpoints that have something there, and are left alone: see `is_forgetting`."""
        if self.blocked:
            for each in found:
                unit = self.owners.unit_of(each)
                if unit is not None and unit.network and unit.attachment and not self.allows(each):
                    yield unit.network

    def _is_declared(self, unit: Unit) -> bool:
        """A declared attachment says completely which networks it is on; of an undeclared one nothing is known."""
        whose = unit.entry()
        return whose in self.boundaries.declared


def _changes(wanted: _Free, seen: Mapping[Key, Seen], keys: Iterable[Key], pruning: _Pruning) -> Iterator[Operation]:
    """keys: of all that may differ."""
    gone = _Gone()
    removals = []
    after = {key: mine for key in keys if (mine := wanted.get(key)) is not None}
    differing = {key: found for key in keys if (found := seen.get(key)) and after.get(key) != found.object}
    left = frozenset(
        pruning.left_on(found.object for key, found in differing.items() if key not in after and found.is_ours)
    )
    for key, found in differing.items():
        unit = _unit_of_removal(found, after.get(key), pruning)
        if unit is not None and not (unit.network in left and key not in after and is_forgetting(unit, found.object)):
            gone.add(found.object)
            action = Action.RELEASE if found.object.traits.is_lent else Action.DELETE
            removals.append(Operation(action=action, before=found.object, after=None, unit=unit))
    yield from (operation for operation in removals if not gone.takes_along(operation.object))
    again = dict(wanted.on(gone))
    while gone.add_what_sits_on(again.values()):
        again = dict(wanted.on(gone))
    for key, mine in {**after, **again}.items():
        if key in again or key not in seen:
            yield Operation(action=Action.CREATE, before=None, after=mine, unit=mine.unit)
        elif key in differing:
            yield _change(differing[key], mine)


def _unit_of_removal(found: Seen, after: Object | None, pruning: _Pruning) -> Unit | None:
    """Return the unit on whose behalf an object goes, to be made anew or for good; None when it stays."""
    if after is not None:
        return after.unit if must_be_made_anew(found.object, after) else None
    if not found.is_ours or not found.object.traits.is_removable or not pruning.allows(found.object):
        return None
    return pruning.owners.unit_of(found.object) or found.object.owner_unknown()


def _change(seen: Seen, after: Object) -> Operation:
    if must_be_made_anew(seen.object, after):
        return Operation(action=Action.CREATE, before=None, after=after, unit=after.unit)
    is_taken = after.traits.is_lent and not seen.is_ours
    action = Action.ADOPT if is_taken else Action.UPDATE
    return Operation(action=action, before=seen.object, after=after, unit=after.unit)


class _Gone:
    """What goes: the kernel takes along what sits on it, so that needs no operation of its own."""

    def __init__(self) -> None:
        self._surely: set[Place] = set()
        self._maybe: set[Place] = set()

    @property
    def is_something(self) -> bool:
        return bool(self._surely or self._maybe)

    def add(self, found: Object) -> None:
        self._surely.update(found.carries())
        self._maybe.update(found.may_carry())

    def add_what_sits_on(self, found: Iterable[Object]) -> bool:
        """Add where what goes along has something of its own; return whether that is more than before."""
        before = len(self._maybe)
        for each in found:
            self._maybe.update(each.carries())
            self._maybe.update(each.may_carry())
        return len(self._maybe) > before

    def takes_along(self, found: Object) -> bool:
        """Return whether `found` surely goes with a link or a namespace that goes."""
        return not self._surely.isdisjoint(found.sits_on())

    def places(self) -> Set[Place]:
        """Return where things may go too, so that they have to be made again."""
        return self._surely | self._maybe


def _with_disruption(operations: Iterable[Operation], owners: Owners) -> Iterator[Operation]:
    """Add what traffic notices, and whose."""
    members = Later(owners.members)
    for operation in operations:
        disruption = disruption_of(operation.action, operation.before, operation.after)
        if disruption is Disruption.NONE:
            yield operation
        else:
            yield replace(operation, disruption=disruption, affects=_hit(operation.unit, members))


def _hit(unit: Unit, members: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return (unit.attachment,) if unit.attachment else members.get(unit.network, ())
