"""Whether the cluster's store is reached, quickly, and can be written; whether its servers' clocks and its records agree with the
clock here; which hosts of the cluster give no sign of life; and whether another host goes by our name.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from reconciler.apply.node_removal import cluster_entries, texts
from reconciler.cluster.nodes import node_rows
from reconciler.cluster.reading import read_life
from reconciler.cluster.records import life_path
from reconciler.doctor.finding import Finding, command, error, warning
from reconciler.doctor.place import Place
from reconciler.doctor.typed import base, typed
from reconciler.errors import KvError, ReconcilerError
from reconciler.http.client_protocol import BadResponse, Request
from reconciler.http.connection import Connection, Origin
from reconciler.kv.address import discovery, store_config
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.protocol import CALL_TIMEOUT_S, KvStore
from reconciler.kv.registry import open_store
from reconciler.records.document import Misfit

T = TypeVar("T")

_DEADLINE_S: Final = 15.0
"""Of all questions together: looking up names may take longer than a store's own deadline."""

_CLOCK_S: Final = 3.0
_SLOW_S: Final = 0.5
_SKEW_S: Final = 5.0
_LOOKS: Final = 3
_SERVICES: Final = {Provider.CONSUL: "consul", Provider.ETCD: "etcd", Provider.ZK: "zookeeper"}
_PATHS: Final = {Provider.CONSUL: "/v1/status/leader", Provider.ETCD: "/version"}
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class Store(Struct, frozen=True, kw_only=True):
    """address: of the servers. service: what runs there, where it is this host, "" elsewhere. failure: why it is not reached.

    unwritable: why only reading works. latency_s: of the middle one of some reads. clocks: by server, how far it is ahead.
    ahead_s: how far the latest moment in a record is. silent: hosts that give no sign of life. namesake: another one of our name.
    """

    address: str = ""
    service: str = ""
    failure: str = ""
    unwritable: str = ""
    latency_s: float = 0.0
    clocks: Mapping[str, float] = {}
    ahead_s: float = 0.0
    silent: tuple[str, ...] = ()
    namesake: str = ""


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place), base(typed())) if place.settings.cluster_store else iter(())


def judge(store: Store, program: list[str]) -> Iterator[Finding]:
    start = (command("systemctl", "restart", store.service),) if store.service else ()
    if store.failure:
        yield error(
            f"the cluster's store at {store.address} is not reached: {store.failure}",
            "overlay networks stay as they are: nothing new of other hosts comes in, and nothing of this one is known there",
            *start,
        )
    elif store.unwritable:
        yield error(
            f"the cluster's store at {store.address} answers for itself alone: {store.unwritable}",
            "what it tells may be old, and nothing can be written: its servers have no majority",
            *start,
        )
    if store.latency_s > _SLOW_S:
        yield warning(
            f"the cluster's store takes {store.latency_s:.1f} s for an answer",
            "each pass with overlay networks takes that several times, and other hosts learn of changes as late",
        )
    for server, ahead_s in store.clocks.items():
        if abs(ahead_s) > _SKEW_S:
            yield _skewed(f"the clock of the store's server {server}", ahead_s)
    if store.ahead_s > _SKEW_S and not any(abs(each) > _SKEW_S for each in store.clocks.values()):
        yield _skewed("the clock of the host that wrote the store's latest record", store.ahead_s)
    for host in store.silent:
        yield warning(
            f"host {host} of the cluster gives no sign of life",
            "its endpoints leave the networks after a while; what is to stay is a host whose watcher runs",
            command(*program, "node", "rm", host),
        )
    if store.namesake:
        yield error(
            f"another host lives in the cluster under our name (instance {store.namesake})",
            "each takes the other's records away: give one of them another `--host`",
        )


def _skewed(whose: str, ahead_s: float) -> Finding:
    word = "ahead of" if ahead_s > 0 else "behind"
    return warning(
        f"{whose} is {abs(ahead_s):.0f} s {word} the one here",
        "certificates, and when a dead host's endpoints go, are judged by the clock",
        "timedatectl set-ntp true",
    )


def read(place: Place) -> Store:
    """Raises ConfigError for an address or options that are no good."""
    settings = place.settings
    config = store_config(settings.cluster_store, settings.cluster_store_options, os.environ)
    address = ",".join(map(str, config.endpoints))
    is_local = all(endpoint.host in _LOCAL for endpoint in config.endpoints)
    found = Store(address=address, service=_SERVICES[config.provider] if is_local else "")
    nodes_folder = discovery(settings.cluster_store_options).path
    asked = _within(_DEADLINE_S, lambda: _asked(config, found, settings.host, nodes_folder))
    if asked is None:
        return replace(found, failure=f"no answer within {_DEADLINE_S:.0f} s")
    ours = place.backends.cluster
    return replace(asked, namesake="") if ours is None or asked.namesake == ours.instance else asked


def _within(deadline_s: float, work: Callable[[], T]) -> T | None:
    """Return what comes of it, None when that takes longer: it is left alone then, and ends with the process."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()), name="store", daemon=True)
    thread.start()
    thread.join(deadline_s)
    return found[0] if found else None


def _asked(config: StoreConfig, found: Store, host: str, nodes_folder: str) -> Store:
    try:
        kv = open_store(config)
    except ReconcilerError as failure:
        return replace(found, failure=str(failure))
    try:
        found = _records(kv, found, host, nodes_folder)
    except KvError as failure:
        return replace(found, failure=str(failure))
    finally:
        kv.close()
    return replace(found, clocks=dict(_clocks(config)))


def _records(kv: KvStore, found: Store, host: str, nodes_folder: str) -> Store:
    """Raises KvError."""
    times: list[float] = []
    for _ in range(_LOOKS):
        started = time.monotonic()
        kv.get(life_path(nodes_folder, host))
        times.append(time.monotonic() - started)
    records = texts(cluster_entries(kv, nodes_folder))
    try:
        namesake = read_life(records.get(life_path(nodes_folder, host), ""))
    except Misfit:
        namesake = ""
    try:
        kv.confirm(CALL_TIMEOUT_S)
        unwritable = ""
    except KvError as failure:
        unwritable = str(failure)
    return replace(
        found,
        latency_s=sorted(times)[_LOOKS // 2],
        unwritable=unwritable,
        silent=tuple(row.name for row in node_rows(records, nodes_folder) if row.alive == "no" and row.name != host),
        namesake=namesake,
        ahead_s=latest(records.values()) - time.time(),
    )


def latest(records: Iterable[str]) -> float:
    """Return the latest moment that any record speaks of, in seconds since the epoch; 0 for none."""
    found = [0.0]
    for text in records:
        for moment in re.findall(r'"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)[.\d]*Z"', text):
            try:
                found.append(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())
            except ValueError:
                continue
    return max(found)


def _clocks(config: StoreConfig) -> Iterator[tuple[str, float]]:
    """Yield how far each server that speaks HTTP is ahead, by the date of an answer; it says whole seconds."""
    path = _PATHS.get(config.provider)
    for endpoint in config.endpoints if path else ():
        try:
            answered_s = _dated(endpoint, config, path or "")
        except (OSError, BadResponse, ReconcilerError, KeyError, ValueError):
            continue
        yield str(endpoint), answered_s + 0.5 - time.time()


def _dated(endpoint: Endpoint, config: StoreConfig, path: str) -> float:
    tls = config.tls.context() if config.tls is not None else None
    connection = Connection(Origin(name=str(endpoint), host=endpoint.host, port=endpoint.port, tls=tls))
    connection.deadline = time.monotonic() + _CLOCK_S
    try:
        answer = connection.exchange(Request(method="GET", target=path), body_max=1 << 16, is_last=True)
    finally:
        connection.discard()
    return parsedate_to_datetime(answer.headers["date"]).timestamp()
