"""What a host in no cluster installs is enough to import everything and to run."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.command_line import Reconcile, command_environment
from tests.waiting import patient

pytestmark = pytest.mark.kernel

EXTRAS = ("consul", "kazoo", "requests", "six")
DEVELOPMENT = ("coverage", "dns", "execnet", "hypothesis", "jsonschema", "mypy", "pytest", "xdist")
PROVIDERS = ("consul", "zookeeper", "zookeeper_connection", "zookeeper_tree")
"""Modules of `reconciler.kv` that need a library of the extras."""

WITHOUT = f"""
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS + DEVELOPMENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import reconciler
for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
    if not module.name.startswith({tuple(f"reconciler.kv.{name}" for name in PROVIDERS)}) and "__main__" not in module.name:
        importlib.import_module(module.name)
from reconciler.cli import main
main()
"""


def test_a_host_in_no_cluster_needs_no_extras(reconcile: Reconcile) -> None:
    assert all(map(find_spec, EXTRAS + DEVELOPMENT))
    reconcile.write(web="networks:\n  front: {}\nattachments:\n  web:\n    networks: [front]\n")

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *reconcile.options()],
        env=command_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "web" in reconcile.ok("network", "inspect", "front").stdout
