"""Lives of a host, one after the other. `python -m tests.model.run LIVES SEED FILE` is what `make model` starts on each core."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import fork_server
from tests.command_line import Reconcile
from tests.machine import Machine
from tests.model.life import Life, World
from tests.private_namespaces import enter_private_machine

STEPS: Final = 10
"""Of one life, beside its begin and its end."""

AT_ONCE: Final = 6
"""Lives of one seed: those before a failure are tried again with it."""


def live(machine: Machine, reconcile: Reconcile, *, lives: int, seed: int, shrinks: bool = False) -> Counter[str]:
    """Try so many lives, the same ones for the same seed; give what was done."""
    world = World(machine, reconcile)

    @hypothesis.seed(seed)
    def begin() -> Life:
        return Life(world)

    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    try:
        run_state_machine_as_test(
            begin,  # type: ignore[arg-type]
            settings=settings(
                max_examples=lives,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                print_blob=True,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException as failure:
        failure.add_note(f"seed {seed}: the same again by `make model STEPS={lives * STEPS} SEED={seed}`")
        raise
    return world.done


def main() -> None:
    lives, seed, file = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    enter_private_machine()
    fork_server.start_parent()
    fork_server.fork_name_servers()
    done: Counter[str] = Counter()
    while done["lives"] < lives:
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(state_dir=Path(folder) / "state")
            reconcile = Reconcile(machine=machine, host_ns="H", specs=Path(folder) / "specs")
            try:
                done += live(machine, reconcile, lives=min(AT_ONCE, lives - done["lives"]), seed=seed, shrinks=True)
            finally:
                machine.clean()
        print(f"seed {seed}: {done['lives']} lives, {done['steps']} steps, nothing lost", flush=True)
        seed += 1
    file.write_text(json.dumps(done))


if __name__ == "__main__":
    main()
