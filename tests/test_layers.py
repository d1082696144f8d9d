"""The arrows of the architecture point one way: read from the import statements, also those inside functions.

docs/design/architecture.md draws the layers. A package may import itself and what stands on a lower line, nothing that
stands beside it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "reconciler"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("model", "incremental"),
    ("records",),
    ("settings", "programs"),
    ("spec", "ipam", "drivers", "plan", "firewall", "sandbox", "ports", "reach"),
    ("announcements", "flows", "cluster", "host_settings", "facts"),
    ("http",),
    ("kernel", "kv", "plugin"),
    ("dns", "container_engine"),
    ("kinds",),
    ("observe", "apply", "status", "choices", "compile", "git_tree", "review", "snapshot", "graph"),
    ("guard", "git_remote"),
    ("decide",),
    ("backends",),
    ("gather",),
    ("pipeline",),
    ("sandbox_exec",),
    ("probe",),
    ("watch", "trial", "comparison", "snapshots", "doctor", "importing"),
    ("drawing", "explain"),
    ("cli",),
    ("__main__",),
)

PURE = (
    "model",
    "incremental",
    "records",
    "spec",
    "ipam",
    "drivers",
    "plan",
    "firewall",
    "sandbox",
    "ports",
    "reach",
    "choices",
    "compile",
    "decide",
    "facts",
    "review",
    "snapshot",
    "graph",
    "announcements",
    "flows",
    "host_settings",
    "importing",
    "cluster",
    "status",
    "dns.wire",
    "dns.zones",
    "dns.tables",
    "dns.answer",
    "guard.keep",
    "guard.obey",
    "guard.orders",
    "guard.prune",
)

DOORS = (
    "importing.compose.files",
    "importing.compose.program",
    "importing.write",
    "records.file",
    "spec.files",
    "spec.load",
    "spec.rendering",
    "spec.export_schema",
    "status.files",
    "status.read",
    "status.revision",
    "status.tell",
    "status.write",
)
"""The modules of pure packages through which their values come in or go out."""

IO_MODULES = frozenset(
    {
        "asyncio",
        "ctypes",
        "fcntl",
        "glob",
        "http",
        "logging",
        "mmap",
        "multiprocessing",
        "os",
        "pty",
        "random",
        "resource",
    }
    | {
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
    }
    | {"time", "urllib.request"}
)

ONE_FILE_ONLY = (
    "consul",
    "etcd3gw",
    "httpx",
    "kazoo",
    "prometheus_client",
    "pyroute2",
    "requests",
    "sqlite3",
    "watchfiles",
)

HOMES = {
    "click": ("cli",),
    "h11": ("http",),
    "jinja2": ("spec", "cli"),
    "prometheus_client": ("watch",),
    "pydantic": ("spec", "kv", "plugin"),
    "pyroute2": ("kernel",),
    "rich": ("cli",),
    "ruamel": ("spec",),
    "watchfiles": ("kernel",),
}


def place(module: str) -> str | None:
    """Give the name in LAYERS that a module of ours belongs to: `reconciler.kv.sqlite` to `kv`; None when it has no place."""
    name = module.removeprefix(f"{PACKAGE}.").partition(".")[0]
    return name if any(name in layer for layer in LAYERS) else None


def is_pure(inner: str) -> bool:
    return inner not in DOORS and any(inner == name or inner.startswith(f"{name}.") for name in PURE)


def height(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


@cache
def imported(source: str) -> tuple[str, ...]:
    """Give the dotted name of everything imported, `from a.b import c` as both `a.b` and `a.b.c`."""
    return tuple(_imported(source))


def _imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports of ours are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def violations(module: str, source: str) -> list[str]:
    """Name every import of `module` that breaks a rule."""
    own, inner = place(module), module.removeprefix(f"{PACKAGE}.")
    if own is None:
        return [f"{module} has no place in LAYERS"]
    found = []
    for name in imported(source):
        top = name.partition(".")[0]
        if top == PACKAGE:
            found += _upward(own, name)
        elif is_pure(inner) and not IO_MODULES.isdisjoint((top, name)):
            found.append(f"{inner} is pure and imports {name}")
        elif top in HOMES and own not in HOMES[top]:
            found.append(f"{top} lives in {', '.join(HOMES[top])}; {module} imports it")
    return found


def _upward(own: str, name: str) -> list[str]:
    target = place(name)
    if target is None or target == own or height(target) < height(own):
        return []
    return [f"{own} imports {name}: {target} stands {'beside' if height(target) == height(own) else 'above'} it"]


def modules() -> dict[str, str]:
    """Give the source of each module of ours, by its dotted name."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != PACKAGE:
            found[name] = path.read_text()
    return found


@pytest.mark.parametrize(("module", "source"), modules().items(), ids=modules())
def test_module_imports_downward_only(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_each_client_library_is_imported_in_one_file() -> None:
    importers = defaultdict(set)
    for module, source in modules().items():
        for name in imported(source):
            importers[name.partition(".")[0]].add(module)

    assert {name: found for name in ONE_FILE_ONLY if len(found := importers[name]) > 1} == {}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("reconciler.model.plan", "from reconciler.plan.make_plan import make_plan"),
        ("reconciler.plan.make_plan", "from reconciler.drivers import bridge"),
        ("reconciler.plan.make_plan", "from reconciler import kernel"),
        ("reconciler.drivers.bridge", "def compile_network():\n    import os"),
        ("reconciler.pipeline", "import click"),
        ("reconciler.stranger", ""),
    ],
    ids=["upward", "sideways", "package", "impure", "foreign home", "no place"],
)
def test_rule_breaker_is_named(module: str, source: str) -> None:
    assert violations(module, source)
