"""What a pass will do, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from reconciler.errors import ReconcilerError
from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import Disruption
from reconciler.model.objects import Key, Object, Unit
from reconciler.model.words import without

__all__ = ["Action", "Disruption", "Operation", "Outcome", "Plan"]


class Action(StrEnum):
    """What is done to an object. What others made is adopted instead of created, and released instead of deleted."""

    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    DELETE = "delete"
    RELEASE = "release"

    @property
    def is_removal(self) -> bool:
        return self in (Action.DELETE, Action.RELEASE)


class Operation(Struct, frozen=True, kw_only=True):
    """One change of one object. `before` is None when it is created, `after` when it goes; keys are equal otherwise.

    affects: names of the attachments whose traffic the disruption hits, sorted.
    """

    action: Action
    before: Object | None
    after: Object | None
    unit: Unit
    disruption: Disruption = Disruption.NONE
    affects: tuple[str, ...] = ()

    @property
    def object(self) -> Object:
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    @property
    def key(self) -> Key:
        return self.object.key

    @property
    def is_news(self) -> bool:
        """Return whether it passes on what was promised, or what hosts tell each other: no drift that is put right."""
        return self.object.is_news_after(self.before)

    def namespaces(self) -> Iterator[NsRef]:
        """Yield the network namespaces in which it changes something, some more than once."""
        for found in (self.before, self.after):
            if found is not None:
                yield from found.touches()

    def describe(self) -> str:
        return f"{self.action} {self.object.describe()}"


class Plan(Struct, frozen=True, kw_only=True):
    """Operations in the order to be carried out; problems: units left alone, and why."""

    operations: tuple[Operation, ...] = ()
    problems: tuple[tuple[Unit, ReconcilerError], ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one operation. error None: done (or found done). skipped: not tried, `error` is the cause elsewhere."""

    operation: Operation
    error: ReconcilerError | None = None
    skipped: bool = False

    def failure(self) -> str:
        """Return what could not be done and why, each once: errors of the kernel name the operation themselves."""
        what = self.operation.describe()
        return f"{what}: {without(str(self.error), what)}"
