"""Spans of time on the command line: 90, 90s, 15m, 2h, 3d."""

from __future__ import annotations

import re
from typing import Final

import click

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_FORM: Final = re.compile(r"(\d{1,9})([smhd]?)\Z", re.ASCII)


class Duration(click.ParamType[float]):
    """Gives seconds, more than 0."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _FORM.match(str(value))
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is no span of time: 90s, 15m, 2h or 3d", param, ctx)
        return float(int(found[1]) * _UNITS_S[found[2]])


DURATION: Final = Duration()
