"""Tests that share something go to one worker."""

from __future__ import annotations

import pytest


def test_a_worker_is_told_of_groups(request: pytest.FixtureRequest) -> None:
    """By the end of a test's id: else xdist spreads the tests of a group over all workers, and says nothing."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("for workers")

    assert request.node.nodeid.endswith("@tests/test_groups.py")
