"""`make fuzz`: all targets, or one, for some seconds; what was found, as files that play again; the table of what was tried.

python -m tests.fuzz [--time SECONDS] [--target NAME]    fuzz, led by coverage; exit 1 when something was found
python -m tests.fuzz --replay TARGET FILE…               what comes of these inputs
python -m tests.fuzz --keep                              choose anew which inputs the repository has
python -m tests.fuzz --table                             write docs/reference/fuzz.md from the tallies
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.fuzz.bounds import Bounds
from tests.fuzz.corpus import BUILD, all_kept, folder_of
from tests.fuzz.mended import MENDED
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.private_namespaces import enter_private_machine

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "reference" / "fuzz.md"
_GRACE_S: Final = 240
"""For a child to begin and end, on a machine that does other things too."""

HEAD: Final = """\
# Fuzzing

What the last `make fuzz` tried (tests/fuzz): at each border where others' bytes come in, inputs that coverage led to. For each
holds: no error but ours, in one line that is bounded and controls no terminal; at most {cpu:g} s of the processor and {memory} MiB
beside what the process has; and what each target says of its border, such as that what was read is the same when it was written
and read again. The suite tries the kept inputs and some hundred others of each target in every run.

| border | comes in there | tried | found |
| --- | --- | --- | --- |
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--time", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--target", choices=sorted(TARGETS))
    parser.add_argument("--replay", nargs="+", metavar="TARGET FILE")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args(arguments)
    targets = [TARGETS[asked.target]] if asked.target else list(TARGETS.values())
    if asked.replay:
        return replay(TARGETS[asked.replay[0]], [Path(name) for name in asked.replay[1:]])
    if asked.keep:
        return keep(targets)
    if asked.table:
        return write_table()
    return fuzz(targets, asked.time)


def fuzz(targets: Sequence[Target], seconds: float) -> int:
    """Fuzz one target after the other, each for its share. A child that ends badly is a finding."""
    bad = 0
    for target in targets:
        findings = folder_of(BUILD / "findings", target.name)
        tally = folder_of(BUILD / "tallies", target.name).with_suffix(".json")
        tally.unlink(missing_ok=True)
        log = folder_of(BUILD / "logs", target.name).with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        share = seconds / len(targets)
        with log.open("wb") as errors:
            child = [sys.executable, "-m", "tests.fuzz.child", target.name, f"{share:g}"]
            try:
                ended = subprocess.run(child, stderr=errors, timeout=share + _GRACE_S, check=False).returncode
            except subprocess.TimeoutExpired:
                ended = -1
        told: dict[str, Any] = json.loads(tally.read_text()) if tally.exists() else {}
        found = len(told.get("found", ())) + (not told)
        bad += found
        fate = (
            f"{told['tried']} tried, {found} found, {told['peak_mb']} MiB" if told else f"ended with {ended}: see {log}"
        )
        print(f"{target.name}: {fate}" + (f": {findings}" if found else ""), flush=True)
    return 1 if bad else 0


def replay(target: Target, files: Sequence[Path]) -> int:
    """Print what comes of each file."""
    enter_private_machine()
    is_bad = False
    with Bounds(target) as bounds:
        for file in files:
            found = bounds.tried(file.read_bytes())
            print(f"{file}: {found.text if found else 'nothing found'}")
            is_bad |= found is not None
    return 1 if is_bad else 0


def keep(targets: Sequence[Target]) -> int:
    enter_private_machine()
    for name, files, size in all_kept(targets):
        print(f"{name}: {files} files, {size} bytes")
    return 0


def write_table() -> int:
    """Write the page. Raises FileNotFoundError unless all targets were fuzzed."""
    from tests.fuzz.bounds import CPU_S, MEMORY

    page = "".join((HEAD.format(cpu=CPU_S, memory=MEMORY >> 20), *_rows(), *_mended()))
    PAGE.write_text(page)
    print(PAGE)
    return 0


def _rows() -> Iterator[str]:
    total = 0
    for target in TARGETS.values():
        tally = json.loads(folder_of(BUILD / "tallies", target.name).with_suffix(".json").read_text())
        assert not tally["found"], f"{target.name}: mend first what was found"
        total += tally["tried"]
        yield f"| {target.name} | {target.what} | {tally['tried']:,} | 0 |\n"
    yield f"| all | | {total:,} | 0 |\n"


def _mended() -> Iterator[str]:
    yield "\nFound before, mended, and kept out by a test:\n\n| border | what it was | test |\n| --- | --- | --- |\n"
    for border, what, test in MENDED:
        yield f"| {border} | {what} | `{test}` |\n"


if __name__ == "__main__":
    sys.exit(main())
