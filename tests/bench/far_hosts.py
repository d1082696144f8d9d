"""Hosts that exist in the cluster's store only: what they publish is what real ones do, at the cost of a write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.kv.protocol import TRANSACTION_KEYS_MAX, Delete, KvStore, Put, Write

HOSTS = 40
"""So many share the endpoints of a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarEndpoint:
    """One of many on a network with the subnet 10.20.0.0/16: its number says everything about it."""

    network: str
    number: int

    @property
    def host(self) -> str:
        return f"far{self.number % HOSTS}"

    @property
    def address(self) -> str:
        return f"10.20.{100 + self.number // 250}.{1 + self.number % 250}"

    @property
    def mac(self) -> str:
        return ":".join(["02", "42", *(f"{int(part):02x}" for part in self.address.split("."))])

    @property
    def path(self) -> str:
        return f"network/{self.network}/endpoints/far-{self.number}"

    @property
    def claim(self) -> str:
        return f"addresses/{self.network}/{self.address}"

    def come(self) -> Sequence[Write]:
        value = {
            "host": self.host,
            "id": hashlib.sha256(self.path.encode()).hexdigest(),
            "ipv4": f"{self.address}/16",
            "ipv6": None,
            "mac": self.mac,
            "names": [f"far-{self.number}"],
        }
        return Put(key=self.path, value=_encoded(value)), Put(key=self.claim, value=self.path.encode())

    def go(self) -> Sequence[Write]:
        return Delete(key=self.path), Delete(key=self.claim)


def join(store: KvStore, network: str) -> None:
    """Let the hosts be there, unwatched so that no sign of life is expected, and on the network."""
    names = [f"far{index}" for index in range(HOSTS)]
    _write(store, [Put(key=f"nodes/{name}/info", value=_info(index, name)) for index, name in enumerate(names, 1)])
    member = _encoded({"declaration": ""})
    _write(store, [Put(key=f"network/{network}/members/{name}", value=member) for name in names])


def publish(store: KvStore, endpoints: Iterable[FarEndpoint]) -> None:
    """Let endpoints come, in transactions as large as a watcher's."""
    _write(store, [write for endpoint in endpoints for write in endpoint.come()])


def _info(index: int, name: str) -> bytes:
    return _encoded({"address": f"192.0.2.{index}", "instance": name, "watched": False})


def _write(store: KvStore, writes: Sequence[Write]) -> None:
    for start in range(0, len(writes), TRANSACTION_KEYS_MAX):
        store.transact((), writes[start : start + TRANSACTION_KEYS_MAX])


def _encoded(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
