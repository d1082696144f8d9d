"""What is asked of ZooKeeper, in which order: what its servers say is tried in tests/contracts."""

from __future__ import annotations

from typing import Any

from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.zookeeper import ZooKeeperStore


class Recorded:
    """A connection to a server that has nothing."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []

    def begin(self, method: str, deadline: float, path: str, **options: object) -> None:
        self.begun.append((method, path))

    def answer(self, call: object, deadline: float) -> Any:
        return None

    found = answer


def test_a_folder_is_listed_by_a_server_that_has_caught_up() -> None:
    """After a fail-over a server may lag behind what this host itself wrote, and was told was written, by the one before."""
    endpoints = (Endpoint("192.0.2.1", 2181), Endpoint("192.0.2.2", 2181))
    store = ZooKeeperStore(StoreConfig(provider=Provider.ZK, endpoints=endpoints, prefix="demo/"))
    store._connection = recorded = Recorded()  # type: ignore[assignment]

    assert store.list("nodes/") == ()

    assert recorded.begun == [("sync", "/"), ("get_children", "/demo/nodes")]
