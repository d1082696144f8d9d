"""Addresses as people write them, and what stands where a socket should."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from reconciler.errors import ConfigError
from reconciler.http.listening import ListenAddress, ListeningSocket, parse_address


def test_unix_socket_is_for_its_group_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "run" / "test.sock"

    listener = ListeningSocket(ListenAddress(unix=path), "test")

    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o700 == 0o700
    listener.close()
    assert not path.exists()


def test_socket_of_one_that_took_the_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.sock"
    first = ListeningSocket(ListenAddress(unix=path), "test")
    os.unlink(path)
    second = ListeningSocket(ListenAddress(unix=path), "test")

    first.close()

    assert path.exists()
    second.close()


def test_socket_of_one_that_was_killed_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "test.sock"
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(path))
    dead.close()

    ListeningSocket(ListenAddress(unix=path), "test").close()

    assert not path.exists()


def test_socket_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    listener = ListeningSocket(ListenAddress(unix=tmp_path / "test.sock"), "test")

    with pytest.raises(ConfigError, match=r"^test: cannot listen at unix:.*Address already in use"):
        ListeningSocket(ListenAddress(unix=tmp_path / "test.sock"), "test")

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "test.sock"))
    listener.close()


def test_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(ConfigError, match="something else than a socket"):
        ListeningSocket(ListenAddress(unix=path), "test")

    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x.sock", ListenAddress(unix=Path("/run/x.sock"))),
        ("127.0.0.1:9199", ListenAddress(host="127.0.0.1", port=9199)),
        ("[::1]:9199", ListenAddress(host="::1", port=9199)),
    ],
)
def test_addresses_are_read(text: str, address: ListenAddress) -> None:
    assert parse_address(text, "test") == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9199",
        ":9199",
        "unix:x",
        "localhost:9199",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:\u0661",
        "::1:9199",
        "[127.0.0.1]:80",
        "unix:/" + 200 * "x",
        "unix:/a\0b",
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^test: expected unix:/PATH"):
        parse_address(text, "test")
