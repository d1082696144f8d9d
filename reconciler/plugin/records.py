"""What is remembered of calls to plugins: our store's records under `plugin/`, read as carefully as anything from outside.

The protocol has no way to ask a plugin what it has. So a record is written before a call and again with the answer: what we were
killed in the midst of is told from what was done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Final, Generic, TypeVar, get_args
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from reconciler.model.identifiers import is_link_name
from reconciler.model.objects import IPInterface, PluginCall, PluginEndpoint, PluginScope
from reconciler.model.plugins import PLUGIN_RECORDS, JoinAnswer, PluginFacts, PoolLease, Scope
from reconciler.records.faults import left_out

_RECORD_MAX: Final = 1024 * 1024

Told = TypeVar("Told", bound=PluginCall)


class _Record(BaseModel, Generic[Told]):
    """told: what the plugin was or is being told. scope: what it said of that. answer: to an endpoint that was joined.

    lease, address: what an IPAM plugin gave; of a call that was not finished what is to be given back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    told: Told
    scope: Scope | None = None
    answer: JoinAnswer | None = None
    lease: PoolLease | None = None
    address: IPv4Interface | IPv6Interface | None = None

    @field_validator("scope")
    @classmethod
    def _is_known(cls, scope: Scope | None) -> Scope | None:
        if scope is not None and not {scope.data, scope.connectivity} <= {"local", "global"}:
            raise ValueError("not a scope")
        return scope

    @field_validator("answer")
    @classmethod
    def _has_link_names(cls, answer: JoinAnswer | None) -> JoinAnswer | None:
        names = (answer.src_name, answer.dst_prefix, answer.dst_name) if answer is not None else ()
        if not all(is_link_name(name) for name in names if name):
            raise ValueError("not a link name")
        return answer


_CALLS: Final = {call.kind: call for call in get_args(PluginCall)}


@cache
def _model(kind: str) -> type[_Record[Any]]:
    """Return the model of what is remembered of calls of `kind`, made when the first is met: most hosts have no plugins."""
    return _Record[_CALLS[kind]]  # type: ignore[valid-type]  # a class


def record_path(told: PluginCall) -> str:
    """Give where a call is remembered: the object's key, after `plugin/`."""
    return PLUGIN_RECORDS + "/".join(quote(part, safe="") for part in told.key)


def record_value(
    told: PluginCall,
    *,
    scope: Scope | None = None,
    answer: JoinAnswer | None = None,
    lease: PoolLease | None = None,
    address: IPInterface | None = None,
) -> bytes:
    fields = {"told": told, "scope": scope, "answer": answer, "lease": lease, "address": address}
    record = _model(told.kind).model_validate(fields)
    return record.model_dump_json(exclude={"told": {"unit"}}, exclude_defaults=True).encode()


def decode_plugin_records(records: Mapping[str, str]) -> tuple[PluginFacts, tuple[str, ...]]:
    """Read records (path to JSON text), those of others passed over; never raises. Gives a line for each that was left out."""
    faults: list[tuple[str, str]] = []
    found = tuple(_decoded(records, faults))
    facts = PluginFacts(
        told=tuple(record.told for record in found),
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


def _decoded(records: Mapping[str, str], faults: list[tuple[str, str]]) -> Iterator[_Record[Any]]:
    for path in sorted(records):
        if not path.startswith(PLUGIN_RECORDS):
            continue
        record = _read(path, records[path])
        if record is None:
            faults.append((path, "not as we write it; the plugin may still have what it speaks of"))
        else:
            yield record


def _read(path: str, text: str) -> _Record[Any] | None:
    kind = path.removeprefix(PLUGIN_RECORDS).partition("/")[0]
    if kind not in _CALLS or len(text) > _RECORD_MAX:
        return None
    try:
        record = _model(kind).model_validate_json(text)
    except ValidationError:
        return None
    return record if record_path(record.told) == path else None
