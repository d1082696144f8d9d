"""What the driver options of an overlay network mean, and what is wrong with them."""

from __future__ import annotations

import pytest

from reconciler.model.wanted import OverlayOptions
from reconciler.spec.overlay_options import overlay_options

PREFIX = "com.docker.network.driver."


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, OverlayOptions()),
        ({f"{PREFIX}mtu": "9000"}, OverlayOptions(underlay_mtu=9000)),
        ({f"{PREFIX}mtu": "0"}, OverlayOptions()),
        ({f"{PREFIX}overlay.vxlanid_list": "300, 16777215"}, OverlayOptions(vnis=(300, 16777215))),
        ({f"{PREFIX}overlay.port": "4790"}, OverlayOptions(port=4790)),
        ({"another.tool": "x"}, OverlayOptions()),
        ({"com.network-reconciler.source_validation": "false"}, OverlayOptions(is_source_validated=False)),
    ],
    ids=["none", "mtu", "mtu not given", "vnis", "port", "another tool's", "sources"],
)
def test_options_are_read(options: dict[str, str], expected: OverlayOptions) -> None:
    parsed = overlay_options(options)

    assert (parsed.options, parsed.faults) == (expected, ())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("encrypted", "", "no way to share ESP keys"),
        ("encrypted", "false", "no way to share ESP keys"),
        (f"{PREFIX}mtu", "100", "expected a number from 646 to 65535"),
        (f"{PREFIX}overlay.vxlanid_list", "12,x", "invalid vxlan id value 'x' passed"),
        (f"{PREFIX}overlay.vxlanid_list", "0", "expected a number from 1 to 16777215"),
        (f"{PREFIX}overlay.vxlanid_list", "16777216", "expected a number from 1 to 16777215"),
        (f"{PREFIX}overlay.vxlanid_list", "7,7", "same vxlan id twice"),
        (f"{PREFIX}overlay.vxlanid_list", "1", "insufficient vnis(1) passed to overlay"),
        (f"{PREFIX}overlay.vxlanid_list", ",".join(map(str, range(1, 300))), "299 vxlan ids"),
        (f"{PREFIX}overlay.port", "53", "expected a number from 1024 to 49151"),
        (f"{PREFIX}overlay.ports", "4789", "did you mean 'com.docker.network.driver.overlay.port'"),
    ],
)
def test_a_wrong_option_is_named(option: str, value: str, message: str) -> None:
    faults = overlay_options({option: value}, subnets=2).faults

    assert [name for name, _ in faults][:1] == [option]
    assert message in faults[0][1]
