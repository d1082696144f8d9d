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
    call = operation.object
    assert isinstance(call, (PluginScope, PluginNetwork, PluginEndpoint, PluginPorts, PluginNode))
    caller = _Caller(plugins=world.plugins(), kv=world.kv, namespaces=world.namespaces)
    if operation.action is Action.DELETE:
        caller.delete(call)
    else:
        caller.create(call)


apply = one_by_one(_carry_out)


class _Caller(Struct, frozen=True, kw_only=True):
    plugins: Plugins
    kv: KvStore
    namespaces: Namespaces

    def create(self, call: PluginCall) -> None:
        """Tell of it. Raises what the plugin failed with; unless nobody can know, it has nothing of it then."""
        scope = self._scope(call)
        if isinstance(call, PluginScope):
            self._remember(call, scope=scope)
            return
        if isinstance(call, PluginEndpoint):
            call = replace(call, inode=self.namespaces.inode(call.ns))
        self._remember(replace(call, is_complete=False))
        answer = None
        try:
            match call:
                case PluginNetwork():
                    self._create_network(call, scope.data)
                case PluginEndpoint():
                    answer = self._create_endpoint(call)
                case PluginPorts():
                    self._publish(call)
                case PluginNode():
                    self._discover(call)
        except PluginUnavailable:
            raise
        except ReconcilerError:
            with suppress(PluginUnavailable):
                self.delete(replace(call, is_complete=False))
            raise
        self._remember(call, answer=answer)

    def delete(self, call: PluginCall) -> None:
        """Tell that it goes. As in the engine, a plugin that refuses, or has it no more, keeps nothing from going."""
        self._remember(replace(call, is_complete=False))
        for method, arguments in _farewell(call):
            try:
                self._send(call, method, arguments)
            except PluginUnavailable:
                raise
            except PluginError as error:
                if call.is_complete and not isinstance(error, NotImplementedByPlugin):
                    log.warning("%s goes all the same: %s", call.describe(), error)
        self.kv.delete(record_path(call))

    def _scope(self, call: PluginCall) -> Scope:
        found = self.plugins.capabilities(call.driver)
        return Scope(data=found.scope, connectivity=found.connectivity_scope or found.scope)

    def _remember(self, call: PluginCall, *, scope: Scope | None = None, answer: JoinAnswer | None = None) -> None:
        self.kv.put(record_path(call), record_value(call, scope=scope, answer=answer))

    def _send(self, call: PluginCall, method: str, arguments: Arguments) -> None:
        self.plugins.call(call.driver, Interface.NETWORK, method, arguments, PluginReply)

    def _discover(self, call: PluginNode) -> None:
        """Tell of a host. As in the engine, a plugin that does not want to know of it has been told."""
        try:
            self._send(call, "DiscoverNew", _node(call))
        except PluginRefused as error:
            if not isinstance(error, NotImplementedByPlugin):
                log.warning("%s: %s", call.describe(), error)

    def _create_network(self, call: PluginNetwork, scope: str) -> None:
        pools = {
            "IPv4Data": _pools(call.ipv4, call.address_space or _SPACES[scope]),
            "IPv6Data": _pools(call.ipv6, call.address_space or _SPACES[scope]),
        }
        options = json.loads(call.options)
        if self.plugins.capabilities(call.driver).is_gateway_checker:
            found = self.plugins.call(
                call.driver, Interface.NETWORK, "GwAllocCheck", {"Options": options}, GwAllocCheckReply
            )
            for family, is_skipped in (("IPv4Data", found.is_ipv4_skipped), ("IPv6Data", found.is_ipv6_skipped)):
                if is_skipped:
                    pools[family] = [{k: v for k, v in pool.items() if k != "Gateway"} for pool in pools[family]]
        self._send(call, "CreateNetwork", {"NetworkID": call.id, "Options": options, **pools})

    def _create_endpoint(self, call: PluginEndpoint) -> JoinAnswer:
        created = self._created(call)
        join = self._joined(call)
        name = join.interface_name
        return JoinAnswer(
            src_name=name.src_name or "",
            src_index=self._index(call, name.src_name) if name.src_name else 0,
            dst_prefix=name.dst_prefix or "",
            dst_name=name.dst_name or "",
            ipv4=created.ipv4,
            ipv6=created.ipv6,
            mac=created.mac or "",
            gateway_ipv4=join.gateway_ipv4,
            gateway_ipv6=join.gateway_ipv6,
            routes=tuple(_static_routes(join)),
            is_gateway_service_disabled=join.is_gateway_service_disabled,
            info=self._info(call),
        )

    def _created(self, call: PluginEndpoint) -> EndpointInterface:
        asked = json.loads(call.interface)
        arguments = {**_place(call), "Interface": asked, "Options": json.loads(call.options)}
        reply = self.plugins.call(call.driver, Interface.NETWORK, "CreateEndpoint", arguments, CreateEndpointReply)
        _check_unchanged(call, asked, reply.interface)
        return reply.interface

    def _joined(self, call: PluginEndpoint) -> JoinReply:
        path = str(self.namespaces.path(call.ns))
        arguments = {**_place(call), "SandboxKey": path, "Options": json.loads(call.join_options)}
        return self.plugins.call(call.driver, Interface.NETWORK, "Join", arguments, JoinReply)

    def _index(self, call: PluginEndpoint, src_name: str) -> int:
        """Find the link that Join named. Raises PluginError when it cannot be this endpoint's."""
        try:
            found = host_link(src_name, self.namespaces)
        except PluginError as error:
            raise PluginError(f"plugin {call.driver!r}: {error}") from None
        records = {entry.key: entry.value.decode(errors="replace") for entry in self.kv.list(PLUGIN_RECORDS)}
        facts, _ = decode_plugin_records(records)
        for place, answer in facts.answers.items():
            if place != (call.network, call.attachment) and (answer.src_name, answer.src_index) == (
                src_name,
                found.ifindex,
            ):
                whose = f"that of attachment {place[1]} on network {place[0]}"
                raise PluginError(f"plugin {call.driver!r}: Join names interface {src_name}, which is {whose}")
        return found.ifindex

    def _info(self, call: PluginEndpoint) -> tuple[tuple[str, str], ...]:
        """Ask what the plugin has to say of the endpoint, for inspect; nothing where it cannot say."""
        try:
            found = self.plugins.call(
                call.driver, Interface.NETWORK, "EndpointOperInfo", _place(call), OperInfoReply
            ).value
        except PluginError as error:
            if not isinstance(error, NotImplementedByPlugin):
                log.warning("%s: %s", call.describe(), error)
            return ()
        return tuple(sorted((key, _info_text(value)) for key, value in found.items()))

    def _publish(self, call: PluginPorts) -> None:
        """A plugin that does not know of ports has none to publish."""
        with suppress(NotImplementedByPlugin):
            arguments = {**_place(call), "Options": json.loads(call.options)}
            self._send(call, "ProgramExternalConnectivity", arguments)


def _farewell(call: PluginCall) -> Iterator[tuple[str, Arguments]]:
    match call:
        case PluginNetwork():
            yield "DeleteNetwork", {"NetworkID": call.id}
        case PluginEndpoint():
            yield "Leave", _place(call)
            yield "DeleteEndpoint", _place(call)
        case PluginPorts():
            yield "RevokeExternalConnectivity", _place(call)
        case PluginNode():
            yield "DiscoverDelete", _node(call)


def _place(call: PluginEndpoint | PluginPorts) -> dict[str, object]:
    endpoint = call.id if isinstance(call, PluginEndpoint) else call.endpoint_id
    return {"NetworkID": call.network_id, "EndpointID": endpoint}


def _node(call: PluginNode) -> Arguments:
    data = {"Address": call.address, "BindAddress": call.bind_address, "Self": call.is_self}
    return {"DiscoveryType": _NODE_DISCOVERY, "DiscoveryData": data}


def _pools(text: str, space: str) -> list[dict[str, object]]:
    return [{"AddressSpace": space, **pool} for pool in json.loads(text)]


def _static_routes(join: JoinReply) -> Iterator[StaticRoute]:
    for route in join.routes:
        assert route.destination is not None, "a route without one was refused"
        yield StaticRoute(route.destination, None if route.is_on_link else route.next_hop)


def _check_unchanged(call: PluginEndpoint, asked: Mapping[str, str], created: EndpointInterface) -> None:
    """A plugin may fill in what was left to it, and nothing else."""
    answers = {"Address": created.ipv4, "AddressIPv6": created.ipv6, "MacAddress": created.mac}
    for name, answer in answers.items():
        if asked[name] and answer is not None and str(answer) != asked[name]:
            raise PluginError(
                f"plugin {call.driver!r}: driver modified interface address: {name} {asked[name]} was asked for, not {answer}"
            )


def _info_text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value, sort_keys=True))[:_INFO_MAX]
