from __future__ import annotations

import ast
from ipaddress import ip_address
from pathlib import Path

import pytest

import reconciler
from reconciler.errors import ConfigError
from reconciler.settings import SECRET_VARIABLE, Advertised, advertised, program_environment


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


def test_a_program_that_we_start_is_not_given_the_secret_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "for us alone")
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1")

    given = program_environment({"LC_ALL": "C"})

    assert "for us alone" not in given.values()
    assert (given["HTTPS_PROXY"], given["LC_ALL"]) == ("http://192.0.2.1", "C")


def test_every_program_is_started_with_an_environment_that_somebody_thought_of() -> None:
    """Nothing starts one that inherits ours as it is."""
    sources = Path(reconciler.__file__).parent.rglob("*.py")
    calls = [
        (path.name, ast.unparse(call))
        for path in sources
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith(("subprocess.", "os.exec", "os.posix_spawn"))
        and not ast.unparse(call.func).endswith(("Error", "TimeoutExpired"))
    ]  # fmt: skip

    inheriting = [call for call in calls if not ("env=" in call[1] or call[1].startswith("os.execvpe("))]
    assert len(calls) >= 7
    assert inheriting == []
