"""Where plugins are looked for, and what the files there may say."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import PlanError, PluginError, PluginMissing
from reconciler.plugin.discovery import find_plugin

SOCKETS = "run/docker/plugins"
PLACES = (
    f"{SOCKETS}/net.sock",
    f"{SOCKETS}/net/net.sock",
    "etc/docker/plugins/net.spec",
    "etc/docker/plugins/net/net.spec",
    "etc/docker/plugins/net.json",
    "etc/docker/plugins/net/net.json",
    "usr/lib/docker/plugins/net.spec",
    "usr/lib/docker/plugins/net/net.spec",
    "usr/lib/docker/plugins/net.json",
    "usr/lib/docker/plugins/net/net.json",
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)  # the name of a socket is bound by its relative path: it may not be long
    return tmp_path


def put(root: Path, place: str, text: str = "") -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if place.endswith(".sock"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(place)
    else:
        path.write_text(text)


def content(place: str) -> str:
    url = f"unix:///{PLACES.index(place)}"
    return f'{{"Name": "net", "Addr": "{url}"}}' if place.endswith(".json") else f"{url}\n"


def test_places_are_searched_in_the_engines_order(root: Path) -> None:
    for place in PLACES:
        put(root, place, content(place))

    for number, place in enumerate(PLACES):
        expected = f"unix://{root / place}" if place.endswith(".sock") else f"unix:///{number}"
        assert str(find_plugin("net", root)) == expected
        (root / place).unlink()
    with pytest.raises(PluginMissing):
        find_plugin("net", root)


def test_missing_plugin_is_told_with_all_places_and_may_come_later(root: Path) -> None:
    with pytest.raises(PluginMissing) as told:
        find_plugin("net", root)

    assert isinstance(told.value, PlanError)
    assert told.value.is_retryable
    for place in (SOCKETS, "etc/docker/plugins", "usr/lib/docker/plugins"):
        assert str(root / place) in str(told.value)


@pytest.mark.parametrize("name", ["../net", "a/b", "", ".", "..", "-x", "a\nb", "x" * 129])
def test_name_that_is_none_is_looked_for_nowhere(name: str, root: Path) -> None:
    with pytest.raises(PluginError, match="no name of a plugin"):
        find_plugin(name, root)


def test_json_file_says_address_and_tls(root: Path) -> None:
    put(
        root,
        "etc/docker/plugins/net.json",
        '{"name": "net", "addr": "tcp://192.0.2.1:8080", "Extra": 1, "TLSConfig": {"InsecureSkipVerify": false, '
        '"CAFile": "/ca.pem", "CertFile": "/cert.pem", "KeyFile": "/key.pem"}}',
    )

    found = find_plugin("net", root)

    assert (found.host, found.port) == ("192.0.2.1", 8080)
    assert found.tls is not None
    assert (found.tls.ca_file, found.tls.cert_file, found.tls.key_file) == ("/ca.pem", "/cert.pem", "/key.pem")
    assert not found.tls.is_insecure


@pytest.mark.parametrize(("url", "is_tls"), [("tcp", False), ("http", False), ("https", True)])
def test_address_may_be_written_as_people_do(url: str, is_tls: bool, root: Path) -> None:
    put(root, "etc/docker/plugins/net.json", f'{{"Name": "net", "Addr": "{url}://127.0.0.1:9999"}}')

    found = find_plugin("net", root)

    assert (found.host, found.port, found.tls is not None) == ("127.0.0.1", 9999, is_tls)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("etc/docker/plugins/net.spec", ""),
        ("etc/docker/plugins/net.spec", "ftp://192.0.2.1:80"),
        ("etc/docker/plugins/net.spec", "unix://relative/path"),
        ("etc/docker/plugins/net.spec", "tcp://192.0.2.1"),
        ("etc/docker/plugins/net.spec", "tcp://192.0.2.1:99999"),
        ("etc/docker/plugins/net.spec", "tcp://[::1:80"),
        ("etc/docker/plugins/net.json", "{"),
        ("etc/docker/plugins/net.json", '{"Name": "net"}'),
        ("etc/docker/plugins/net.json", '{"Addr": 5}'),
        ("etc/docker/plugins/net.json", '{"Addr": "unix:///x", "TLSConfig": {"CAFile": 5}}'),
        ("etc/docker/plugins/net.json", "[" * 1000),
        ("etc/docker/plugins/net.spec", "x" * 100_000),
    ],
)
def test_file_that_cannot_be_used_is_named(place: str, text: str, root: Path) -> None:
    put(root, place, text)

    with pytest.raises(PluginError, match=r"net\.(spec|json): ") as told:
        find_plugin("net", root)
    assert len(str(told.value)) < 1000


def test_pipe_in_place_of_a_file_is_refused_instead_of_waited_for(root: Path) -> None:
    path = root / "etc/docker/plugins/net.spec"
    path.parent.mkdir(parents=True)
    os.mkfifo(path)

    with pytest.raises(PluginError, match="expected a regular file"):
        find_plugin("net", root)


def test_file_in_place_of_a_socket_is_passed_over(root: Path) -> None:
    path = root / SOCKETS / "net.sock"
    path.parent.mkdir(parents=True)
    path.write_text("no socket")

    with pytest.raises(PluginMissing):
        find_plugin("net", root)
