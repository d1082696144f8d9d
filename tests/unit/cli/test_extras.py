"""What a host in no cluster runs without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WALKTHROUGH = Path(__file__).parents[3] / "specs"


def test_a_host_in_no_cluster_plans_without_the_clients_of_stores_and_what_only_changes_need() -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('consul', 'kazoo', 'pyroute2', 'requests', 'urllib3'))\n"
        "from reconciler.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    plan = ("--specs", str(WALKTHROUGH), "--dry-run", "--against", "empty")

    done = subprocess.run([sys.executable, "-c", code, *plan], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "network isolated_nw is new" in done.stdout
