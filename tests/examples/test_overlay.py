"""examples/overlay, played on three hosts with each of the stores."""

from __future__ import annotations

import pytest

from tests import demo_overlay
from tests.cluster import STARTERS
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.mark.long
@pytest.mark.parametrize("provider", STARTERS)
def test_demo_meets_its_own_expectations(provider: str, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    demo_overlay.play_with(machine, provider)

    assert capsys.readouterr().out.count("=> as it should be: it answers") == 4
