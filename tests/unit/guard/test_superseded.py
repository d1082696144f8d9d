"""Specs that a trial from another folder superseded, and which folder a pass is made as from."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.errors import Superseded, TrialPending
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.recovery import confirm, instead, recovered_pass
from reconciler.guard.trial_record import read_trial, write_trial
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.report import Report
from reconciler.settings import Settings
from reconciler.spec.load import LoadedSpecs, load_specs
from tests.fakes.reports import report

OLD, NEW = "networks: {old: {}}\n", "networks: {new: {}}\n"
TAKING_OVER = Orders(is_taking_over=True)


def declared(loaded: LoadedSpecs) -> str:
    return next(network.name for network in loaded.wanted.networks if network.name not in BUILTIN_NETWORKS)


class Host:
    """A host with two folders of specs; passes say which specs they were made with, and as from where."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings(host="alpha", specs_dir=root / "ours", state_dir=root / "state")
        self.ran: list[tuple[str, str]] = []
        self.write("ours", OLD)
        self.write("copy", NEW)

    def write(self, folder: str, text: str) -> None:
        (self.root / folder).mkdir(exist_ok=True)
        (self.root / folder / "all.yaml").write_text(text)

    def load(self, folder: str) -> LoadedSpecs:
        return load_specs(self.root / folder, host="alpha")

    def go(self, folder: str, orders: Orders = NO_ORDERS) -> list[Exception]:
        """Make a pass, and give what is in the way of the host."""
        found = recovered_pass(self.load(folder), self.settings, orders, self._run)
        return [error for _, error in found.drift.problems]

    def _run(self, loaded: LoadedSpecs, orders: Orders) -> Report:
        self.ran.append((declared(loaded), Path(loaded.folder).name))
        return replace(report(digest=loaded.digest), plan=report().plan)


@pytest.fixture
def confirmed(tmp_path: Path) -> Host:
    """A host run from `ours`, and then by a trial of `copy` that was confirmed."""
    host = Host(tmp_path)
    host.go("ours")
    host.go("copy", Orders(trial_s=60))
    with pytest.raises(TrialPending):
        host.go("ours")
    confirm(host.settings)
    assert host.ran == [("old", "ours"), ("new", "copy")]
    host.ran.clear()
    return host


def test_what_was_confirmed_stays_in_force_as_from_its_folder(confirmed: Host) -> None:
    (error,) = confirmed.go("ours")

    assert isinstance(error, Superseded)
    assert str(confirmed.root / "copy") in str(error)
    planned, _, reason = instead(confirmed.load("ours"), confirmed.settings, NO_ORDERS)
    assert (declared(planned), str(reason)) == ("new", str(error))
    assert confirmed.go("copy") == []
    assert isinstance(confirmed.go("ours")[0], Superseded)
    assert confirmed.ran == [("new", "copy")] * 3


def test_superseded_specs_are_applied_when_they_take_over(confirmed: Host) -> None:
    assert instead(confirmed.load("ours"), confirmed.settings, TAKING_OVER)[2] is None
    assert confirmed.go("ours", TAKING_OVER) == []
    assert confirmed.go("ours") == []
    assert confirmed.ran == [("old", "ours")] * 2


def test_specs_that_became_what_was_confirmed_may_go_back(confirmed: Host) -> None:
    confirmed.write("ours", NEW)
    assert confirmed.go("ours") == []
    confirmed.write("ours", OLD)
    assert confirmed.go("ours") == []
    assert confirmed.ran == [("new", "ours"), ("old", "ours")]


def test_old_specs_of_the_same_folder_are_not_superseded(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.go("ours")
    host.write("ours", NEW)
    host.go("ours", Orders(trial_s=60))
    confirm(host.settings)
    host.write("ours", OLD)

    assert host.go("ours") == []


def test_trial_that_is_over_is_taken_back_by_whoever_comes_as_from_the_folder_before(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.go("ours")
    host.go("copy", Orders(trial_s=60))
    trial = read_trial(host.settings.state_dir)
    assert trial is not None
    write_trial(host.settings.state_dir, replace(trial, deadline=0))

    assert host.go("ours") == []

    assert host.ran == [("old", "ours"), ("new", "copy"), ("old", "ours"), ("old", "ours")]
    assert read_trial(host.settings.state_dir) is None
