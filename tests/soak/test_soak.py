"""Half a minute of what `make soak` does for ten."""

from __future__ import annotations

import pytest

from tests.command_line import Reconcile
from tests.machine import Machine
from tests.soak.soak import Soak


@pytest.mark.kernel
@pytest.mark.long
def test_thirty_seconds_of_edits_drift_and_kills_end_converged(machine: Machine, reconcile: Reconcile) -> None:
    actions: list[str] = []
    soak = Soak(machine=machine, reconcile=reconcile, seed=20261124, log=actions.append)
    try:
        soak.run(30)
    except BaseException:
        print("\n".join(actions))
        raise
    finally:
        soak.close()
    assert len(actions) > 5
