"""The name server is started by passes and lives long: it loads what it serves by, not what a pass works with."""

from __future__ import annotations

import subprocess
import sys


def test_server_imports_neither_the_model_of_a_host_nor_any_library() -> None:
    code = (
        "import sys, reconciler.dns.server\n"
        "ours = {'reconciler.model.objects', 'reconciler.model.desired', 'reconciler.model.wanted', 'reconciler.spec'}\n"
        "heavy = (ours | {'click', 'jinja2', 'pydantic', 'ruamel', 'rich'}) & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
