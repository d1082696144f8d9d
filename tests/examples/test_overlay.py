"""examples/overlay, played on three hosts; `make demo-overlay` plays it with each of the stores."""

from __future__ import annotations

import pytest

from tests import demo_overlay
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.mark.long
def test_demo_meets_its_own_expectations(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    demo_overlay.play_with(machine, "etcd")

    assert capsys.readouterr().out.count("=> as it should be: it answers") == 4
