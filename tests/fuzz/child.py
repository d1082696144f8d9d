"""Fuzz one target for some seconds, led by coverage: a process of its own, which atheris (libFuzzer) turns.

    python -m tests.fuzz.child TARGET SECONDS

Findings do not end it: each is written once, as the input and what came of it, below build/fuzz/findings.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from typing import Final

from tests.private_namespaces import enter_private_machine

_RSS_MB: Final = 1500
"""Of the whole process: what grows from one input to the next."""

_HARD_S: Final = 120
"""By the clock, for what even a signal does not end."""

_LOOKED: Final = 32


def main(name: str, seconds: str) -> None:
    enter_private_machine()
    import atheris

    with atheris.instrument_imports(include=["reconciler"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.bounds import Bounds
    from tests.fuzz.corpus import BUILD, folder_of, kept, name_of
    from tests.fuzz.mutate import mutated

    target = TARGETS[name]
    corpus, findings = folder_of(BUILD / "corpus", name), folder_of(BUILD / "findings", name)
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    known = kept(target)
    for data in known:
        (corpus / name_of(data)).write_bytes(data)
    bounds = Bounds(target)
    bounds.__enter__()
    until = time.monotonic() + float(seconds)
    places: dict[str, int] = {}
    tried = 0

    def one(data: bytes) -> None:
        nonlocal tried
        tried += 1
        found = bounds.tried(data)
        if found is not None:
            places[found.place] = places.get(found.place, 0) + 1
            if places[found.place] == 1:
                path = findings / name_of(found.place.encode())
                path.write_bytes(data)
                path.with_suffix(".txt").write_text(f"{found.place}\n\n{found.text}\n", errors="backslashreplace")
                print(f"{name}: {found.place}: {found.text.partition(chr(10))[0][:160]!r}", flush=True)
        if tried % _LOOKED == 0:
            bounds.renew()
            if time.monotonic() > until:
                end()

    def end() -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        tally = {"tried": tried, "found": places, "peak_mb": peak, "corpus": len(os.listdir(corpus))}
        folder_of(BUILD / "tallies", name).with_suffix(".json").write_text(json.dumps(tally))
        os._exit(0)

    def other(data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.3:
            return bytes(atheris.Mutate(data, size_max))
        return mutated(target, data, known, chance)[:size_max]

    (BUILD / "tallies").mkdir(exist_ok=True)
    options = {
        "max_len": target.length_max,
        "timeout": _HARD_S,
        "rss_limit_mb": _RSS_MB,
        "artifact_prefix": f"{findings}/",
        "verbosity": 0,
        "reload": 0,
    }
    arguments = [sys.argv[0], *(f"-{option}={value}" for option, value in options.items()), str(corpus)]
    atheris.Setup(arguments, one, custom_mutator=other)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main(*sys.argv[1:])
