"""The validators of jsonschema, without what its import makes besides: forty parsers of URIs, in a second of each worker."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

_PARSERS = "rfc3987_syntax"
"""For formats that no schema of ours has; jsonschema does without where it is missing."""


def json_schema() -> ModuleType:
    """Import jsonschema when a test needs it."""
    sys.modules.setdefault(_PARSERS, None)  # type: ignore[arg-type]  # how import is told that there is none
    try:
        return importlib.import_module("jsonschema")
    finally:
        if sys.modules[_PARSERS] is None:
            del sys.modules[_PARSERS]
