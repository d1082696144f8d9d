"""A node of the store that is cut off from its peers, and still reached by hosts: they notice, and go on at another node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.kv.address import Discovery
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from reconciler.observe.cluster import ClusterStore
from reconciler.watch.cluster_events import ClusterEvents
from reconciler.watch.source import Watched
from tests.fakes.cluster import NOW, info_record, node
from tests.kv_servers.ensemble import NODES, ensemble_of
from tests.kv_servers.servers import Server
from tests.machine import Machine
from tests.underlay import hosts_on_switch
from tests.waiting import eventually, until

pytestmark = pytest.mark.kernel

CLIENT = "client"


@pytest.fixture(params=["consul", "etcd"])
def quorum(request: pytest.FixtureRequest, machine: Machine, tmp_path: Path) -> Iterator[list[Server]]:
    """Give three servers, each in a namespace of its own, that are about to elect one."""
    addresses = hosts_on_switch(machine, (*NODES, CLIENT))
    with ensemble_of(machine, tmp_path, request.param, addresses) as ensemble:
        yield list(ensemble.servers.values())


def opened(servers_: list[Server]) -> KvStore:
    endpoints = tuple(Endpoint(server.address, server.port) for server in servers_)
    return open_store(StoreConfig(provider=Provider(servers_[0].provider), endpoints=endpoints, prefix="demo/"))


def test_a_store_node_cut_off_from_its_peers_is_left(quorum: list[Server], machine: Machine) -> None:
    with machine.inside(CLIENT), closing(opened(quorum)) as kv, closing(opened(quorum[1:])) as writer:
        store = ClusterStore(kv, host="alpha", instance="i-alpha", discovery=Discovery())
        until(lambda: writer.put("nodes/x", b"") is None, 60)
        with closing(ClusterEvents(store, kv)) as events:
            events.arm(Watched())
            until(lambda: store.look((), NOW).outage is None, 60)
            peers = ", ".join(server.address for server in quorum[1:])
            rules = (
                f"table ip cut {{ chain in {{ type filter hook input priority 0; ip saddr {{ {peers} }} drop; }}; }}"
            )

            machine.run("s1", "nft", rules)
            cut_s = time.monotonic()
            record = info_record(node("beta"))
            until(lambda: writer.put(record.path, record.value.encode()) is None, 60)
            written_s = time.monotonic()

            assert eventually(lambda: "beta" in store.look((), NOW).nodes, 60)
            print(f"written {written_s - cut_s:.1f} s after the cut, seen after {time.monotonic() - cut_s:.1f} s")
            assert eventually(lambda: store.outage is None, 60)
