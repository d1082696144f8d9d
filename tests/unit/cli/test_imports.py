"""What each command may import, so that it starts at once: the layers, and of what takes long to import what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from reconciler.cli.commands import LazyGroup
from reconciler.cli.importing import SOURCES, import_
from reconciler.cli.root import reconcile
from tests.test_layers import HOMES, LAYERS, PACKAGE, ROOT, place

SLOW = frozenset(HOMES) | {
    "asyncio",
    "ctypes",
    "http.client",
    "json",
    "logging.config",
    "msgspec",
    "pathlib",
    "socket",
    "sqlite3",
    "ssl",
}
"""What takes milliseconds to import, and not every command needs."""

GROUPS = [group for group in (reconcile, import_) if isinstance(group, LazyGroup)]


@dataclass(frozen=True, slots=True)
class Start:
    """A start of Python. layers, slow: what it may import of LAYERS and SLOW."""

    code: str
    layers: frozenset[str]
    slow: frozenset[str]


def _command(line: str, layers: str, slow: str) -> Start:
    code = f"from reconciler.cli import main; main({line.split()!r})"
    return Start(code, frozenset(layers.split()), frozenset(slow.split()))


_READING = "cli errors model records settings status"
_STARTS = {
    "--version": _command("--version", "cli errors", "click"),
    "--help": _command("--help", "cli errors", "click"),
    "network ls": _command("network ls", _READING, "click json msgspec pathlib socket"),
    "validate": _command(
        "validate --specs examples/walkthrough",
        # Choices are made as on a host where there is nothing, of which values alone are needed.
        f"{_READING} spec choices facts incremental ipam ports guard drivers sandbox cluster observe kernel kinds kv",
        "click json msgspec pathlib pydantic ruamel socket",
    ),
    "dry run": _command(
        "--specs examples/walkthrough --dry-run --against empty",
        " ".join({layer for line in LAYERS for layer in line} - {"sandbox_exec", "trial", "watch", "__main__"}),
        "click ctypes json msgspec pathlib pydantic ruamel socket sqlite3",
    ),
    "name server": Start(
        "import reconciler.dns.server",
        frozenset({"dns", "errors", "kernel", "model", "records"}),
        frozenset({"ctypes", "json", "msgspec", "pathlib", "socket"}),
    ),
}


def _imported(code: str, folder: Path) -> set[str]:
    """Return what it imports. What the environment imports before, as an editable install does, is none of it."""
    code = f"""import sys
there = set(sys.modules)
try: {code}
except SystemExit as end: assert not end.code
print('imported', *set(sys.modules) - there)"""
    environment = os.environ | {"RECONCILE_STATUS_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("start", _STARTS.values(), ids=_STARTS)
def test_command_imports_no_layer_and_no_slow_library_that_it_does_without(start: Start, tmp_path: Path) -> None:
    found = _imported(start.code, tmp_path)

    layers = {layer for name in found if name.startswith(f"{PACKAGE}.") and (layer := place(name)) is not None}
    assert layers <= start.layers
    assert found & SLOW <= start.slow


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in group.places])
def test_help_says_of_a_command_what_the_command_says_of_itself(group: LazyGroup, name: str) -> None:
    command = group.get_command(click.Context(group), name)

    assert command is not None
    said = click.Command(name, help=group.places[name].summary)
    assert said.get_short_help_str(999) == command.get_short_help_str(999)


def test_help_of_import_imports_no_source(tmp_path: Path) -> None:
    found = _imported("from reconciler.cli import main; main(['import', '--help'])", tmp_path)

    assert found.isdisjoint({f"reconciler.cli.{source.module}" for source in SOURCES.values()})


def test_name_server_starts_without_the_model_of_a_host(tmp_path: Path) -> None:
    found = _imported("import reconciler.dns.server", tmp_path)

    assert found.isdisjoint(
        {f"reconciler.model.{name}" for name in ("cluster", "desired", "objects", "plan", "wanted")}
    )
