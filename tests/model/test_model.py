"""A host's life, drawn at random on the real kernel: after each pass all is as declared, and nothing of others has changed."""

from __future__ import annotations

import pytest

from tests.command_line import Reconcile
from tests.machine import Machine
from tests.model.run import live


@pytest.mark.kernel
@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_life_of_a_host(part: int, machine: Machine, reconcile: Reconcile) -> None:
    done = live(machine, reconcile, lives=3, seed=part)
    print(", ".join(f"{count} {what}" for what, count in done.most_common()))
