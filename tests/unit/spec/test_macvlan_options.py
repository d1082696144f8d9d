"""Options of macvlan and ipvlan networks. What is refused, and with which words: `cases/macvlan`."""

from __future__ import annotations

import pytest

from reconciler.model.wanted import IpvlanFlag, IpvlanMode, IpvlanOptions, MacvlanMode, MacvlanOptions
from reconciler.spec.macvlan_options import ipvlan_options, macvlan_options

MTU = "com.docker.network.driver.mtu"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ({}, MacvlanOptions(parent="", mode=MacvlanMode.BRIDGE, mtu=None)),
        ({"parent": "", "macvlan_mode": "", MTU: ""}, MacvlanOptions()),
        ({"parent": "eth0.10", "macvlan_mode": "vepa"}, MacvlanOptions(parent="eth0.10", mode=MacvlanMode.VEPA)),
        ({"parent": "eth0", "macvlan_mode": "passthru"}, MacvlanOptions(parent="eth0", mode=MacvlanMode.PASSTHRU)),
        ({MTU: "9000"}, MacvlanOptions(mtu=9000)),
        ({MTU: "0"}, MacvlanOptions()),
        ({"team": "web", "com.example.rack": "7"}, MacvlanOptions()),
    ],
)
def test_macvlan_options_are_read(typed: dict[str, str], meant: MacvlanOptions) -> None:
    parsed = macvlan_options(typed)

    assert (parsed.options, parsed.faults) == (meant, ())


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ({}, IpvlanOptions(mode=IpvlanMode.L2, flag=IpvlanFlag.BRIDGE)),
        (
            {"parent": "eth0", "ipvlan_mode": "l3s", "ipvlan_flag": "private"},
            IpvlanOptions(parent="eth0", mode=IpvlanMode.L3S, flag=IpvlanFlag.PRIVATE),
        ),
        ({MTU: "1400"}, IpvlanOptions(mtu=1400)),
    ],
)
def test_ipvlan_options_are_read(typed: dict[str, str], meant: IpvlanOptions) -> None:
    parsed = ipvlan_options(typed)

    assert (parsed.options, parsed.faults) == (meant, ())


def test_one_bad_option_leaves_the_others_read() -> None:
    parsed = macvlan_options({"parent": "lo", "macvlan_mode": "private"})

    assert parsed.options == MacvlanOptions(mode=MacvlanMode.PRIVATE)
    assert [option for option, _ in parsed.faults] == ["parent"]
