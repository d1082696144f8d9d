"""`make drill`: histories drawn from seeds, on each store in turn; writes docs/reference/drill.md.

    python -m tests.drill [--store etcd|consul|zookeeper|all] [--time SECONDS] [--seed N] [--shrink] [--page]
    python -m tests.drill --replay FILE [--shrink]

A history that fails is written to build/drill, and what the watchers and servers said beside it. In the time that is left, or
without end with `--shrink`, what it fails without is left out, one step after the other.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests import fork_server
from tests.drill.drill import play
from tests.drill.history import SEEDS_OF_ROUND, STEPS, History, drawn_history, read_history
from tests.kv_servers.servers import STARTERS
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine

_ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = _ROOT / "docs" / "reference" / "drill.md"
FAILED: Final = _ROOT / "build" / "drill"
WORDS: Final = {"consul": "Consul", "etcd": "etcd", "zk": "ZooKeeper"}

HEAD: Final = """\
# Drill

What the last `make drill` did (tests/drill): hosts that share networks by a store of three servers, or one, and histories of
what may befall both, each drawn from a seed. All along no two live endpoints had one address or MAC, a network had one VNI
everywhere, and each host's own sandboxes never stopped to reach one another. Whenever all was mended: what was declared was there,
and nothing else; each network had one id, VNI and subnet; names were answered with the right addresses or not at all; forwarding
tables and neighbours were just those of the endpoints elsewhere; all hosts reached one another; the store's records were those of
what was there, or of hosts that were lost; a pass from nothing had nothing to do. Where nothing had been declared since, nor any
host lost, all ids, VNIs, subnets, addresses and MACs were what they had been, also when the store had lost all data. In the end all
were taken down, and the store was empty. Left out are attachments that wait for a network which nobody declares any more, and that
network, in a store that lost its data ([limits](../limits.md)). The suite plays a short history for each store, and those that once
failed.

"""

Log = Callable[[str], None]


def played(history: History, lines: list[str]) -> tuple[Counter[str], str]:
    """Play a history; give what was done, and what failed, "" for nothing. lines: what is told on the way is added."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(state_dir=Path(folder) / "state")
        try:
            return Counter(play(machine, Path(folder), history, lines.append)), ""
        except (AssertionError, OSError) as error:
            lines.append(traceback.format_exc())
            return Counter(), f"{type(error).__name__}: {error}"
        finally:
            machine.clean()


def shrink(path: Path, ends_s: float, log: Log) -> None:
    """Leave out steps of the history in a file, first many at once, as long as it fails without them too, and until then."""
    history = read_history(path.read_text())
    count = max(1, len(history.steps) // 2)
    while count:
        first = 0
        while first < len(history.steps):
            if time.monotonic() > ends_s:
                return
            shorter = history.without(first, count)
            failure = played(shorter, [])[1]
            log(f"{len(shorter.steps)} steps: {failure[:160] or 'fine'}")
            if failure:
                history = shorter
                keep(path, history, failure)
            else:
                first += count
        count //= 2


def keep(path: Path, history: History, failure: str) -> None:
    """Write a history that failed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {failure[:1000].splitlines()[0]}\n{history.text}")


def drilled(
    providers: list[str], seed: int, seconds: float, log: Log, *, shrinks: bool
) -> tuple[dict[str, Counter[str]], int]:
    """Play one history after the other, on each store in turn, for so long; give what was done by store, and how many failed.

    shrinks: one that fails until nothing more can be left out, instead of while there is time.
    """
    done: dict[str, Counter[str]] = {provider: Counter() for provider in providers}
    failures, ends_s = 0, time.monotonic() + seconds
    while True:
        for provider in providers:
            history = drawn_history(provider, seed)
            began_s = time.monotonic()
            lines: list[str] = []
            found, failure = played(history, lines)
            done[provider] += found + Counter(histories=1, alone=int(len(history.nodes) == 1))
            log(f"{WORDS[provider]}, seed {seed}: {failure or 'fine'} ({time.monotonic() - began_s:.0f} s)")
            if failure:
                failures += 1
                path = FAILED / f"{provider}-{seed}.txt"
                keep(path, history, failure)
                path.with_suffix(".log").write_text("\n".join(lines))
                log(f"kept, to be played again by: make drill REPLAY={path.relative_to(_ROOT)}")
                shrink(path, math.inf if shrinks else ends_s, log)
        if time.monotonic() > ends_s:
            return done, failures
        seed += 1


def page(done: dict[str, Counter[str]]) -> str:
    """Give the page: what was done, by store."""
    heads = [WORDS[provider] for provider in done]
    rows = [f"| what | {' | '.join(heads)} | lost |", f"| --- |{' --- |' * (len(heads) + 1)}"]
    words = {
        "histories": "histories, each from the first host to an empty store",
        "alone": "of these with a store of one server",
        **STEPS,
        "rest": "of these with nothing declared since the last time, and all what it was",
        "ping": "pings within a host",
    }
    words["look"] = "looks at what must never be otherwise"
    for kind, text in words.items():
        rows.append(f"| {text} | {' | '.join(str(each[kind]) for each in done.values())} | 0 |")
    return HEAD + "\n".join((*rows, ""))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill")
    parser.add_argument("--store", default="all", choices=("all", "zookeeper", *STARTERS))
    parser.add_argument("--time", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) // SEEDS_OF_ROUND * SEEDS_OF_ROUND)
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--shrink", action="store_true")
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    enter_private_machine()
    fork_server.start_parent()
    fork_server.fork_name_servers()

    def log(line: str) -> None:
        print(line, flush=True)

    if given.replay:
        if given.shrink:
            shrink(given.replay, math.inf, log)
            return 0
        lines: list[str] = []
        done, failure = played(read_history(given.replay.read_text()), lines)
        log("\n".join((*lines, failure)) if failure else f"fine: {dict(done)}")
        return int(bool(failure))
    store = "zk" if given.store == "zookeeper" else given.store
    providers = list(STARTERS) if store == "all" else [store]
    found, failures = drilled(providers, given.seed, given.time, log, shrinks=given.shrink)
    if failures:
        log(f"{failures} histories failed")
        return 1
    if given.page:
        PAGE.write_text(page(found))
        log(f"{sum(each['histories'] for each in found.values())} histories, nothing lost: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
