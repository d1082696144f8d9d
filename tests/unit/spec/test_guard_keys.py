"""The keys `protect` and `onDrift` of a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.model.holds import OnDrift
from reconciler.spec.load import LoadedSpecs, load_specs


def load(folder: Path, network: str) -> LoadedSpecs:
    (folder / "a.yaml").write_text(f"networks: {{{network}}}\n")
    return load_specs(folder, host="alpha")


@pytest.mark.parametrize("answer", OnDrift)
def test_network_says_whether_it_is_protected_and_what_is_done_about_drift(tmp_path: Path, answer: OnDrift) -> None:
    loaded = load(tmp_path, f"a: {{protect: true, onDrift: {answer}}}")

    found = next(network for network in loaded.wanted.networks if network.name == "a")
    assert (found.is_protected, found.on_drift, loaded.faults) == (True, answer, ())


def test_network_is_corrected_and_not_protected_unless_it_says_so(tmp_path: Path) -> None:
    for network in load(tmp_path, "a: {}").wanted.networks:
        assert (network.is_protected, network.on_drift) == (False, OnDrift.CORRECT)


def test_drift_of_the_default_bridge_may_be_left(tmp_path: Path) -> None:
    loaded = load(tmp_path, "bridge: {onDrift: ignore}")

    assert loaded.faults == ()
    assert next(n for n in loaded.wanted.networks if n.name == "bridge").on_drift is OnDrift.IGNORE


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("a: {onDrift: repair}", "expected correct, warn or ignore"),
        ("a: {onDrift: [warn]}", "expected correct, warn or ignore"),
        ("a: {protect: perhaps}", "expected true or false"),
        ("a: {ondrift: warn}", "did you mean 'onDrift'?"),
        ("bridge: {protect: true}", "'protect' cannot be set"),
    ],
    ids=["unknown answer", "list", "no boolean", "misspelt", "built-in"],
)
def test_other_values_are_faults(tmp_path: Path, network: str, message: str) -> None:
    (fault,) = load(tmp_path, network).faults

    assert message in str(fault)
