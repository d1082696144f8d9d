"""Ask plugins for their scope, tell them of networks, endpoints, ports and nodes, in the engine's order.

The order is that of docs/design/docker.md#plugins.

Each call stands between two records of our store: that it is being made, and what was answered. Whatever the first of them is
alone for is told to be deleted before it is told again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import PluginError, PluginRefused, PluginUnavailable, ReconcilerError
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.plugin_link import host_link
from reconciler.kinds.row import one_by_one
from reconciler.kinds.world import World
from reconciler.kv.protocol import KvStore
from reconciler.model.objects import PluginCall, PluginEndpoint, PluginNetwork, PluginNode, PluginPorts, PluginScope
from reconciler.model.plan import Action, Operation
from reconciler.model.plugins import PLUGIN_RECORDS, JoinAnswer, Scope, StaticRoute
from reconciler.plugin.client import Interface, NotImplementedByPlugin, Plugins
from reconciler.plugin.messages import (
    CreateEndpointReply,
    EndpointInterface,
    GwAllocCheckReply,
    JoinReply,
    OperInfoReply,
    PluginReply,
)
from reconciler.plugin.records import decode_plugin_records, record_path, record_value

log = logging.getLogger(__name__)

_NODE_DISCOVERY = 1
_SPACES = {"local": "LocalDefault", "global": "GlobalDefault"}
_INFO_MAX = 4096

Arguments = Mapping[str, object]


def _carry_out(operation: Operation, world: World) -> None:
    told = operation.object
    assert isinstance(told, (PluginScope, PluginNetwork, PluginEndpoint, PluginPorts, PluginNode))
    caller = _Caller(plugins=world.plugins(), kv=world.kv, namespaces=world.namespaces)
    if operation.action is Action.DELETE:
        caller.delete(told)
    else:
        caller.create(told)


apply = one_by_one(_carry_out)


class _Caller(Struct, frozen=True, kw_only=True):
    plugins: Plugins
    kv: KvStore
    namespaces: Namespaces

    def create(self, told: PluginCall) -> None:
        """Tell of it. Raises what the plugin failed with; unless nobody can know, it has nothing of it then."""
        scope = self._scope(told)
        if isinstance(told, PluginScope):
            self._remember(told, scope=scope)
            return
        if isinstance(told, PluginEndpoint):
            told = replace(told, inode=self.namespaces.inode(told.ns))
        self._remember(replace(told, is_complete=False))
        answer = None
        try:
            match told:
                case PluginNetwork():
                    self._create_network(told, scope.data)
                case PluginEndpoint():
                    answer = self._create_endpoint(told)
                case PluginPorts():
                    self._publish(told)
                case PluginNode():
                    self._discover(told)
        except PluginUnavailable:
            raise
        except ReconcilerError:
            with suppress(PluginUnavailable):
                self.delete(replace(told, is_complete=False))
            raise
        self._remember(told, answer=answer)

    def delete(self, told: PluginCall) -> None:
        """Tell that it goes. As in the engine, a plugin that refuses, or has it no more, keeps nothing from going."""
        self._remember(replace(told, is_complete=False))
        for method, arguments in _farewell(told):
            try:
                self._call(told, method, arguments)
            except PluginUnavailable:
                raise
            except PluginError as error:
                if told.is_complete and not isinstance(error, NotImplementedByPlugin):
                    log.warning("%s goes all the same: %s", told.describe(), error)
        self.kv.delete(record_path(told))

    def _scope(self, told: PluginCall) -> Scope:
        found = self.plugins.capabilities(told.driver)
        return Scope(data=found.scope, connectivity=found.connectivity_scope or found.scope)

    def _remember(self, told: PluginCall, *, scope: Scope | None = None, answer: JoinAnswer | None = None) -> None:
        self.kv.put(record_path(told), record_value(told, scope=scope, answer=answer))

    def _call(self, told: PluginCall, method: str, arguments: Arguments) -> None:
        self.plugins.call(told.driver, Interface.NETWORK, method, arguments, PluginReply)

    def _discover(self, told: PluginNode) -> None:
        """Tell of a host. As in the engine, a plugin that does not want to know of it has been told."""
        try:
            self._call(told, "DiscoverNew", _node(told))
        except PluginRefused as error:
            if not isinstance(error, NotImplementedByPlugin):
                log.warning("%s: %s", told.describe(), error)

    def _create_network(self, told: PluginNetwork, scope: str) -> None:
        pools = {
            "IPv4Data": _pools(told.ipv4, told.address_space or _SPACES[scope]),
            "IPv6Data": _pools(told.ipv6, told.address_space or _SPACES[scope]),
        }
        options = json.loads(told.options)
        if self.plugins.capabilities(told.driver).is_gateway_checker:
            found = self.plugins.call(
                told.driver, Interface.NETWORK, "GwAllocCheck", {"Options": options}, GwAllocCheckReply
            )
            for family, is_skipped in (("IPv4Data", found.is_ipv4_skipped), ("IPv6Data", found.is_ipv6_skipped)):
                if is_skipped:
                    pools[family] = [{k: v for k, v in pool.items() if k != "Gateway"} for pool in pools[family]]
        self._call(told, "CreateNetwork", {"NetworkID": told.id, "Options": options, **pools})

    def _create_endpoint(self, told: PluginEndpoint) -> JoinAnswer:
        created = self._created(told)
        join = self._joined(told)
        name = join.interface_name
        return JoinAnswer(
            src_name=name.src_name or "",
            src_index=self._index(told, name.src_name) if name.src_name else 0,
            dst_prefix=name.dst_prefix or "",
            dst_name=name.dst_name or "",
            ipv4=created.ipv4,
            ipv6=created.ipv6,
            mac=created.mac or "",
            gateway_ipv4=join.gateway_ipv4,
            gateway_ipv6=join.gateway_ipv6,
            routes=tuple(_static_routes(join)),
            is_gateway_service_disabled=join.is_gateway_service_disabled,
            info=self._info(told),
        )

    def _created(self, told: PluginEndpoint) -> EndpointInterface:
        asked = json.loads(told.interface)
        arguments = {**_place(told), "Interface": asked, "Options": json.loads(told.options)}
        reply = self.plugins.call(told.driver, Interface.NETWORK, "CreateEndpoint", arguments, CreateEndpointReply)
        _check_unchanged(told, asked, reply.interface)
        return reply.interface

    def _joined(self, told: PluginEndpoint) -> JoinReply:
        path = str(self.namespaces.path(told.ns))
        arguments = {**_place(told), "SandboxKey": path, "Options": json.loads(told.join_options)}
        return self.plugins.call(told.driver, Interface.NETWORK, "Join", arguments, JoinReply)

    def _index(self, told: PluginEndpoint, src_name: str) -> int:
        """Find the link that Join named. Raises PluginError when it cannot be this endpoint's."""
        try:
            found = host_link(src_name, self.namespaces)
        except PluginError as error:
            raise PluginError(f"plugin {told.driver!r}: {error}") from None
        records = {entry.key: entry.value.decode(errors="replace") for entry in self.kv.list(PLUGIN_RECORDS)}
        facts, _ = decode_plugin_records(records)
        for place, answer in facts.answers.items():
            if place != (told.network, told.attachment) and (answer.src_name, answer.src_index) == (
                src_name,
                found.ifindex,
            ):
                whose = f"that of attachment {place[1]} on network {place[0]}"
                raise PluginError(f"plugin {told.driver!r}: Join names interface {src_name}, which is {whose}")
        return found.ifindex

    def _info(self, told: PluginEndpoint) -> tuple[tuple[str, str], ...]:
        """Ask what the plugin has to say of the endpoint, for inspect; nothing where it cannot say."""
        try:
            found = self.plugins.call(
                told.driver, Interface.NETWORK, "EndpointOperInfo", _place(told), OperInfoReply
            ).value
        except PluginError as error:
            if not isinstance(error, NotImplementedByPlugin):
                log.warning("%s: %s", told.describe(), error)
            return ()
        return tuple(sorted((key, _info_text(value)) for key, value in found.items()))

    def _publish(self, told: PluginPorts) -> None:
        """A plugin that does not know of ports has none to publish."""
        with suppress(NotImplementedByPlugin):
            arguments = {**_place(told), "Options": json.loads(told.options)}
            self._call(told, "ProgramExternalConnectivity", arguments)


def _farewell(told: PluginCall) -> Iterator[tuple[str, Arguments]]:
    match told:
        case PluginNetwork():
            yield "DeleteNetwork", {"NetworkID": told.id}
        case PluginEndpoint():
            yield "Leave", _place(told)
            yield "DeleteEndpoint", _place(told)
        case PluginPorts():
            yield "RevokeExternalConnectivity", _place(told)
        case PluginNode():
            yield "DiscoverDelete", _node(told)


def _place(told: PluginEndpoint | PluginPorts) -> dict[str, object]:
    endpoint = told.id if isinstance(told, PluginEndpoint) else told.endpoint_id
    return {"NetworkID": told.network_id, "EndpointID": endpoint}


def _node(told: PluginNode) -> Arguments:
    data = {"Address": told.address, "BindAddress": told.bind_address, "Self": told.is_self}
    return {"DiscoveryType": _NODE_DISCOVERY, "DiscoveryData": data}


def _pools(text: str, space: str) -> list[dict[str, object]]:
    return [{"AddressSpace": space, **pool} for pool in json.loads(text)]


def _static_routes(join: JoinReply) -> Iterator[StaticRoute]:
    for route in join.routes:
        assert route.destination is not None, "a route without one was refused"
        yield StaticRoute(route.destination, None if route.is_on_link else route.next_hop)


def _check_unchanged(told: PluginEndpoint, asked: Mapping[str, str], created: EndpointInterface) -> None:
    """A plugin may fill in what was left to it, and nothing else."""
    answers = {"Address": created.ipv4, "AddressIPv6": created.ipv6, "MacAddress": created.mac}
    for name, answer in answers.items():
        if asked[name] and answer is not None and str(answer) != asked[name]:
            raise PluginError(
                f"plugin {told.driver!r}: driver modified interface address: {name} {asked[name]} was asked for, not {answer}"
            )


def _info_text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value, sort_keys=True))[:_INFO_MAX]
