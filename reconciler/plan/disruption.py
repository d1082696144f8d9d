"""What traffic notices of an operation, as the traits of its object tell."""

from __future__ import annotations

from typing import Final

from reconciler.model.objects import Object
from reconciler.model.plan import Action, Disruption

_MARKS: Final = frozenset({"mark", "is_adopted"})
"""What taking over changes of every object: whose it is."""


def changed_fields(before: Object, after: Object) -> frozenset[str]:
    old, new = before.attributes(), after.attributes()
    return frozenset(name for name in new if new[name] != old[name])


def must_be_made_anew(before: Object, after: Object) -> bool:
    return after.traits.immutable.has_any(changed_fields(before, after))


def disruption_of(action: Action, before: Object | None, after: Object | None) -> Disruption:
    """Classify one operation; half of a pair that makes an object anew counts as a delete."""
    if action is Action.CREATE:
        return Disruption.NONE
    assert before is not None
    if action.is_removal:
        return before.disruption_of_delete()
    assert after is not None
    changed, felt = changed_fields(before, after), after.traits.felt
    if action is Action.ADOPT and changed <= _MARKS:
        return Disruption.NONE
    return felt.update if felt.flap.isdisjoint(changed) else Disruption.FLAP
