"""What the plans of the specs and examples are, object by object: a restructuring changes no byte of them.

`python -m tests.unit.plan.test_golden_plans` records them anew, after a change that is meant to change plans; read the difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.plan_json import plan_document
from reconciler.guard.rehearsal import between
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs, load_specs

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parent / "golden"

EXAMPLES = {
    "specs": "specs",
    **{name: f"examples/{name}" for name in ("icc-off", "ipv6", "macvlan", "names", "ports-and-links", "templates")},
    **{
        name: f"examples/{name}"
        for name in ("containers", "existing-namespaces", "host-and-none", "plugin", "static-addresses")
    },
    **{f"overlay-{host}": f"examples/overlay/{host}" for host in ("alpha", "beta", "gamma")},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_plan_from_nothing_and_back_is_the_one_recorded(name: str) -> None:
    assert text(EXAMPLES[name]) == (GOLDEN / f"{name}.jsonl").read_text()


def text(folder: str) -> str:
    return "".join(f"{line}\n" for line in _lines(_load(GOLDEN), _load(ROOT / folder)))


def _load(folder: Path) -> LoadedSpecs:
    return load_specs(folder, host="alpha")


def _lines(nothing: LoadedSpecs, loaded: LoadedSpecs) -> Iterator[str]:
    """All objects with their attributes, then in which order they are made, and removed."""
    settings = Settings(specs_dir=ROOT, host="alpha")
    made, removed = between(nothing, loaded, settings).report, between(loaded, nothing, settings).report
    changes = plan_document(made, ())["resource_changes"]
    assert isinstance(changes, list)
    yield from (json.dumps(change, separators=(",", ":")) for change in changes)
    for report in (made, removed):
        yield from (f"{each.action.value} {each.object.describe()}" for each in report.plan.operations)


if __name__ == "__main__":
    for example, where in EXAMPLES.items():
        (GOLDEN / f"{example}.jsonl").write_text(text(where))
