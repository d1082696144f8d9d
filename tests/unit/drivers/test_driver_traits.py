"""What is known of each driver."""

from __future__ import annotations

import pytest
from msgspec.structs import fields

from reconciler.drivers import remote
from reconciler.drivers.registry import DRIVERS, REMOTE, driver_of
from reconciler.model.drivers import DRIVER_TRAITS, DriverTraits, traits_of


def test_every_driver_has_its_traits() -> None:
    assert {name for name in DRIVER_TRAITS if name != "none"} == DRIVERS.keys()
    assert {name for name, traits in DRIVER_TRAITS.items() if traits.is_vxlan} == REMOTE.keys()


def test_another_name_is_a_plugin() -> None:
    assert traits_of("weave").is_plugin
    assert driver_of("weave") is remote


@pytest.mark.parametrize("left_out", [field.name for field in fields(DriverTraits)])
def test_a_trait_that_is_left_out_is_an_error(left_out: str) -> None:
    given = {field.name: False for field in fields(DriverTraits) if field.name != left_out}
    with pytest.raises(TypeError, match=left_out):
        DriverTraits(**given)  # type: ignore[arg-type]
