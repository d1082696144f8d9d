"""A host is run from one state folder, and its specs from one that declares all that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.whose import anothers_specs, anothers_state
from reconciler.ipam.promises import EndpointPromise, Promises
from reconciler.model.marks import Mark, read_mark
from reconciler.model.wanted import NetworkWanted, WantedState
from reconciler.settings import Settings
from tests.unit.ipam.builders import attachment

SETTINGS = Settings(host="alpha", state_dir=Path("/var/lib/reconciler"), specs_dir=Path("/srv/new"))
TAKING_OVER = Orders(is_taking_over=True)
ENDPOINT = EndpointPromise(network="bridge", attachment="web", id="0" * 64)


def mark(network: str = "lan", state: str = SETTINGS.state_folder, specs: str = "/srv/old") -> Mark:
    made = read_mark(Mark(network=network, state=state, specs=specs).text())
    assert made is not None
    return made


def wanted(*networks: str, attachments: tuple[str, ...] = (), has_faults: bool = False) -> WantedState:
    return WantedState(
        networks=tuple(
            NetworkWanted(
                name=name,
            )
            for name in networks
        ),
        attachments=tuple(attachment(name, "bridge") for name in attachments),
        has_faults=has_faults,
    )


@pytest.mark.parametrize("is_protected", [False, True])
@pytest.mark.parametrize("name", ["a", "n" * 128])
@pytest.mark.parametrize("folder", ["/srv", "/with space/ü%41~", "/long" * 400, "/" + "ü" * 300])
def test_a_mark_fits_into_an_alias_and_is_known_again(folder: str, name: str, is_protected: bool) -> None:
    text = Mark(network=name, state=folder, specs="/srv/specs" + folder, is_protected=is_protected).text()

    assert len(text.encode()) <= 255
    found = read_mark(text)
    assert found is not None
    assert (found.network, found.is_protected) == (name, is_protected)
    assert found.is_of_state(folder)
    assert found.is_of_specs("/srv/specs" + folder)
    assert not found.is_of_state(folder + "x")
    assert not found.is_of_specs(folder)


@pytest.mark.parametrize(
    "alias", ["", "uplink", "reconciler", "reconciler a b", "reconciler a seen /s /t", "x a /s /t"]
)
def test_any_other_alias_is_no_mark(alias: str) -> None:
    assert read_mark(alias) is None


def test_another_state_folder_is_refused_with_both_named_until_it_takes_over() -> None:
    others = [mark("lan", state="/var/lib/first"), mark("wan", state="/var/lib/first")]

    error = anothers_state(others, SETTINGS, NO_ORDERS)

    assert error is not None
    assert "--state-dir /var/lib/first, and this is /var/lib/reconciler" in str(error)
    assert anothers_state(others, SETTINGS, TAKING_OVER) is None
    assert anothers_state([], SETTINGS, NO_ORDERS) is None
    assert anothers_state([mark()], SETTINGS, NO_ORDERS) is None
    assert anothers_state([*others, mark()], SETTINGS, NO_ORDERS) is None  # a take-over that was killed goes on


def test_another_spec_folder_is_refused_where_it_would_remove_something() -> None:
    promises = Promises(endpoints={("bridge", "web"): ENDPOINT})
    marks = [mark("lan"), mark("wan"), mark("bridge"), mark("docker_gwbridge")]

    error = anothers_specs(marks, wanted("wan"), promises, SETTINGS, NO_ORDERS)

    assert error is not None
    assert "--specs /srv/old, and /srv/new would remove what those made: network lan, attachment web;" in str(error)
    both = wanted("lan", "wan", attachments=("web",))
    for specs, orders in (
        (both, NO_ORDERS),
        (wanted(has_faults=True), NO_ORDERS),
        (wanted("wan"), TAKING_OVER),
        (wanted("wan"), Orders(trial_s=60)),
    ):
        assert anothers_specs(marks, specs, promises, SETTINGS, orders) is None
    assert anothers_specs([*marks, mark(specs="/srv/new")], wanted("wan"), promises, SETTINGS, NO_ORDERS) is None
    assert anothers_specs([], wanted("wan"), promises, SETTINGS, NO_ORDERS) is None
