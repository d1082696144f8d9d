"""Play a history, and see that what must hold does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from reconciler.errors import KvError
from tests.drill import invariants
from tests.drill.history import History, Step
from tests.drill.scene import DrillFailed, HostState, Scene, end_ping, scene_of, start_ping
from tests.drill.truth import endpoints_in
from tests.machine import Machine
from tests.waiting import Deadline, eventually

SETTLE_S = 120.0
"""After which all must be as declared: some lives of a sign of life, elections and waits before one asks again."""

_TOLD_MAX, _SERVER_TOLD_MAX = 60_000, 10_000
_EVERY_S = 0.3
_LOST_MAX = 1
"""The last ping may be on its way when it is ended."""


def play(machine: Machine, folder: Path, history: History, log: Callable[[str], None]) -> dict[str, int]:
    """Play a history; give how often each kind of step was carried out, and how often was looked. Raises DrillFailed."""
    with scene_of(machine, folder, history) as scene:
        try:
            _play(scene, log)
        except BaseException:
            _tell(scene, log)
            raise
        return dict(scene.done)


def _tell(scene: Scene, log: Callable[[str], None]) -> None:
    """Say what the watchers said, and what the store has."""
    for state in scene.hosts.values():
        log(f"--- {state.name}\n{state.host.log_text()[-_TOLD_MAX:]}")
    for name, server in scene.ensemble.servers.items():
        log(f"--- {name}\n{server.log_text()[-_SERVER_TOLD_MAX:]}")
    with contextlib.suppress(KvError):
        log("\n".join(("--- the store", *(f"{key} {value}" for key, value in scene.stored().items()))))


def _play(scene: Scene, log: Callable[[str], None]) -> None:
    began_s = time.monotonic()
    scene.begin()
    for step in (Step("settle"), *scene.history.steps):
        log(f"{time.monotonic() - began_s:6.1f} {step.text}")
        match step.kind, step.arguments:
            case "settle", _:
                settle(scene)
            case "look", (seconds,):
                _look_for(scene, float(seconds))
            case _:
                scene.do(step)
                _look(scene)
    settle(scene, is_last=True)
    scene.take_down()
    invariants.see_logs(scene)
    if not eventually(lambda: not scene.stored(), 10):
        invariants.see_nothing_left(scene)
    invariants.see_nothing_left(scene)
    log(f"{time.monotonic() - began_s:6.1f} nothing is left")


def _look(scene: Scene) -> None:
    invariants.look(scene)
    scene.done["look"] += 1


def _look_for(scene: Scene, seconds: float) -> None:
    """Look again and again for so long: how long a fault lasts is part of the history."""
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        _look(scene)
        time.sleep(min(_EVERY_S, max(0.0, ends_s - time.monotonic())))
    _look(scene)


def settle(scene: Scene, *, is_last: bool = False) -> None:
    """Mend all, and wait until all is as it must be; what costs most is seen on one host but for the last time.

    Raises DrillFailed saying what is not.
    """
    scene.mend()
    asked = scene.up if is_last else scene.up[scene.done["settle"] % len(scene.up) :][:1]
    deadline = Deadline(SETTLE_S)
    while next(_wrongs(scene, asked), ""):
        if deadline.is_over:
            raise DrillFailed(f"not settled: {' | '.join(islice(_wrongs(scene, asked), 20))}")
        _look(scene)
        time.sleep(_EVERY_S)
    deadline.met()
    invariants.see_logs(scene)
    _see_pings(scene)
    _see_shape(scene)
    scene.is_strict = not any(state.is_waiting(name) for state in scene.up for name in state.declared)
    for state in scene.up:
        state.is_missed_when_dead = True
        state.once = dict(state.attachments()) | (state.once if scene.has_backup else {})
    scene.done["settle"] += 1


def _see_shape(scene: Scene) -> None:
    """See that all is what it was, where nothing has happened that may change it. Raises DrillFailed."""
    before, scene.shape = scene.shape, invariants.shape(scene)
    if scene.is_at_rest and before != scene.shape:
        raise DrillFailed(f"changed by itself from {before} to {scene.shape}")
    scene.done["rest"] += scene.is_at_rest
    scene.is_at_rest = not invariants.is_contested(scene)


def _wrongs(scene: Scene, asked: Iterable[HostState]) -> Iterator[str]:
    yield from invariants.wrongs(scene)
    yield from invariants.undone(asked)


def _see_pings(scene: Scene) -> None:
    """See that no ping within a host was lost since the last time, and begin anew."""
    for state in scene.up:
        sent, received = end_ping(state)
        scene.done["ping"] += sent
        if sent - received > _LOST_MAX:
            raise DrillFailed(f"{state.name}: {sent - received} of {sent} pings between its own two were lost")
        target = endpoints_in(scene.machine, state.name, f"{state.name}-1")[0]
        start_ping(scene.machine, state, target.addresses[0])
