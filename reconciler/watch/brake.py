"""Stop correcting what somebody else keeps changing back. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from reconciler.errors import FightingWriter
from reconciler.guard.retries import is_meant
from reconciler.model.objects import Key, Unit
from reconciler.model.plan import Outcome

CORRECTIONS_MAX = 5
WINDOW_S = 60.0
"""More corrections of one object within this time are a fight."""

PAUSE_S = 300.0
"""How long a unit is left alone then; a change of the specs, SIGHUP and `reconcile retry` end it at once."""


class Brake:
    """Counts corrections per object. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._corrections: defaultdict[Key, deque[float]] = defaultdict(deque)
        self._braked: dict[Unit, tuple[float, FightingWriter]] = {}

    def corrected(self, outcomes: Iterable[Outcome], now_s: float) -> None:
        """Note what a pass put back that nobody had asked it to change."""
        self._corrections = defaultdict(
            deque, {key: times for key, times in self._corrections.items() if times and times[-1] > now_s - WINDOW_S}
        )
        for outcome in outcomes:
            # Without its firewall a host is open: that is put back however often somebody flushes it. And a plugin that fails again
            # and again fights with nobody: how often it is called is a matter of `plugin.client`.
            if outcome.error is None and outcome.operation.object.traits.is_braked:
                self._note(outcome, now_s)

    def release(self) -> None:
        """Forget all: the specs changed, so whatever is corrected next is no fight."""
        self._corrections.clear()
        self._braked.clear()

    def release_units(self, names: frozenset[str]) -> None:
        """Forget what is known of these networks and attachments: a person says that the fight is over."""
        self._braked = {unit: until for unit, until in self._braked.items() if not is_meant(unit, names)}

    def braked(self, now_s: float) -> tuple[tuple[Unit, FightingWriter], ...]:
        """Return the units to be left alone now, each with the reason."""
        self._braked = {unit: (until, why) for unit, (until, why) in self._braked.items() if until > now_s}
        return tuple((unit, why) for unit, (_, why) in sorted(self._braked.items(), key=lambda item: item[0]))

    def next_release_s(self) -> float | None:
        """Return when the next unit is to be tried again."""
        return min((until for until, _ in self._braked.values()), default=None)

    def _note(self, outcome: Outcome, now_s: float) -> None:
        operation = outcome.operation
        times = self._corrections[operation.key]
        times.append(now_s)
        while times[0] <= now_s - WINDOW_S:
            times.popleft()
        if len(times) > CORRECTIONS_MAX:
            times.clear()
            reason = FightingWriter(
                f"{operation.object.describe()} was put back {CORRECTIONS_MAX + 1} times within {WINDOW_S:.0f} s: somebody else "
                f"keeps changing it; find who does, or declare what they want. Left alone for {PAUSE_S:.0f} s, or until "
                "`reconcile retry NAME`, SIGHUP or changed specs"
            )
            self._braked[operation.unit] = (now_s + PAUSE_S, reason)
