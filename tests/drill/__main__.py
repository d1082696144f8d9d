"""`make drill`: histories drawn from seeds, on each store in turn; writes docs/reference/drill.md.

    python -m tests.drill [--store etcd|consul|zookeeper|all] [--time SECONDS] [--seed N] [--replay FILE [--shrink]] [--page]

A history that fails is printed; `--shrink` leaves out what it fails without, one step after the other, and writes it anew.
"""

from __future__ import annotations

import argparse
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
from tests.drill.history import STEPS, History, drawn_history, read_history
from tests.kv_servers.servers import STARTERS
from tests.machine import Machine
from tests.private_namespaces import enter_private_machine

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "reference" / "drill.md"
WORDS: Final = {"consul": "Consul", "etcd": "etcd", "zk": "ZooKeeper"}

HEAD: Final = """\
# Drill

What the last `make drill` did (tests/drill): hosts that share networks by a store of three servers, and histories of what may
befall both, each drawn from a seed. All along no two live endpoints had one address or MAC, and a network had one VNI everywhere
(with ZooKeeper, whose reads may lag, that is looked at when all was mended);
each host's own sandboxes never stopped to reach one another. Whenever all was mended: what was declared was there, and nothing
else; each network had one id, VNI and subnet; names were answered with the right addresses or not at all; forwarding tables and
neighbours were just those of the endpoints elsewhere; all hosts reached one another; the store's records were those of what was
there, or of hosts that were lost; a pass from nothing had nothing to do. In the end all were taken down, and the store was empty.
The suite plays a short history for each store, and those that once failed.

"""

Log = Callable[[str], None]


def played(history: History, log: Log) -> tuple[Counter[str], str]:
    """Play a history; give what was done, and what failed, "" for nothing."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(state_dir=Path(folder) / "state")
        try:
            return Counter(play(machine, Path(folder), history, lines.append)), ""
        except (AssertionError, OSError) as error:
            log("\n".join((*lines, traceback.format_exc())))
            return Counter(), f"{type(error).__name__}: {error}"
        finally:
            machine.clean()


def shrunk(history: History, log: Log) -> History:
    """Leave out steps, first many at once, as long as it fails without them too."""
    count = max(1, len(history.steps) // 2)
    while count:
        first = 0
        while first < len(history.steps):
            shorter = history.without(first, count)
            failure = played(shorter, lambda _: None)[1]
            log(f"{len(shorter.steps)} steps: {failure[:160] or 'fine'}")
            if failure:
                history = shorter
            else:
                first += count
        count //= 2
    return history


def drilled(providers: list[str], seed: int, seconds: float, log: Log) -> tuple[dict[str, Counter[str]], int]:
    """Play one history after the other, on each store in turn, for so long; give what was done by store, and how many failed."""
    done: dict[str, Counter[str]] = {provider: Counter() for provider in providers}
    failures, ends_s = 0, time.monotonic() + seconds
    while True:
        for provider in providers:
            history = drawn_history(provider, seed)
            began_s = time.monotonic()
            found, failure = played(history, log)
            done[provider] += found + Counter(histories=1)
            failures += bool(failure)
            log(f"{WORDS[provider]}, seed {seed}: {failure or 'fine'} ({time.monotonic() - began_s:.0f} s)")
            if failure:
                log(history.text)
        if time.monotonic() > ends_s:
            return done, failures
        seed += 1


def page(done: dict[str, Counter[str]]) -> str:
    """Give the page: what was done, by store."""
    heads = [WORDS[provider] for provider in done]
    rows = [f"| what | {' | '.join(heads)} | lost |", f"| --- |{' --- |' * (len(heads) + 1)}"]
    words = {
        "histories": "histories, each from the first host to an empty store",
        **STEPS,
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
    parser.add_argument("--seed", type=int, default=int(time.time()))
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
        history = read_history(given.replay.read_text())
        if given.shrink:
            given.replay.write_text(shrunk(history, log).text)
            return 0
        done, failure = played(history, log)
        log(failure or f"fine: {dict(done)}")
        return int(bool(failure))
    store = "zk" if given.store == "zookeeper" else given.store
    found, failures = drilled(list(STARTERS) if store == "all" else [store], given.seed, given.time, log)
    if failures:
        log(f"{failures} histories failed")
        return 1
    if given.page:
        PAGE.write_text(page(found))
        log(f"{sum(each['histories'] for each in found.values())} histories, nothing lost: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
