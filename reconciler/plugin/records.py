"""What is remembered of calls to plugins: our store's records under `plugin/`, read as carefully as anything from outside.

The protocol has no way to ask a plugin what it has. So a record is written before a call and again with the answer: what we were
killed in the midst of is told from what was done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, ClassVar, Final, NamedTuple, get_args, get_origin
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import fields
from pydantic import BaseModel, ConfigDict, ValidationError, create_model, field_validator

from reconciler.model.identifiers import is_link_name
from reconciler.model.objects import IPInterface, PluginCall, PluginEndpoint, PluginScope
from reconciler.model.plugins import PLUGIN_RECORDS, JoinAnswer, PluginFacts, PoolLease, Scope
from reconciler.records.faults import left_out

_RECORD_MAX: Final = 1024 * 1024

_CONFIG: Final = ConfigDict(extra="forbid", frozen=True, strict=True, from_attributes=True, defer_build=True)


class _Record(BaseModel):
    """told: what the plugin was or is being told. scope: what it said of that. answer: to an endpoint that was joined.

    lease, address: what an IPAM plugin gave; of a call that was not finished what is to be given back.
    """

    model_config = _CONFIG

    told: Any
    scope: Any = None
    answer: Any = None
    lease: Any = None
    address: IPv4Interface | IPv6Interface | None = None

    @field_validator("scope")
    @classmethod
    def _is_known(cls, scope: Any) -> Any:
        if scope is not None and not {scope.data, scope.connectivity} <= {"local", "global"}:
            raise ValueError("not a scope")
        return scope

    @field_validator("answer")
    @classmethod
    def _has_link_names(cls, answer: Any) -> Any:
        names = (answer.src_name, answer.dst_prefix, answer.dst_name) if answer is not None else ()
        if not all(is_link_name(name) for name in names if name):
            raise ValueError("not a link name")
        return answer


class _Model(BaseModel):
    """Stands for a value, as pydantic knows no Structs."""

    model_config = _CONFIG

    stands_for: ClassVar[type[Struct]]

    def value(self) -> Any:
        return self.stands_for(**{name: _value(getattr(self, name)) for name in type(self).model_fields})


def _value(found: object) -> object:
    if isinstance(found, _Model):
        return found.value()
    return tuple(map(_value, found)) if isinstance(found, tuple) else found


@cache
def _model_of(kind: type[Struct]) -> type[_Model]:
    """Return the model of a value, made when the first is met: most hosts have no plugins. An object's unit is not remembered."""
    given: dict[str, Any] = {
        each.name: (_modelled(each.type), ... if each.required else each.default)
        for each in fields(kind)
        if each.name != "unit"
    }
    made: type[_Model] = create_model(kind.__name__, __base__=_Model, **given)
    made.stands_for = kind
    return made


def _modelled(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _model_of(kind)
    is_of_values = get_origin(kind) is tuple and any(
        isinstance(each, type) and issubclass(each, Struct) for each in get_args(kind)
    )
    return tuple[tuple(map(_modelled, get_args(kind)))] if is_of_values else kind  # type: ignore[misc]  # of run time


_CALLS: Final = {call.kind: call for call in get_args(PluginCall)}


@cache
def _record_of(kind: str) -> type[_Record]:
    """Return the model of what is remembered of calls of `kind`."""
    answers: dict[str, Any] = {
        name: (_model_of(each) | None, None)
        for name, each in (("scope", Scope), ("answer", JoinAnswer), ("lease", PoolLease))
    }
    made: type[_Record] = create_model(kind, __base__=_Record, told=(_model_of(_CALLS[kind]), ...), **answers)
    return made


class _Remembered(NamedTuple):
    told: PluginCall
    scope: Scope | None
    answer: JoinAnswer | None
    lease: PoolLease | None
    address: IPInterface | None


def record_path(told: PluginCall) -> str:
    """Return where a call is remembered: the object's key, after `plugin/`."""
    return PLUGIN_RECORDS + "/".join(quote(part, safe="") for part in told.key)


def record_value(
    told: PluginCall,
    *,
    scope: Scope | None = None,
    answer: JoinAnswer | None = None,
    lease: PoolLease | None = None,
    address: IPInterface | None = None,
) -> bytes:
    record = _record_of(told.kind).model_validate(_Remembered(told, scope, answer, lease, address)._asdict())
    return record.model_dump_json(exclude_defaults=True).encode()


def decode_plugin_records(records: Mapping[str, str]) -> tuple[PluginFacts, tuple[str, ...]]:
    """Read records (path to JSON text), those of others passed over; never raises. Gives a line for each that was left out."""
    faults: list[tuple[str, str]] = []
    found = tuple(_decoded(records, faults))
    facts = PluginFacts(
        calls=tuple(record.told for record in found),
        answers={
            (told.network, told.attachment): record.answer
            for record in found
            if isinstance(told := record.told, PluginEndpoint) and told.is_complete and record.answer is not None
        },
        scopes={
            (told.network, told.driver): record.scope
            for record in found
            if isinstance(told := record.told, PluginScope) and told.is_complete and record.scope is not None
        },
        pools={record.told.key: record.lease for record in found if record.lease is not None},
        addresses={record.told.key: record.address for record in found if record.address is not None},
    )
    return facts, left_out(faults)


def _decoded(records: Mapping[str, str], faults: list[tuple[str, str]]) -> Iterator[_Remembered]:
    for path in sorted(records):
        if not path.startswith(PLUGIN_RECORDS):
            continue
        record = _read(path, records[path])
        if record is None:
            faults.append((path, "not as we write it; the plugin may still have what it speaks of"))
        else:
            yield record


def _read(path: str, text: str) -> _Remembered | None:
    kind = path.removeprefix(PLUGIN_RECORDS).partition("/")[0]
    if kind not in _CALLS or len(text) > _RECORD_MAX:
        return None
    try:
        found = _record_of(kind).model_validate_json(text)
    except ValidationError:
        return None
    record = _Remembered(*(_value(getattr(found, name)) for name in _Remembered._fields))  # type: ignore[arg-type]  # as modelled
    return record if record_path(record.told) == path else None
