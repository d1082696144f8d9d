"""Fixtures of tests on the real kernel, beside those in tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.command_line import Reconcile
from tests.kernel.engine import Engine, engine_on
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile


@pytest.fixture
def engine(machine: Machine, host_ns: str) -> Iterator[Engine]:
    """The kernel adapters, with `host_ns` for a host."""
    with engine_on(machine, host_ns) as made:
        yield made


@pytest.fixture
def forked(reconcile: Reconcile) -> ForkedReconcile:
    """As `reconcile`, but quick: each run is a fork of this process, whose writes are counted or cut off by SIGKILL."""
    return ForkedReconcile(machine=reconcile.machine, host_ns=reconcile.host_ns, specs=reconcile.specs)
