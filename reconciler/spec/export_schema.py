"""Spec models -> the JSON Schema that editors use (draft-07, what yaml-language-server understands best).

The schema is a little more generous than `load`: it knows one file, not how entries relate.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from reconciler.spec.attachment import AttachmentSpec
from reconciler.spec.bridge_options import BRIDGE_OPTIONS
from reconciler.spec.declarations import COMPOSE_KEYS
from reconciler.spec.expectation import ExpectationSpec
from reconciler.spec.network import NetworkSpec

FILE_NAME: Final = "reconciler.schema.json"
_NULL: Final = {"type": "null"}
_OWN_KEYS: Final[dict[str, Any]] = {"^x-": {}}


def schema() -> dict[str, Any]:
    """Return the schema of one spec file."""
    _, generated = models_json_schema(
        [(model, "validation") for model in (NetworkSpec, AttachmentSpec, ExpectationSpec)],
        ref_template="#/definitions/{model}",
    )
    definitions = {name: _as_loaded(definition) for name, definition in generated["$defs"].items()}
    options = definitions["NetworkSpec"]["properties"]["driver_opts"]["anyOf"][0]
    options["properties"] = dict.fromkeys(BRIDGE_OPTIONS, options["additionalProperties"])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "network-reconciler spec file",
        "description": "Container networks and attachments; the networks of an ordinary Compose file are accepted as they are.",
        "type": ["object", "null"],
        "properties": {
            "networks": _named("NetworkSpec", "networks by name"),
            "attachments": _named("AttachmentSpec", "sandboxes and the networks that they join, by name"),
            "expect": {
                "description": "who shall reach whom, or shall not; checked from the specs alone",
                "type": ["array", "null"],
                "items": {"$ref": "#/definitions/ExpectationSpec"},
            },
            **{key: {"description": "Compose's own, ignored"} for key in COMPOSE_KEYS},
        },
        "patternProperties": _OWN_KEYS,
        "additionalProperties": False,
        "definitions": definitions,
    }


def text() -> str:
    """Return the schema's file content: the same bytes each time."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _named(model: str, description: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": ["object", "null"],
        "propertyNames": {"pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", "maxLength": 128},
        "patternProperties": _OWN_KEYS,
        "additionalProperties": {"anyOf": [{"$ref": f"#/definitions/{model}"}, _NULL]},
    }


def _as_loaded(definition: dict[str, Any]) -> dict[str, Any]:
    """Return what SpecModel does beyond its fields: null is as good as absent, `x-` keys are the user's own."""
    required = definition.get("required", [])
    properties = {
        name: field if name in required else _nullable(field) for name, field in definition["properties"].items()
    }
    kept = {key: value for key, value in definition.items() if key != "title"}
    return kept | {"properties": properties, "patternProperties": _OWN_KEYS}


def _nullable(field: dict[str, Any]) -> dict[str, Any]:
    """Add null, and keep what editors show on the outside: draft-07 ignores what stands beside a $ref."""
    shown = {key: field[key] for key in ("description",) if key in field}
    inner = {key: value for key, value in field.items() if key not in ("description", "title", "default")}
    choices = inner["anyOf"] if inner.keys() == {"anyOf"} else [inner]
    return shown | {"anyOf": [*choices, *([] if _NULL in choices else [_NULL])]}
