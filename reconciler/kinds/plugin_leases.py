"""Ask IPAM plugins for pools and addresses and give them back, in the order of the engine (docs/design/docker.md#plugins).

As with networks, a record stands before and after each call. What was given before we were killed is in the first one as soon as it
is known; of a pool asked for at that very moment only the plugin knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import PluginError, PluginUnavailable, ReconcilerError
from reconciler.kinds.row import one_by_one
from reconciler.kinds.world import World
from reconciler.kv.protocol import KvStore
from reconciler.model.objects import IPAddress, IPInterface, PluginAddress, PluginLease, PluginPool
from reconciler.model.plan import Action, Operation
from reconciler.model.plugins import PoolLease
from reconciler.plugin.client import Interface, Plugins
from reconciler.plugin.messages import AddressSpacesReply, PluginReply, RequestAddressReply, RequestPoolReply
from reconciler.plugin.records import decode_plugin_records, record_path, record_value

_GATEWAY: Final = "com.docker.network.gateway"
_MAC: Final = "com.docker.network.endpoint.macaddress"
_REQUEST_TYPE: Final = "RequestAddressType"


def _carry_out(operation: Operation, world: World) -> None:
    """An update asks a plugin that was started anew again for what it gave before."""
    asked = operation.object
    assert isinstance(asked, (PluginPool, PluginAddress))
    clerk = _Clerk(plugins=world.plugins(), kv=world.kv)
    match operation.action:
        case Action.CREATE:
            clerk.take(asked)
        case Action.UPDATE:
            clerk.take_again(asked)
        case Action.DELETE:
            clerk.give_back(asked)


apply = one_by_one(_carry_out)


class _Clerk(Struct, frozen=True, kw_only=True):
    plugins: Plugins
    kv: KvStore

    def take(self, asked: PluginLease) -> None:
        needs_replay = self.plugins.ipam_capabilities(asked.driver).needs_replay
        asked = replace(asked, incarnation=self.plugins.incarnation(asked.driver) if needs_replay else "")
        self._remember(replace(asked, is_complete=False))
        try:
            if isinstance(asked, PluginPool):
                self._remember(asked, lease=self._pool(asked))
            else:
                self._remember(asked, address=self._address(asked))
        except PluginUnavailable:
            raise
        except ReconcilerError:
            with suppress(PluginUnavailable):
                self.give_back(asked)
            raise

    def take_again(self, asked: PluginLease) -> None:
        """Ask for just what was given. Raises PluginError when it is not given again; what runs on it is left running."""
        lease, address = self._given(asked)
        if isinstance(asked, PluginPool) and lease is not None:
            aux = json.dumps({name: str(each) for name, each in lease.aux})
            again = replace(asked, pool=str(lease.pool), gateway=str(lease.gateway or ""), aux=aux)
            found = self._requested_pool(again)
            if found.pool_id != lease.pool_id:
                raise PluginError(
                    f"plugin {asked.driver!r}: RequestPool gives pool {lease.pool} under another id than before"
                )
            self._with_addresses(again, lease)
            self._remember(asked, lease=lease)
        elif isinstance(asked, PluginAddress) and address is not None:
            self._address(replace(asked, address=str(address.ip)))
            self._remember(asked, address=address)

    def give_back(self, asked: PluginLease) -> None:
        """Release what is known to have been given. A plugin that refuses keeps nothing from going."""
        lease, address = self._given(asked)
        self._remember(replace(asked, is_complete=False), lease=lease, address=address)
        if lease is not None:
            addresses = [lease.gateway, *(each for _, each in lease.aux)]
            for each in filter(None, addresses):
                self._release(asked, "ReleaseAddress", {"PoolID": lease.pool_id, "Address": str(each)})
            self._release(asked, "ReleasePool", {"PoolID": lease.pool_id})
        if isinstance(asked, PluginAddress):
            known = str(address.ip) if address is not None else asked.address
            if known:
                self._release(asked, "ReleaseAddress", {"PoolID": asked.pool_id, "Address": known})
        self.kv.delete(record_path(asked))

    def _given(self, asked: PluginLease) -> tuple[PoolLease | None, IPInterface | None]:
        entry = self.kv.get(record_path(asked))
        records = {entry.key: entry.value.decode(errors="replace")} if entry is not None else {}
        facts, _ = decode_plugin_records(records)
        return facts.pools.get(asked.key), facts.addresses.get(asked.key)

    def _remember(
        self, asked: PluginLease, *, lease: PoolLease | None = None, address: IPInterface | None = None
    ) -> None:
        self.kv.put(record_path(asked), record_value(asked, lease=lease, address=address))

    def _release(self, asked: PluginLease, method: str, arguments: Mapping[str, object]) -> None:
        try:
            self.plugins.call(asked.driver, Interface.IPAM, method, arguments, PluginReply)
        except PluginUnavailable:
            raise
        except PluginError:
            return

    def _pool(self, asked: PluginPool) -> PoolLease:
        lease = self._requested_pool(asked)
        self._remember(replace(asked, is_complete=False), lease=lease)
        return self._with_addresses(asked, lease)

    def _requested_pool(self, asked: PluginPool) -> PoolLease:
        spaces = self.plugins.call(asked.driver, Interface.IPAM, "GetDefaultAddressSpaces", None, AddressSpacesReply)
        is_global = bool(asked.scope_driver) and self.plugins.scope(asked.scope_driver) == "global"
        arguments = {
            "AddressSpace": spaces.global_ if is_global else spaces.local,
            "Pool": asked.pool,
            "SubPool": asked.sub_pool,
            "Options": json.loads(asked.options),
            "V6": asked.version == 6,
        }
        found = self.plugins.call(asked.driver, Interface.IPAM, "RequestPool", arguments, RequestPoolReply)
        capabilities = self.plugins.ipam_capabilities(asked.driver)
        lease = PoolLease(
            pool_id=found.pool_id,
            pool=found.pool,
            gateway=_gateway(asked, found),
            needs_mac=capabilities.needs_mac,
            needs_replay=capabilities.needs_replay,
        )
        if found.pool.version != asked.version or (asked.pool and str(found.pool) != asked.pool):
            self._remember(replace(asked, is_complete=False), lease=lease)
            wanted = asked.pool or f"an IPv{asked.version} pool"
            raise PluginError(f"plugin {asked.driver!r}: RequestPool was asked for {wanted} and gave {found.pool}")
        return lease

    def _with_addresses(self, asked: PluginPool, lease: PoolLease) -> PoolLease:
        """Ask for the gateway, unless it came with the pool and nobody declared another one, and for auxiliary addresses."""
        if asked.gateway or lease.gateway is None:
            options = {_REQUEST_TYPE: _GATEWAY}
            found = self._requested(asked, lease.pool_id, asked.gateway, options)
            lease = replace(lease, gateway=_inside(asked, lease, found.ip) if found is not None else None)
            self._remember(replace(asked, is_complete=False), lease=lease)
        for name, text in json.loads(asked.aux).items():
            self._requested(asked, lease.pool_id, text, None)
            lease = replace(lease, aux=(*(each for each in lease.aux if each[0] != name), (name, ip_address(text))))
            self._remember(replace(asked, is_complete=False), lease=lease)
        return lease

    def _address(self, asked: PluginAddress) -> IPInterface:
        options = {_MAC: asked.mac} if asked.mac else None
        found = self._requested(asked, asked.pool_id, asked.address, options)
        if found is None or found.version != asked.version:
            raise PluginError(f"plugin {asked.driver!r}: RequestAddress gave no IPv{asked.version} address")
        return found

    def _requested(
        self, asked: PluginLease, pool_id: str, address: str, options: Mapping[str, str] | None
    ) -> IPInterface | None:
        arguments = {"PoolID": pool_id, "Address": address, "Options": options}
        reply = self.plugins.call(asked.driver, Interface.IPAM, "RequestAddress", arguments, RequestAddressReply)
        if address and reply.address is not None and str(reply.address.ip) != address:
            raise PluginError(
                f"plugin {asked.driver!r}: RequestAddress was asked for {address} and gave {reply.address.ip}"
            )
        return reply.address


def _gateway(asked: PluginPool, found: RequestPoolReply) -> IPAddress | None:
    """Return the gateway that came along with a pool. Raises PluginError for one that is none."""
    text = found.data.get(_GATEWAY)
    if text is None:
        return None
    try:
        gateway = ip_interface(text).ip if isinstance(text, str) and "%" not in text else None
    except ValueError:
        gateway = None
    if gateway is None or gateway not in found.pool:
        raise PluginError(f"plugin {asked.driver!r}: RequestPool gave a gateway that is no address of {found.pool}")
    return gateway


def _inside(asked: PluginPool, lease: PoolLease, address: IPAddress) -> IPAddress:
    if address not in lease.pool:
        raise PluginError(
            f"plugin {asked.driver!r}: RequestAddress gave gateway {address}, which is not in {lease.pool}"
        )
    return address
