"""Fixtures of tests on the real kernel, beside those in tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.engine import Engine, engine_on
from tests.machine import Machine


@pytest.fixture
def engine(machine: Machine, host_ns: str) -> Iterator[Engine]:
    """The kernel adapters, with `host_ns` for a host."""
    with engine_on(machine, host_ns) as made:
        yield made
