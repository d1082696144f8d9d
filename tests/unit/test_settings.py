from __future__ import annotations

from ipaddress import ip_address

import pytest

from reconciler.errors import ConfigError
from reconciler.settings import Advertised, advertised


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", Advertised(address=ip_address("192.0.2.1"))),
        ("192.0.2.1:2376", Advertised(address=ip_address("192.0.2.1"), port=2376)),
        ("[2001:db8::1]", Advertised(address=ip_address("2001:db8::1"))),
        ("[2001:db8::1]:2376", Advertised(address=ip_address("2001:db8::1"), port=2376)),
        ("eth0", Advertised(address=None, ifname="eth0")),
        ("eth0.7:2376", Advertised(address=None, ifname="eth0.7", port=2376)),
    ],
)
def test_address_or_interface_is_advertised(text: str, expected: Advertised) -> None:
    assert advertised(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected IP, IFACE"),
        ("2001:db8::1", "expected IP, IFACE"),
        ("eth0:0", "expected IP, IFACE"),
        ("eth0:65536", "expected IP, IFACE"),
        ("eth0:port", "expected IP, IFACE"),
        ("eth0\n", "expected IP, IFACE"),
        ("eth 0", "expected IP, IFACE"),
        ("[eth0]", "expected IP, IFACE"),
        ("[192.0.2.1.1]", "neither an address nor"),
        ("a-very-long-interface", "neither an address nor"),
        ("127.0.0.1", "cannot reach 127.0.0.1"),
        ("0.0.0.0:80", "cannot reach 0.0.0.0"),
        ("224.0.0.1", "cannot reach 224.0.0.1"),
        ("[fe80::1]", "cannot reach fe80::1"),
    ],
)
def test_what_nobody_can_be_reached_at_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        advertised(text)
