"""Which namespaces keep telling of changes that are none of our business, and how long to let them wait. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from reconciler.model.identifiers import NsRef

_FIRST_WAIT_S = 0.05
_WAIT_MAX_S = 2.0
_QUIET_S = 10.0
"""Silent for so long, a namespace counts as quiet again."""


class _Noise(Struct):
    fruitless: int
    last_s: float


class Noise:
    """Looks that found nothing to do, by the namespaces that caused them. Times are of one monotonic clock, in seconds.

    A process in a sandbox may change its own routes a thousand times a second; that must cost neither us nor its neighbours. A
    quiet namespace is always looked at immediately.
    """

    def __init__(self) -> None:
        self._known: dict[NsRef, _Noise] = {}

    def wait_s(self, ns: NsRef) -> float:
        """Return how long to wait before looking again because of an event in `ns`."""
        known = self._known.get(ns)
        if known is None or known.fruitless < 2:  # one fruitless look is what our own changes cause
            return 0.0
        return float(min(_WAIT_MAX_S, _FIRST_WAIT_S * 2 ** (known.fruitless - 2)))

    def looked(self, causes: Iterable[NsRef], now_s: float, *, was_fruitful: bool) -> None:
        """Note the result of a look that events in `causes` led to."""
        self._known = {ns: known for ns, known in self._known.items() if now_s - known.last_s < _QUIET_S}
        for ns in causes:
            if was_fruitful:
                self._known.pop(ns, None)
            else:
                known = self._known.setdefault(ns, _Noise(0, now_s))
                known.fruitless += 1
                known.last_s = now_s
