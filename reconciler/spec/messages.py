"""pydantic's faults -> places and sentences for the person who wrote the file."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from reconciler.errors import SpecError
from reconciler.spec.attachment import AttachmentSpec, EndpointSpec, LongPort, SandboxSpec
from reconciler.spec.document import FAULTS_MAX, Document, Path, kind_of, shown, unfilled
from reconciler.spec.expectation import ExpectationSpec, PartiesSpec
from reconciler.spec.fields import At
from reconciler.spec.network import IpamSpec, NetworkSpec, SubnetSpec
from reconciler.spec.spec_model import SpecModel

_MODELS: Final[Mapping[Path, type[SpecModel]]] = {
    ("networks",): NetworkSpec,
    ("networks", "ipam"): IpamSpec,
    ("networks", "ipam", "config"): SubnetSpec,
    ("attachments",): AttachmentSpec,
    ("attachments", "sandbox"): SandboxSpec,
    ("attachments", "networks"): EndpointSpec,
    ("attachments", "ports"): LongPort,
    ("expect",): ExpectationSpec,
    ("expect", "from"): PartiesSpec,
    ("expect", "to"): PartiesSpec,
}
"""Section and the fields that lead to a model, for the suggestion of its keys."""

_EXPECTED: Final[Mapping[str, str]] = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "bool_type": "true or false",
    "int_type": "a number",
    "string_type": "text",
}
_BOUNDS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("gt", "greater than"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def spec_faults(document: Document, path: Path, error: ValidationError) -> list[SpecError]:
    """Place the faults of the entry at `path` (section, name)."""
    details = islice(error.errors(include_url=False), FAULTS_MAX + 1)
    return [_fault(document, path, detail) for detail in details]


def _fault(document: Document, path: Path, detail: Any) -> SpecError:
    place: Path = (*path, *detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    cause = context.get("error")
    at = (*place, *cause.path) if isinstance(cause, At) else place
    if kind != "extra_forbidden" and (variables := unfilled(_typed_at(document, at))):
        return document.fault(at, variables)
    if kind == "extra_forbidden":
        return document.fault(place, unknown_key(str(place[-1]), _known_keys(place)), at_key=True)
    if kind == "value_error":
        return document.fault(at, str(cause), at_key="[key]" in place)
    if kind == "missing":
        return document.fault(place, f"'{place[-1]}' is missing")
    if kind in _EXPECTED:
        return document.fault(place, f"expected {_EXPECTED[kind]}, got {_typed(detail['input'])}")
    if kind == "too_long":
        return document.fault(place, f"at most {context['max_length']} entries are expected")
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return document.fault(place, f"{detail['input']} is out of range: {words} {context[bound]} is expected")
    return document.fault(place, detail["msg"])


def _typed_at(document: Document, path: Path) -> str:
    """Return the text that stands at `path`, "" when it is none. Steps that the data lacks are passed over, as where it stands."""
    node, text = document.data, ""
    for step in path:
        if isinstance(node, dict) and step in node:
            node = node[str(step)]
        elif isinstance(node, list) and isinstance(step, int) and step < len(node):
            node = node[step]
        elif step == "[key]":
            return str(path[path.index(step) - 1])
    return node if isinstance(node, str) else text


def _typed(value: object) -> str:
    return f"{kind_of(value)} {shown(value)}" if isinstance(value, str) else kind_of(value)


def _known_keys(place: Path) -> tuple[str, ...]:
    fields = (place[0], *place[2:-1])
    model = next(_MODELS[fields[:size]] for size in range(len(fields), 0, -1) if fields[:size] in _MODELS)
    return tuple(field.alias or name for name, field in model.model_fields.items())


def unknown_key(key: str, known: tuple[str, ...]) -> str:
    name, colon, _ = key.partition(":")
    if colon and name in known:
        return f"unknown key {shown(key)}: put a space after '{name}:'"
    near = get_close_matches(key[:64], known, n=1, cutoff=0.6)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(sorted(known))}"
    return f"unknown key {shown(key)}: {hint}"
