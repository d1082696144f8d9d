"""As test_faults, on a host of a cluster: each call to the store fails, and the records of another host stay byte by byte."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from reconciler.kv.protocol import KvEntry
from tests.cluster import Cluster, cluster_of, opened_store, short_life
from tests.faults.scenes import EACH, Host
from tests.faults.trying import MODE, parts, try_part, try_part_watched
from tests.faults.watched import Round, to_specs, watching
from tests.machine import Machine

pytestmark = [pytest.mark.kernel, pytest.mark.long]

BORDERS: Final = {
    "etcd": EACH | {"netlink change", "nft transaction", "namespace or mount", "store commit"},
    "consul": EACH,
    "zk": EACH,
}
"""What is not the store's is the same with each."""

THEIRS: Final = """
networks: {net: {driver: overlay, ipam: {config: [{subnet: 10.0.9.0/24}]}}}
attachments: {two: {networks: {net: {aliases: [first]}}}}
"""
OURS: Final = """
networks:
  net: {external: true}
  own: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.0.8.0/24}]}}
attachments:
  one: {networks: {net: {}, own: {ipv4_address: 10.0.8.7}}}
  three: {networks: {net: {}}}
"""
OTHERWISE: Final = """
networks: {net: {external: true}}
attachments: {three: {networks: {net: {ipv4_address: 10.0.9.77}}}}
"""


def entries(cluster: Cluster) -> dict[str, KvEntry]:
    """Give what is in the store, but for whose turn it was to leave a network: that stays as long as the network does."""
    with opened_store(cluster) as store:
        return {entry.key: entry for entry in store.list("") if not entry.key.startswith("leaving/")}


def shared(cluster: Cluster, theirs: Collection[str]) -> dict[str, Any]:
    """Give what is in the store: of those keys byte by byte and with the version, of alpha's all that is not chance."""
    return {
        key: (found.value, found.version) if key in theirs else _ours(found) for key, found in entries(cluster).items()
    }


def _ours(entry: KvEntry) -> Any:
    try:
        found = json.loads(entry.value)
    except ValueError:
        return entry.value
    found.pop("created", None)
    return found


@contextmanager
def joined_by_alpha(machine: Machine, folder: Path, provider: str) -> Iterator[Host]:
    """Start a cluster, and the other host's network."""
    with cluster_of(machine, folder, ("alpha", "beta"), provider, short_life(provider)) as cluster:
        alpha, beta = cluster["alpha"], cluster["beta"]
        beta.declare(THEIRS)
        beta.ok()
        theirs = entries(cluster)
        yield Host(
            reconcile=alpha.reconcile,
            sandboxes=("one", "three"),
            options=alpha.options,
            beside=lambda: shared(cluster, theirs),
        )


@pytest.mark.parametrize("provider", ["etcd", "consul", "zk"])
@parts(4)
def test_cluster(machine: Machine, tmp_path: Path, provider: str, part: int) -> None:
    with joined_by_alpha(machine, tmp_path, provider) as host:
        names = (f"joining by {provider}", f"leaving by {provider}")
        try_part(provider, host.there_and_back(OURS, names, BORDERS[provider]), part)


@pytest.mark.parametrize("provider", ["etcd", "consul", "zk"] if MODE else ["etcd"])
@parts(7)
def test_cluster_watched(machine: Machine, tmp_path: Path, provider: str, part: int) -> None:
    with joined_by_alpha(machine, tmp_path, provider) as host:
        host.reconcile.write(specs=OURS)
        assert host.run().exit_code == 0
        moves = {f"watched by {provider}": to_specs(OTHERWISE), f"watched by {provider}, back": to_specs(OURS)}
        with watching(host, tmp_path, "--prune-limit", "9,100%") as watcher:
            try_part_watched(f"{provider} watched", Round.of(watcher, moves, EACH), part)
