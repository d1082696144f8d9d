"""Whether values are of the types that their fields say: Structs take any, and a file may have been made by anybody. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, NewType, Union, get_args, get_origin

from msgspec import Struct
from msgspec.structs import fields

Check = Callable[[Any], bool]


def is_typed(value: object, kind: Any) -> bool:
    """Return whether a value, and all that it is made of, is of a type as fields are annotated with."""
    return _check(kind)(value)


@cache
def _check(kind: Any) -> Check:
    if kind in (Any, object):
        return _is_json
    if isinstance(kind, NewType):
        return _check(kind.__supertype__)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _one_of(arguments)
    if origin is Literal:
        return lambda value: type(value) in (str, int) and value in arguments
    if origin is tuple:
        return _tuple(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(*arguments)
    if origin is not None and issubclass(origin, (Set, Sequence)):
        made = (Set,) if issubclass(origin, Set) else (tuple, list)
        return lambda value: isinstance(value, made) and all(map(_check(arguments[0]), value))
    return _plain(kind)


def _is_json(value: object) -> bool:
    """What may be anything stands for the content of a file in JSON, and is written as such again."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) for key in value) and all(map(_is_json, value.values()))
    if isinstance(value, tuple | list):
        return all(map(_is_json, value))
    return value is None or type(value) in (str, int, float, bool)


def _plain(kind: type[Any]) -> Check:
    if issubclass(kind, Struct):
        return lambda value: isinstance(value, kind) and _has_fields(type(value), value)
    if kind is float:
        return lambda value: type(value) in (int, float)
    if kind in (int, bool, str, type(None)):
        return lambda value: type(value) is kind or (kind is str and isinstance(value, kind))
    return lambda value: isinstance(value, kind)


def _has_fields(kind: type[Struct], value: Struct) -> bool:
    return all(check(getattr(value, name)) for name, check in _fields(kind))


@cache
def _fields(kind: type[Struct]) -> tuple[tuple[str, Check], ...]:
    """Of each field, when it is first asked for: what holds itself would have no end."""
    return tuple((each.name, _later(each.type)) for each in fields(kind))


def _later(kind: Any) -> Check:
    return lambda value: _check(kind)(value)


def _one_of(kinds: Sequence[Any]) -> Check:
    """Structs by their own type: there are dozens of kinds of objects, and one look is enough."""
    others: Final = [_check(kind) for kind in kinds if not _is_struct(kind)]
    structs = tuple(kind for kind in kinds if _is_struct(kind))

    def check(value: Any) -> bool:
        if isinstance(value, structs):
            return _has_fields(type(value), value)
        return any(other(value) for other in others)

    return check


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _tuple(kinds: Sequence[Any]) -> Check:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        each = _check(kinds[0])
        return lambda value: isinstance(value, tuple) and all(map(each, value))
    checks = [_check(kind) for kind in kinds]
    return lambda value: (
        isinstance(value, tuple)
        and len(value) == len(checks)
        and all(check(part) for check, part in zip(checks, value, strict=True))
    )


def _mapping(key: Any, value: Any) -> Check:
    of_keys, of_values = _check(key), _check(value)
    return lambda found: isinstance(found, Mapping) and all(map(of_keys, found)) and all(map(of_values, found.values()))
