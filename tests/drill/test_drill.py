"""Kept histories, played again: a short one for each store, and those that once failed. `make drill` draws others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.drill.drill import play
from tests.drill.history import NAMES, SEEDS_OF_ROUND, STEPS, Step, drawn_history, read_history
from tests.kv_servers.servers import STARTERS
from tests.machine import Machine

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.txt"))


@pytest.mark.kernel
@pytest.mark.long
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in HISTORIES])
def test_what_must_hold_does_through_all_that_befalls(path: Path, machine: Machine, tmp_path: Path) -> None:
    lines: list[str] = []
    try:
        done = play(machine, tmp_path, read_history(path.read_text()), lines.append)
    except BaseException:
        print("\n".join(lines))
        raise
    assert done["ping"] > 0


def test_a_seed_gives_one_history_and_its_text_the_same() -> None:
    drawn = drawn_history("etcd", 7)

    assert drawn == drawn_history("etcd", 7) == read_history(drawn.text)
    assert drawn.text != drawn_history("etcd", 8).text != drawn_history("zk", 8).text


def test_all_kinds_of_steps_are_drawn() -> None:
    """With each store within a round, which is what a run of some ten minutes plays of each."""
    for provider in STARTERS:
        round_ = [drawn_history(provider, seed) for seed in range(SEEDS_OF_ROUND, 2 * SEEDS_OF_ROUND)]

        assert {step.kind for history in round_ for step in history.steps} == STEPS.keys()
        assert [len(history.nodes) for history in round_] == [3, 3, 3, 1]


def test_a_part_of_a_history_is_one() -> None:
    drawn = drawn_history("etcd", 7)

    assert drawn.without(1, 2).steps == (drawn.steps[0], *drawn.steps[3:])
    with pytest.raises(ValueError, match="no such steps: burn"):
        read_history(drawn.without(0, len(drawn.steps)).text + Step("burn", NAMES[:1]).text)
