"""How long to let news of other hosts wait, so that a storm of them leaves this host time for its own work. Pure."""

from __future__ import annotations

_REST_MAX_S = 2.0


class Rest:
    """After a pass for the sake of other hosts, as long a rest from their news. Times are of one monotonic clock, in seconds.

    What comes meanwhile is served by one pass together: with thousands of endpoints elsewhere each would cost as much as all of it.
    News that come singly are never made to wait.
    """

    def __init__(self) -> None:
        self._until_s = 0.0

    def worked(self, began_s: float, ended_s: float) -> None:
        """Note a pass that such news led to."""
        self._until_s = ended_s + min(_REST_MAX_S, ended_s - began_s)

    def until_s(self, now_s: float) -> float | None:
        """Say when the news that there are now may be looked at; None for at once."""
        return self._until_s if now_s < self._until_s else None
