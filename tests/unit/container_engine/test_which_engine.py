"""Which engine is asked when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.container_engine import client
from reconciler.container_engine.client import ContainerEngine


def test_engine_is_dockers_where_it_is_and_podmans_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker, podman = tmp_path / "docker.sock", tmp_path / "podman.sock"
    monkeypatch.setattr(client, "DEFAULT_SOCKETS", (docker, podman))

    assert ContainerEngine().socket == docker
    podman.touch()
    assert ContainerEngine().socket == podman
    docker.touch()
    assert ContainerEngine().socket == docker
    assert ContainerEngine(tmp_path / "other").socket == tmp_path / "other"
