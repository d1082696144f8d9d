"""Values of which some fields make no difference, or are not shown. All others are plain `msgspec.Struct`s."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar

from msgspec import Struct


class Value(Struct, frozen=True):
    """uncompared: fields that make no difference between two, which are small or not. unshown: fields that `repr` leaves out."""

    uncompared: ClassVar[frozenset[str]] = frozenset()
    is_small: ClassVar[bool] = True
    unshown: ClassVar[frozenset[str]] = frozenset()

    def __eq__(self, other: object) -> bool:
        kind = type(self)
        if kind is not type(other):
            return NotImplemented
        # In C; not where it would look into what makes no difference, which may be large.
        if self is other or (kind.is_small and Struct.__eq__(self, other)):
            return True
        values = _values(kind)
        is_same: bool = values(self) == values(other)
        return is_same

    def __hash__(self) -> int:
        return hash(_values(type(self))(self))

    def __repr__(self) -> str:
        shown = (name for name in self.__struct_fields__ if name not in self.unshown)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


@cache
def compared(kind: type[Value]) -> tuple[str, ...]:
    """Return the names of the fields that make a difference, in order of declaration."""
    declared = dict.fromkeys((*kind.__annotations__, *kind.__struct_fields__))
    return tuple(name for name in declared if name in kind.__struct_fields__ and name not in kind.uncompared)


@cache
def _values(kind: type[Value]) -> Callable[[Value], Any]:
    return attrgetter(*compared(kind))
