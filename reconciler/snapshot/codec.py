"""Values as JSON and back: whatever facts are made of, each with the name of its type. Pure.

Text, numbers, true, false and null stand for themselves, a list for a tuple; all else is an object whose member "" says what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from enum import Enum
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any, Final

from msgspec import Struct

from reconciler.errors import ReconcilerError

_TYPE: Final = ""
_SET: Final = "set"
_MAP: Final = "map"
_ADDRESSES: Final = (IPv4Interface, IPv6Interface, IPv4Address, IPv6Address, IPv4Network, IPv6Network)
_FORMER: Final = {("PluginFacts", "told"): "calls"}
"""Fields of a type that had another name when snapshots in use were written."""

_PLAIN: Final = frozenset((str, int, float, bool, type(None)))


def encoded(value: object) -> object:
    """Return what `decoded` takes. Raises TypeError for what no fact is made of."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, tuple | list):
        return [encoded(each) for each in value]
    if isinstance(value, Struct):
        return {
            _TYPE: type(value).__name__,
            **{name: encoded(getattr(value, name)) for name in value.__struct_fields__},
        }
    if isinstance(value, Enum):
        return {_TYPE: type(value).__name__, "is": value.value}
    if isinstance(value, _ADDRESSES):
        return {_TYPE: type(value).__name__, "is": str(value)}
    if isinstance(value, Mapping):
        return {_TYPE: _MAP, "of": [[encoded(key), encoded(each)] for key, each in value.items()]}
    if isinstance(value, Set):
        return {_TYPE: _SET, "of": sorted((encoded(each) for each in value), key=repr)}
    if isinstance(value, ReconcilerError):
        fields = {name: encoded(each) for name, each in vars(value).items()}
        return {_TYPE: type(value).__name__, "args": encoded(value.args), "fields": fields}
    raise TypeError(f"no fact is made of {type(value).__name__}")


def decoded(value: Any) -> Any:
    """Return the value. Raises KeyError, TypeError or ValueError for what `encoded` did not give."""
    if isinstance(value, list):
        return tuple(map(decoded, value))
    if not isinstance(value, dict):
        return value
    name = value[_TYPE]
    if name == _MAP:
        return {decoded(key): decoded(each) for key, each in value["of"]}
    if name == _SET:
        return frozenset(map(decoded, value["of"]))
    kind = _types()[name]
    if issubclass(kind, Struct):
        fields = {str(field): decoded(each) for field, each in value.items() if field != _TYPE}
        return kind(**{_FORMER.get((name, field), field): each for field, each in fields.items()})
    if issubclass(kind, ReconcilerError):
        return _error(kind, value)
    return kind(value["is"])


def _error(kind: type[ReconcilerError], value: Mapping[str, Any]) -> ReconcilerError:
    """Make it as it was, whatever its own arguments are."""
    error = kind.__new__(kind)
    error.args = decoded(value["args"])
    for name, each in value["fields"].items():
        setattr(error, name, decoded(each))
    return error


@cache
def _types() -> Mapping[str, type[Any]]:
    """Return all types of values, errors and words that this package knows by now. None of them does anything when it is made."""
    found: dict[str, type[Any]] = {kind.__name__: kind for kind in _ADDRESSES}
    for base in (Struct, Enum, ReconcilerError):
        found.update((kind.__name__, kind) for kind in _subclasses(base))
    return found


def _subclasses(base: type[Any]) -> Iterator[type[Any]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith(_HOMES):
            yield kind
        yield from _subclasses(kind)


_HOMES: Final = (
    "reconciler.errors",
    "reconciler.facts",
    "reconciler.ipam.promises",
    "reconciler.model.",
    "reconciler.plugin.records",
    "reconciler.ports.",
    "reconciler.sandbox.readings",
    "reconciler.snapshot.values",
)
"""Modules of what facts are made of."""
