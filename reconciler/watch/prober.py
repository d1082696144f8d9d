"""Real packets on and on, in a thread beside the loop: whether they go where the specs say.

The desired state of a pass is the ground of a round of packets. What a round found counts once a pass that began after it stands on
the same ground: nothing was done, declared, missing or found again in between. One that found a difference asks for a pass that
looks at all specs and at the whole host. A round that does not count is forgotten, not repeated: the next one comes at its time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from reconciler.errors import ReconcilerError
from reconciler.model.desired import DesiredState
from reconciler.model.objects import HOST_UNIT
from reconciler.model.report import Probed, Report
from reconciler.model.words import some
from reconciler.reach.probing import Probe, probes
from reconciler.reach.site import Site
from reconciler.reach.values import Party, PartyKind
from reconciler.reach.walk import Walk
from reconciler.status.verdict import OTHERS_IN_FORCE, unsettled
from reconciler.watch.listener import PassListener
from reconciler.watch.source import Bell, Dirty, EventSource

log = logging.getLogger(__name__)

ROUND_MAX: Final = 1000
"""Packets in one round: what the loop's thread does not notice. The next round goes on after them."""

_SHOWN: Final = 3
_CLOSE_S: Final = 5.0
_NEWS: Final = Dirty(is_other=True)
_SECOND_LOOK: Final = Dirty(is_specs=True, is_everything=True)
_NOT_ASKED: Final = Probed(reason="NotAsked", message="no round of packets has counted yet")

Ask = Callable[[Sequence[Probe], Walk, Callable[[], bool]], Mapping[Probe, bool]]
"""Sends packets and says of each whether it was answered, until the last argument says that nobody wants to know."""


class _Ground(Struct, frozen=True, kw_only=True):
    """What a pass left, and which of its attachments are not as declared, so that nobody asks for them."""

    desired: DesiredState
    left_out: frozenset[str]

    def is_meant(self, probe: Probe) -> bool:
        return self.left_out.isdisjoint((probe.packet.client.name, probe.server.name))


class _Round(Struct, frozen=True, kw_only=True):
    """number: of the ground that it stands on. differing: with what they found."""

    number: int
    asked: int
    differing: Mapping[Probe, bool]


class Prober(EventSource, PassListener):
    """begins, judged: called by passes, in the loop's thread. look: makes one round."""

    def __init__(self, host: str, interval_s: float, ask: Ask) -> None:
        self._host, self._interval_s, self._ask = host, interval_s, ask
        self._bell, self._wake, self._is_closing = Bell(), threading.Event(), False
        self._lock = threading.Lock()
        self._ground: tuple[int, _Ground | None] = (0, None)
        self._found: _Round | None = None
        self._candidate: _Round | None = None
        self._is_under_way = False
        self._last: tuple[object, ...] = ()
        self._probed = _NOT_ASKED
        self._differing: Mapping[Probe, bool] = {}
        self._walk: tuple[int, Walk, Iterator[Probe]] | None = None
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def fileno(self) -> int:
        return self._bell.fileno()

    def drain(self) -> Dirty:
        return self._bell.drain()

    def reloading(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self._is_closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        self._bell.close()

    # ---- beside passes

    def begins(self, dirty: Dirty) -> None:
        """Take what was found before this pass; a difference waits for one that looks at everything."""
        if self._is_under_way:  # the pass before was broken off, whatever it had done by then
            self._last = ()
        self._is_under_way = True
        with self._lock:
            found, self._candidate = self._found, None
            if found is not None and (dirty.is_everything or not self._is_news(found)):
                self._candidate, self._found = found, None

    def judged(self, report: Report) -> Probed:
        """Return what is known after a pass."""
        self._is_under_way = False
        left_out = _left_out(report)
        standing = (report.desired.networks, report.desired.attachments, report.sandboxes, left_out)
        number, _ = self._ground
        if report.outcomes or report.drift.operations or standing != self._last:
            number += 1
            ground = None if left_out is None else _Ground(desired=report.desired, left_out=left_out)
            self._last, self._ground = standing, (number, ground)
            if number == 1:
                self._wake.set()
        found, self._candidate = self._candidate, None
        if left_out is None:
            self._probed = Probed(reason="NotAsked", message="the host as a whole is not as declared")
        elif found is not None and found.number == number:
            self._differing, self._probed = found.differing, _verdict(found)
        elif self._probed.reason == "NotAsked":
            self._probed = _NOT_ASKED
        return self._probed

    def _is_news(self, found: _Round) -> bool:
        return bool(found.differing) and found.differing != self._differing

    # ---- the thread

    def _run(self) -> None:
        self._wake.wait()
        while not self._is_closing:
            self._wake.clear()
            self.look()
            self._wake.wait(self._interval_s)

    def look(self) -> None:
        """Send one round of packets."""
        number, ground = self._ground
        if ground is None:
            return
        asked = self._asked(number, ground)
        try:
            answers = self._ask(asked, self._walk_on(number, ground)[0], lambda: self._is_closing)
        except (ReconcilerError, OSError, RuntimeError) as error:  # RuntimeError: no thread is to be had
            log.warning("no packets were sent to probe with: %s", error)
            return
        if self._is_closing:
            return
        differing = {each: found for each, found in answers.items() if found != each.is_expected}
        found = _Round(number=number, asked=len(answers), differing=differing)
        with self._lock:
            self._found = found
        self._bell.ring(_SECOND_LOOK if self._is_news(found) else _NEWS)

    def _asked(self, number: int, ground: _Ground) -> list[Probe]:
        """Return what differed before and what comes next, from the beginning where all were asked."""
        new = list(islice(self._walk_on(number, ground)[1], ROUND_MAX))
        if not new:
            self._walk = None
            new = list(islice(self._walk_on(number, ground)[1], ROUND_MAX))
        walk = self._walk_on(number, ground)[0]
        site = walk.sites[self._host]
        again = [
            Probe(packet=each.packet, server=each.server, answer=walk.ask(each.packet))
            for each in self._differing
            if _is_there(site, each.packet.client) and _is_there(site, each.server)
        ]
        return list(dict.fromkeys((*filter(ground.is_meant, again), *new)))

    def _walk_on(self, number: int, ground: _Ground) -> tuple[Walk, Iterator[Probe]]:
        if self._walk is None or self._walk[0] != number:
            walk = Walk(sites={self._host: Site(desired=ground.desired)})
            self._walk = number, walk, filter(ground.is_meant, probes(walk, self._host))
        return self._walk[1:]


def _is_there(site: Site, party: Party) -> bool:
    return party.kind is PartyKind.HOST or party.name in site.members


def _left_out(report: Report) -> frozenset[str] | None:
    """Return the attachments that something is in the way of, None where that is true of the whole host."""
    units = {issue.unit for issue in unsettled(report) if issue.reason not in OTHERS_IN_FORCE}
    if HOST_UNIT in units:
        return None
    networks = {unit.network for unit in units if not unit.attachment}
    attachments = {unit.attachment for unit in units}
    return frozenset(
        each.name
        for each in report.desired.members
        if each.name in attachments or any(endpoint.network in networks for endpoint in each.endpoints)
    )


def _verdict(found: _Round) -> Probed:
    count = len(found.differing)
    if count:
        message = some([each.difference() for each in found.differing], _SHOWN)
        return Probed(reason="PacketsDisagree", message=message, asked=found.asked, differing=count)
    if not found.asked:
        return Probed(reason="NotAsked", message="there is nobody to ask")
    return Probed(reason="PacketsAgree", message="packets go where the specs say", asked=found.asked)
