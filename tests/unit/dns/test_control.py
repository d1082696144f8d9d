"""Who may tell the name server what to do, and how it is started."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.dns import control
from reconciler.dns.launch import run_server  # sessions with kernel tests put a fork in its place later
from reconciler.dns.service import Service


class Peer:
    """A connection of which the kernel says that a process of `uid` is at its other end."""

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("=iII", 77, self._uid, 0)


def test_orders_are_taken_of_the_own_user_and_root_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert [uid for uid in (0, 1, 1000, 1001, 65534) if control.is_own_user(cast(socket.socket, Peer(uid)))] == [
        0,
        1000,
    ]


def test_the_server_is_started_without_the_folder_that_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module of a stranger's folder is not imported in place of ours."""
    (tmp_path / "json.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[str, ...]] = []
    really = subprocess.run

    def only_imports(command: tuple[str, ...], **rest: Any) -> object:
        seen.append(command)
        return really((*command[: command.index("-m")], "-c", "import json"), **rest)

    monkeypatch.setattr(subprocess, "run", only_imports)

    assert run_server((), 60) == 0
    assert len(seen) == 1


@pytest.mark.parametrize("request_", [[], {}, 7, None, "x" * 1000])
def test_a_request_that_is_none_is_refused_in_a_few_words(request_: object) -> None:
    """A list in its place ended the server."""
    server = Service.__new__(Service)
    server._requests = {}
    line = SimpleNamespace(recv=lambda _: control.encode({"do": request_}))

    reply = server._reply(cast(socket.socket, line))

    assert str(reply["error"]).endswith("is none of ")
    assert len(str(reply["error"])) < 200
