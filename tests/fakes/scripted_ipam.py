"""An IPAM plugin that keeps books, as a ScriptedPlugin's answers: what it gave already it does not give again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from tests.fakes.scripted_plugin import Answer

GATEWAY = "com.docker.network.gateway"
POOLS = {False: "10.90.0.0/24", True: "fd00:90::/64"}


@dataclass(slots=True, kw_only=True)
class ScriptedIpam:
    """pools: by id. taken: addresses by the id of their pool."""

    needs_mac: bool = False
    needs_replay: bool = False
    pools: dict[str, str] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)

    def answers(self) -> dict[str, Answer]:
        return {
            "Plugin.Activate": {"Implements": ["NetworkDriver", "IpamDriver"]},
            "IpamDriver.GetCapabilities": {
                "RequiresMACAddress": self.needs_mac,
                "RequiresRequestReplay": self.needs_replay,
            },
            "IpamDriver.GetDefaultAddressSpaces": {
                "LocalDefaultAddressSpace": "here",
                "GlobalDefaultAddressSpace": "everywhere",
            },
            "IpamDriver.RequestPool": self.request_pool,
            "IpamDriver.ReleasePool": self.release_pool,
            "IpamDriver.RequestAddress": self.request_address,
            "IpamDriver.ReleaseAddress": self.release_address,
        }

    def forget(self) -> None:
        self.pools.clear()
        self.taken.clear()

    def request_pool(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        pool = asked["Pool"] or POOLS[asked["V6"]]
        id_ = f"{asked['AddressSpace']}/{pool}"
        if id_ in self.pools:
            return {"Error": f"{pool} is taken"}
        self.pools[id_], self.taken[id_] = pool, set()
        return {"PoolID": id_, "Pool": pool, "Data": {}}

    def release_pool(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.taken.get(asked["PoolID"]):
            return {"Error": "addresses are in use"}
        return {} if self.pools.pop(asked["PoolID"], None) else {"Error": "unknown pool"}

    def request_address(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if asked["PoolID"] not in self.pools:
            return {"Error": "unknown pool"}
        pool, taken = ip_network(self.pools[asked["PoolID"]]), self.taken[asked["PoolID"]]
        is_gateway = (asked["Options"] or {}).get("RequestAddressType") == GATEWAY
        first = 254 if is_gateway else 100
        address = asked["Address"] or next(
            str(pool[number]) for number in range(first, 255) if str(pool[number]) not in taken
        )
        if address in taken or ip_address(address) not in pool:
            return {"Error": f"{address} is taken"}
        taken.add(address)
        return {"Address": f"{address}/{pool.prefixlen}"}

    def release_address(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if asked["Address"] not in self.taken.get(asked["PoolID"], ()):
            return {"Error": "not taken"}
        self.taken[asked["PoolID"]].discard(asked["Address"])
        return {}
