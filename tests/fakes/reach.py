"""Hosts that have what some specs declare, for questions about who reaches whom."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from reconciler.guard.foresight import on_empty_host
from reconciler.reach.site import Site
from reconciler.reach.walk import Walk
from reconciler.settings import Settings
from reconciler.spec.load import load_specs


def walk_of(specs: str, hosts: Sequence[str] = ("alpha",)) -> Walk:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "specs.yaml").write_text(specs)
        return Walk(sites={host: site_of(Path(folder), host) for host in hosts})


def site_of(folder: Path, host: str) -> Site:
    loaded = load_specs(folder, host=host, is_bridge_enabled=True, is_in_cluster=True)
    assert not loaded.faults
    desired = on_empty_host(loaded.wanted, Settings(host=host))
    assert not desired.failures
    return Site(desired=desired)
