"""What all models of the spec files share: strict, closed, frozen; nothing given is the same as null."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class SpecModel(BaseModel):
    """A mapping in a spec file. Keys that begin with `x-` are the user's own and ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_extensions_and_nulls(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        known = cls.__pydantic_fields__
        return {
            key: value
            for key, value in data.items()
            if not ((value is None and key in known) or (isinstance(key, str) and key.startswith("x-")))
        }
