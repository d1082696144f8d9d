"""All targets, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.fuzz.borders import command_line, engines, http, kernel, names, records, specs, state
from tests.fuzz.target import Target

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for border in (specs, records, engines, kernel, names, http, command_line, state)
    for target in border.TARGETS
}
