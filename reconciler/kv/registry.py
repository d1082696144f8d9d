"""Which provider serves which address. Its module, and the client library it brings, is loaded when it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from reconciler.errors import ConfigError
from reconciler.kv.config import Provider, StoreConfig
from reconciler.kv.protocol import KvStore


def open_store(config: StoreConfig) -> KvStore:
    """Open the cluster's store. Reaches no server yet. Raises ConfigError for TLS files that are no good."""
    return _PROVIDERS[config.provider](config)


def _open_consul(config: StoreConfig) -> KvStore:
    with _library("python-consul", extra="consul"):
        from reconciler.kv.consul import ConsulStore

    return ConsulStore(config)


def _open_etcd(config: StoreConfig) -> KvStore:
    from reconciler.kv.etcd import EtcdStore

    return EtcdStore(config)


def _open_zookeeper(config: StoreConfig) -> KvStore:
    with _library("kazoo", extra="zookeeper"):
        from reconciler.kv.zookeeper import ZooKeeperStore

    return ZooKeeperStore(config)


@contextmanager
def _library(name: str, *, extra: str) -> Iterator[None]:
    """Return what to install where a provider's client library is missing: hosts in no cluster need none."""
    try:
        yield
    except ModuleNotFoundError as cause:
        if (cause.name or "").startswith("reconciler"):
            raise
        raise ConfigError(
            f"this cluster store needs the Python package {name}: pip install 'network-reconciler[{extra}]'"
        ) from cause


_PROVIDERS: Final[Mapping[Provider, Callable[[StoreConfig], KvStore]]] = {
    Provider.CONSUL: _open_consul,
    Provider.ETCD: _open_etcd,
    Provider.ZK: _open_zookeeper,
}
