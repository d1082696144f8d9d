"""A process that holds a session, lives in a cluster, or races for a counter: see `Backend.process`."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from reconciler.errors import KvConflict
from reconciler.kv import consul
from reconciler.kv.address import Discovery
from reconciler.kv.config import Endpoint, Provider, StoreConfig
from reconciler.kv.protocol import KvStore
from reconciler.kv.registry import open_store
from reconciler.kv.sqlite import open_sqlite
from reconciler.watch.presence import Presence
from tests.contracts import short_sessions


def main() -> None:
    verb, where, argument = sys.argv[1:]
    vars(consul).update(short_sessions.CHANGES)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if verb == "live" else ())
    store = opened(json.loads(where))
    if verb == "hold":
        session = store.session(float(argument))
        store.put("nodes/held", b"alive", session)
        print("held", flush=True)
        while True:
            time.sleep(float(argument) / 4)
            session.renew()
    if verb == "live":
        presence = Presence(store, "alpha", "i-alpha", Discovery(heartbeat_s=0.3, ttl_s=int(argument)))
        signal.sigwait({signal.SIGTERM})
        presence.close()
        store.close()
        return
    for _ in range(int(argument)):
        increment(store, "counter")


def opened(where: dict[str, str]) -> KvStore:
    if where["provider"] == "sqlite":
        return open_sqlite(Path(where["path"]))
    endpoint = Endpoint("127.0.0.1", int(where["port"]))
    return open_store(StoreConfig(provider=Provider(where["provider"]), endpoints=(endpoint,), prefix=where["prefix"]))


def increment(store: KvStore, key: str) -> None:
    while True:
        entry = store.get(key)
        value, version = (int(entry.value), entry.version) if entry else (0, 0)
        try:
            store.compare_and_swap(key, b"%d" % (value + 1), version)
        except KvConflict:
            continue
        return
