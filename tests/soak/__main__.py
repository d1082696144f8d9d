"""`make soak`: ten minutes of edits, drift and kills in private namespaces. `python -m tests.soak [SECONDS [SEED]]`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.command_line import Reconcile
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine
from tests.soak.soak import Soak, SoakFailed


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    enter_private_machine()
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(state_dir=Path(folder) / "state")
        machine.add_namespace("H")
        reconcile = Reconcile(machine=machine, host_ns="H", specs=Path(folder) / "specs")
        soak = Soak(machine=machine, reconcile=reconcile, seed=seed, log=lambda line: print(line, flush=True))
        print(f"seed {seed}, {seconds:.0f} s")
        try:
            soak.run(seconds)
        except SoakFailed as failure:
            print(f"FAILED (seed {seed}): {failure}")
            return 1
        finally:
            soak.close()
    print(f"converged, nothing left behind; {soak.kills} kills")
    return 0


if __name__ == "__main__":
    sys.exit(main())
