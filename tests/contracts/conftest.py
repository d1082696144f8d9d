"""The four key-value stores, each with a real server, on the loopback of the private machine that all tests run on."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.kv import consul
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from reconciler.kv.sqlite import open_sqlite
from tests.contracts import short_sessions
from tests.fork_server import ForkedPopen
from tests.kv_servers import servers
from tests.kv_servers.servers import Server, ServerMissing
from tests.waiting import patient, until

CONTRACTS, OUTAGES = ([pytest.mark.kernel, pytest.mark.servers(name)] for name in ("contracts", "outages"))
"""Marks of modules that share servers: one set of these for all where nothing befalls a server, one for the others. A test that
is not tried with each provider in turn names its own: `servers("contracts", "zk")`.
"""

_BACKENDS = ("backend", "clustered", "over_http")

SESSION_TTL_S = round(patient(3))
"""A short life, for any provider, but longer than a process waits for its turn on a loaded machine: who lives tells in time."""

STARTERS: dict[str, Callable[[Path], Server]] = {
    "consul": servers.consul,
    "etcd": servers.etcd,
    "zk": partial(servers.zookeeper, session_max_s=30),
}


@pytest.hookimpl(tryfirst=True)  # before tests/conftest.py makes groups of modules
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give one set's tests of one provider to one worker: each server is started twice, and no provider waits for another."""
    for item in items:
        mark = item.get_closest_marker("servers")
        if mark is not None and (provider := _provider(item, *mark.args)):
            item.add_marker(pytest.mark.xdist_group(f"{mark.args[0]}-{provider}"))


def _provider(item: pytest.Item, kind: str, named: str = "") -> str:
    parameters: dict[str, str] = item.callspec.params if hasattr(item, "callspec") else {}
    return next((parameters[name] for name in _BACKENDS if name in parameters), named)


def missing(reason: str) -> None:
    """Skip where a person lacks something; fail where all must be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def started(starter: Callable[[Path], Server], folder: Path) -> Server:
    try:
        return starter(folder)
    except ServerMissing as error:
        missing(str(error))
        raise AssertionError from error


@dataclass
class Backend:
    """One provider. Each `area()` is a part of the store that no other test uses."""

    name: str
    folder: Path
    server: Server | None = None
    opened: list[KvStore] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def area(self) -> str:
        return f"t{next(self.numbers)}/"

    def config(self, area: str, **changes: object) -> StoreConfig:
        assert self.server is not None
        config = StoreConfig(
            provider=Provider(self.name), endpoints=(Endpoint("127.0.0.1", self.server.port),), prefix=f"test/{area}"
        )
        return replace(config, **changes)  # type: ignore[arg-type]

    def open(self, area: str, timeout_s: float = 5.0) -> KvStore:
        """Open the area; one store's connections are not another's."""
        if self.server is None:
            store: KvStore = open_sqlite(self.folder / area.rstrip("/") / "state.db", timeout_s=timeout_s)
        else:
            store = open_store(self.config(area, timeout_s=timeout_s))
        self.opened.append(store)
        return store

    def where(self, area: str) -> str:
        """Name the area to another process."""
        if self.server is None:
            return json.dumps({"provider": "sqlite", "path": str(self.folder / area.rstrip("/") / "state.db")})
        return json.dumps({"provider": self.name, "port": str(self.server.port), "prefix": f"test/{area}"})

    def process(self, verb: str, area: str, argument: str, **streams: Any) -> subprocess.Popen[Any]:
        """Start a process that works on the area, see `tests.contracts.holder`."""
        arguments = [verb, self.where(area), argument]
        return ForkedPopen(arguments, program="tests.contracts.holder:main", **streams)

    def await_ready(self) -> None:
        """Wait until the server takes writes: a Consul that listens has yet to elect itself."""
        store = self.open("ready/", 1.0)
        until(lambda: store.put("ready", b"") is None, 60)

    def close_all(self) -> None:
        for store in self.opened:
            store.close()
        self.opened.clear()


@pytest.fixture(scope="session")
def make_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Backend]]:
    """Start each provider's server once per process, when a test first asks for it."""
    logging.getLogger("kazoo").addHandler(logging.NullHandler())  # of connections that outlive their server at the end
    backends: dict[str, Backend] = {}

    def make(name: str) -> Backend:
        if name not in backends:
            folder = tmp_path_factory.mktemp(name)
            backends[name] = Backend(name=name, folder=folder)
            if name in STARTERS:
                server = started(STARTERS[name], folder / "server")
                backends[name].server = server
                server.start()
                backends[name].await_ready()
        return backends[name]

    yield make
    for backend in backends.values():
        backend.close_all()
        if backend.server is not None:
            backend.server.stop()


@pytest.fixture(autouse=True)
def _any_session_ttl(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in short_sessions.CHANGES.items():
        monkeypatch.setattr(consul, name, value, raising=False)


@pytest.fixture(params=["sqlite", "consul", "etcd", "zk"])
def backend(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Iterator[Backend]:
    """Give each of the four in turn."""
    made = make_backend(request.param)
    yield made
    made.close_all()


@pytest.fixture(params=["consul", "etcd", "zk"])
def clustered(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Iterator[Backend]:
    """Give each of those with a server in turn, the server running again afterwards."""
    made = make_backend(request.param)
    yield made
    assert made.server is not None
    if made.server.process is None:
        made.server.start()
    made.server.resume()
    made.await_ready()
    made.close_all()


@pytest.fixture(params=["consul", "etcd"])
def over_http(request: pytest.FixtureRequest, make_backend: Callable[[str], Backend]) -> Iterator[Backend]:
    """Give each of those that we speak HTTP to ourselves."""
    made = make_backend(request.param)
    yield made
    made.close_all()


@pytest.fixture
def area(request: pytest.FixtureRequest) -> str:
    """Give a part of the store that no other test uses."""
    name = next(name for name in _BACKENDS if name in request.fixturenames)
    made: Backend = request.getfixturevalue(name)
    return made.area()


@pytest.fixture
def store(backend: Backend, area: str) -> KvStore:
    return backend.open(area)
