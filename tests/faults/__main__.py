"""Write docs/reference/faults.md from what `make faults` wrote down: what was injected, how often, and what was lost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tests.faults.inject import FAULTS
from tests.faults.trying import PARTS, TALLIES

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "faults.md"

HEAD = """\
# Faults

What the last `make faults` tried (tests/faults): each call that leaves the process on the ways between states of a host fails once,
in each of the ways below, or the process is killed there. Of calls that differ in names and numbers alone the first, a middle and
the last one do, of the messages of a netlink batch likewise; of those to a store, a plugin or a container engine each. Lost means:
after the next pass, which must end with exit 0, the host, its records or what belongs to others (what plugins keep, other hosts'
records byte by byte) was not as without the fault, or something was left over. A watcher has to make that pass by itself, within a
minute, and to go on. The suite tries a small part of this in each run, and what something was lost by once.

| call | what happens to it | tried | lost |
| --- | --- | --- | --- |
"""


def main() -> None:
    """Sum up the parts of all circles; raises FileNotFoundError unless all are there."""
    injected: Counter[tuple[str, str]] = Counter()
    codes: Counter[str] = Counter()
    ways: dict[str, None] = {}
    lost = missed = 0
    for name in sorted({path.stem.rpartition("-")[0] for path in TALLIES.glob("*.json")}):
        for part in range(PARTS):
            tally = json.loads((TALLIES / f"{name}-{part}.json").read_text())
            injected.update({(border, fault): count for border, fault, count in tally["injected"]})
            codes.update(tally["codes"])
            ways |= dict.fromkeys(tally["ways"])
            lost += tally["lost"]
            missed += tally["missed"]
    assert not lost, f"{lost} points failed: mend them first"
    tried = [(border, fault) for border in FAULTS for fault in FAULTS[border] if injected[border, fault]]
    rows = [f"| {border} | {fault} | {injected[border, fault]} | 0 |\n" for border, fault in tried]
    unmet = ", ".join(sorted(FAULTS.keys() - {border for border, _ in tried})) or "none"
    ends = ", ".join(f"{'SIGKILL' if code == '-9' else code}: {count}" for code, count in sorted(codes.items()))
    total = f"| all | | {injected.total()} | {lost} |\n"
    PAGE.write_text(
        f"{HEAD}{''.join(rows)}{total}\nWays: {'; '.join(ways)}. Exit codes of the passes with a fault: {ends}.\n"
        f"Calls that are on none of these ways: {unmet}.\n"
        f"Faults due in a watcher that did not come about, as it makes one pass or two for the same news: {missed}.\n"
    )
    print(f"{injected.total()} faults, {lost} lost: {PAGE}")


if __name__ == "__main__":
    main()
