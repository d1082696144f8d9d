"""Which hosts give signs of life, and which one of the living writes down who does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from reconciler.model.cluster import ClusterNode


def is_reaper(nodes: Mapping[str, ClusterNode], host: str) -> bool:
    """Return whether `host` tidies up after others: the first by name of those that watch and are alive.

    Where none is, any host may whose pass comes by. What the reaper does is harmless if two think they are.
    """
    watching = [name for name, node in nodes.items() if node.is_watched and (node.is_alive or name == host)]
    return host == min(watching, default=host)


def seconds_since(moment: str, now: str) -> float:
    """Return how long ago a moment was, negative if it is yet to come. Both RFC 3339; raises ValueError."""
    return (_parsed(now) - _parsed(moment)).total_seconds()


def _parsed(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment
