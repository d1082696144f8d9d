"""`make model`: lives of a host on each core. `python -m tests.model [STEPS [SEED [PROCESSES]]]` writes docs/reference/model.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.model.run import STEPS

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "reference" / "model.md"
TALLIES: Final = ROOT / "build" / "model"
_APART: Final = 100_000
"""Between the seeds of two processes."""

HEAD: Final = """\
# Lives of a host

What the last `make model` did (tests/model): hosts on the real kernel live lives that hypothesis draws at random. Specs are edited,
people and other programs change what is ours and put objects beside it and in its way, passes are killed, state is lost. A small
picture of what was declared says what must be; `ip`, `nft` and real packets say what is. After each pass that ends well:

- Links, masters, addresses, MTUs, MAC addresses, default routes, elements of the firewall and records are those of the picture, and
  nothing else is ours.
- Who must reach whom does, and nobody else: members, other networks, internal ones, published ports, the world outside.
- Addresses and MAC addresses are unique. Those that were chosen, ids, names and indexes of links stay through edits that do not
  concern them, kills, restarts and lost state.
- Whatever belongs to others is the same to the byte, and what a guard holds back stands.
- The pass did as many operations as its dry run told, and the next one writes nothing.

Each life ends by `reconcile down`, after which the host is as it was. Lost means: one of these did not hold. The suite lives a few
lives in each run.

| what | how often | lost |
| --- | --- | --- |
"""


def main() -> int:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    processes = int(sys.argv[3]) if len(sys.argv) > 3 else len(os.sched_getaffinity(0))
    lives = max(1, round(steps / STEPS / processes))
    print(f"seed {seed}, {lives} lives of {STEPS} steps in each of {processes} processes", flush=True)
    TALLIES.mkdir(parents=True, exist_ok=True)
    files = [TALLIES / f"{number}.json" for number in range(processes)]
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.model.run", str(lives), str(seed + number * _APART), str(file)], cwd=ROOT
        )
        for number, file in enumerate(files)
    ]
    if any([run.wait() for run in runs]):  # noqa: C419  # of all
        print("FAILED: see above")
        return 1
    done: Counter[str] = sum((Counter(json.loads(file.read_text())) for file in files), Counter())
    PAGE.write_text(HEAD + "".join(rows(done)))
    print(f"{done['steps']} steps, nothing lost: {PAGE}")
    return 0


def rows(done: Mapping[str, int]) -> Iterator[str]:
    whole = ("lives", "steps", "passes", "kills", "guards held", "questions by packets")
    for what in (*whole, *sorted(done.keys() - set(whole))):
        yield f"| {what} | {done.get(what, 0)} | 0 |\n"


if __name__ == "__main__":
    sys.exit(main())
