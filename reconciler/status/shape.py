"""Inspected documents in the shape of an older engine. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from reconciler.status.json_text import Json


class Shape(StrEnum):
    """Which engine's fields are shown. NEWEST: all, those that came after 20.10 too."""

    NEWEST = "newest"
    ENGINE_20_10 = "20.10"


_ADDED_TO_NETWORKS: Final = frozenset({"EnableIPv4", "Status"})
_ADDED_TO_ENDPOINTS: Final = frozenset({"GwPriority", "DNSNames"})


def shaped(document: Mapping[str, Json], shape: Shape) -> dict[str, Json]:
    """Return a network or attachment, as the status file has it, with the fields that `shape` has."""
    if shape is Shape.NEWEST:
        return dict(document)
    settings = document.get("NetworkSettings")
    if not isinstance(settings, Mapping):
        return _without(document, _ADDED_TO_NETWORKS)
    endpoints = settings.get("Networks")
    shown = endpoints if isinstance(endpoints, Mapping) else {}
    older = {name: _without(endpoint, _ADDED_TO_ENDPOINTS) for name, endpoint in shown.items()}
    return {**document, "NetworkSettings": {**settings, "Networks": older}}


def _without(document: Json, added: frozenset[str]) -> dict[str, Json]:
    found = document if isinstance(document, Mapping) else {}
    return {key: value for key, value in found.items() if key not in added}
