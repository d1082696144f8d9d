"""Every call to a network plugin as it goes over the wire, over Unix sockets, TCP and TLS, and what is made of the answers."""

from __future__ import annotations

import json
import ssl
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.drivers import remote
from reconciler.drivers.remote_told import connecting_plugins, plugin_network, plugin_nodes, plugin_scopes, with_plugins
from reconciler.errors import PluginError, ReconcilerError
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.plugin_calls import apply
from reconciler.kv.protocol import KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredState, DesiredSubnet
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import (
    PluginCall,
    PluginEndpoint,
    PluginNetwork,
    PluginNode,
    PluginPorts,
    PluginScope,
    Route,
)
from reconciler.model.observed import SandboxFact
from reconciler.model.plan import Action, Operation
from reconciler.model.plugins import Node, PluginFacts, Scope
from reconciler.model.wanted import (
    AttachmentWanted,
    EndpointWanted,
    NetworkWanted,
    PortWanted,
    SandboxKind,
    SandboxRef,
    WantedState,
)
from reconciler.plugin.client import Plugins
from reconciler.plugin.records import decode_plugin_records
from tests.fakes.desired import host_facts
from tests.fakes.drivers import compiler_of
from tests.fakes.scripted_plugin import Answer, ScriptedPlugin, http
from tests.fakes.world import world
from tests.kv_servers.servers import make_tls

compile_network = compiler_of(remote)

NETWORK_ID = "b67afdf9a2d1637bb98f59a5d0d4b7e2efe9c06ccd3ec8bb1d25f0a5e9a5a7b1"
ENDPOINT_ID = "2688ccdb101bb5f3b199880041162ae3ec1b299053d703e07d61330292c380d3"
NS = NsRef("path:/proc/self/ns/net")
RECORDED = Path(__file__).parent / "plugin_conversation.txt"
SCOPED = "NetworkDriver.GetCapabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    method: str
    body: str
    answer: str


def recorded() -> list[Exchange]:
    lines = [line for line in RECORDED.read_text().splitlines() if line and not line.startswith("#")]
    return [
        Exchange(method=head.removeprefix("> POST /"), body=body[1:].strip(), answer=answer[1:].strip())
        for head, body, answer in zip(lines[::3], lines[1::3], lines[2::3], strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Our side: carries out operations, remembers in a store of its own."""

    plugins: Plugins
    kv: KvStore
    namespaces: Namespaces

    def do(self, action: Action, told: PluginCall) -> ReconcilerError | None:
        before, after = (told, None) if action is Action.DELETE else (None, told)
        operation = Operation(action=action, before=before, after=after, unit=told.unit)
        (outcome,) = apply([operation], world(plugins=lambda: self.plugins, kv=self.kv, namespaces=self.namespaces))
        return outcome.error

    def create(self, told: PluginCall) -> None:
        assert self.do(Action.CREATE, told) is None

    def delete(self, told: PluginCall) -> None:
        assert self.do(Action.DELETE, told) is None

    def facts(self) -> PluginFacts:
        records = {entry.key: entry.value.decode() for entry in self.kv.list("")}
        facts, faults = decode_plugin_records(records)
        assert faults == ()
        return facts


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def caller(root: Path) -> Iterator[Caller]:
    kv = open_sqlite(root / "state.db")
    with Namespaces(root, "0123456789abcdef") as namespaces:
        yield Caller(plugins=Plugins(root=root), kv=kv, namespaces=namespaces)
    kv.close()


@pytest.fixture
def plugin(root: Path) -> Iterator[ScriptedPlugin]:
    with ScriptedPlugin().serving(root / "run/docker/plugins/ciao.sock") as made:
        yield made


def network(**fields: Any) -> DesiredNetwork:
    wanted = NetworkWanted(
        name="fabric",
        driver="ciao",
        options=(("bridge", "br1"), ("mtu", "1400")),
        is_ipv6_enabled=True,
    )
    return DesiredNetwork(
        wanted=replace(wanted, **fields),
        id=NETWORK_ID,
        created="",
        subnets=(
            DesiredSubnet(
                subnet=ip_network("192.168.111.0/24"),
                gateway=ip_address("192.168.111.1"),
                default_gateway=None,
                aux_addresses=(("router", ip_address("192.168.111.9")),),
            ),
            DesiredSubnet(subnet=ip_network("fd00:111::/64"), gateway=ip_address("fd00:111::1"), default_gateway=None),
        ),
    )


def desired(on: DesiredNetwork, facts: PluginFacts, inode: int) -> DesiredState:
    wanted = AttachmentWanted(
        name="web",
        sandbox=SandboxRef(SandboxKind.PATH, "/proc/self/ns/net"),
        ports=(PortWanted(target=(80, 80), published=(8000, 8010), host_ip=ip_address("127.0.0.1")),),
        expose=((53, 53, "udp"),),
        dns=(ip_address("192.0.2.53"),),
    )
    interfaces = ip_interface("192.168.111.2/24"), ip_interface("fd00:111::2/64")
    endpoint = DesiredEndpoint(
        wanted=EndpointWanted(network="fabric", mac_address="ca:fe:00:00:10:02", options=(("vlan", "7"),)),
        attachment="web",
        id=ENDPOINT_ID,
        ns=NS,
        ifname="eth0",
        ipv4=interfaces[0],  # type: ignore[arg-type]
        ipv6=interfaces[1],  # type: ignore[arg-type]
        gateway_ipv4=ip_address("192.168.111.1"),  # type: ignore[arg-type]
        is_default_ipv4=True,
    )
    attachment = DesiredAttachment(wanted=wanted, id="", ns=NS, endpoints=(endpoint,))
    state = DesiredState(host=host_facts(), networks=(on,), attachments=(attachment,))
    return with_plugins(state, facts, {NS: SandboxFact(inode=inode)})


def objects(caller: Caller, on: DesiredNetwork) -> list[Any]:
    state = desired(on, caller.facts(), caller.namespaces.inode(NS))
    return list(compile_network(state.networks[0], state.attachments[0].endpoints, state.host))


def test_conversation_is_the_recorded_one(caller: Caller, plugin: ScriptedPlugin) -> None:
    expected = recorded()
    plugin.answers = {exchange.method: json.loads(exchange.answer) for exchange in expected}

    told, endpoint = objects(caller, network())
    caller.create(told)
    caller.create(endpoint)
    _, endpoint, ports = objects(caller, network())
    caller.create(ports)
    (node,) = plugin_nodes(["ciao"], [Node(address="192.0.2.7", is_self=False)], PluginFacts(), {})
    caller.create(node)
    caller.delete(node)
    for each in (ports, endpoint, told):
        caller.delete(each)

    sent = [(method, body.decode()) for (method, _), (_, body) in zip(plugin.calls, plugin.requests, strict=True)]
    assert sent == [(exchange.method, exchange.body) for exchange in expected]
    assert caller.facts().calls == ()


def test_answers_become_facts(caller: Caller, plugin: ScriptedPlugin) -> None:
    plugin.answers = {exchange.method: json.loads(exchange.answer) for exchange in recorded()}
    told, endpoint = objects(caller, network())
    caller.create(told)
    caller.create(endpoint)

    facts = caller.facts()

    assert facts.calls == (replace(endpoint, inode=caller.namespaces.inode(NS)), told)
    answer = facts.answers["fabric", "web"]
    assert str(answer.gateway_ipv4) == "192.168.111.1"
    assert [(str(route.destination), str(route.next_hop)) for route in answer.routes] == [
        ("10.0.0.0/8", "192.168.111.9")
    ]
    assert answer.is_gateway_service_disabled
    assert answer.info == (("port", "p1"), ("vlan", "7"))


def test_every_request_asks_in_the_engines_way(caller: Caller, plugin: ScriptedPlugin) -> None:
    caller.create(plugin_network(network()))

    for head, body in plugin.requests:
        lines = head.split(b"\r\n")
        assert lines[0].startswith(b"POST /")
        assert lines[0].endswith(b" HTTP/1.1")
        assert b"Accept: application/vnd.docker.plugins.v1.2+json" in lines
        assert f"Content-Length: {len(body)}".encode() in lines
        assert not any(line.lower().startswith(b"content-type") for line in lines)


@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "stranger"])
def test_plugin_is_reached_by_tls_with_certificates_on_both_sides(
    is_trusted: bool, caller: Caller, root: Path, tmp_path: Path
) -> None:
    made = make_tls(tmp_path)
    stranger = make_tls(tmp_path / "stranger") if not is_trusted else made
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca))
    server.load_cert_chain(str(made.certificate), str(made.key))
    server.verify_mode = ssl.CERT_REQUIRED
    plugin = ScriptedPlugin()
    with plugin.serving_tcp(server) as port:
        spec = root / "etc/docker/plugins/ciao.json"
        spec.parent.mkdir(parents=True)
        files = {"CAFile": stranger.ca, "CertFile": made.client_certificate, "KeyFile": made.client_key}
        tls = {"InsecureSkipVerify": False, **{name: str(path) for name, path in files.items()}}
        spec.write_text(json.dumps({"Name": "ciao", "Addr": f"tcp://127.0.0.1:{port}", "TLSConfig": tls}))

        error = caller.do(Action.CREATE, plugin_network(network()))

    if is_trusted:
        assert error is None
        assert plugin.called()[-1] == "NetworkDriver.CreateNetwork"
    else:
        assert isinstance(error, PluginError)
        assert "certificate verify failed" in str(error)
        assert plugin.called() == []


def test_plugin_is_reached_by_plain_tcp(caller: Caller, root: Path) -> None:
    plugin = ScriptedPlugin()
    with plugin.serving_tcp() as port:
        spec = root / "usr/lib/docker/plugins/ciao/ciao.spec"
        spec.parent.mkdir(parents=True)
        spec.write_text(f"tcp://127.0.0.1:{port}\n")
        caller.create(plugin_network(network()))

    assert plugin.called()[-1] == "NetworkDriver.CreateNetwork"


@pytest.mark.parametrize(
    ("answer", "gateways"),
    [
        ({"SkipIPv4": True}, [None, "fd00:111::1/64"]),
        ({"SkipIPv6": True}, ["192.168.111.1/24", None]),
        ({}, ["192.168.111.1/24", "fd00:111::1/64"]),
    ],
)
def test_plugin_that_checks_gateways_may_do_without(
    answer: Answer, gateways: list[str | None], caller: Caller, plugin: ScriptedPlugin
) -> None:
    plugin.answers |= {SCOPED: {"Scope": "local", "GwAllocChecker": True}, "NetworkDriver.GwAllocCheck": answer}

    caller.create(plugin_network(network()))

    (_, asked), (_, told) = plugin.calls[-2:]
    assert asked == {"Options": told["Options"]}
    assert [pool.get("Gateway") for pool in (*told["IPv4Data"], *told["IPv6Data"])] == gateways


def test_gateway_check_that_was_promised_must_work(caller: Caller, plugin: ScriptedPlugin) -> None:
    plugin.answers[SCOPED] = {"Scope": "local", "GwAllocChecker": True}

    assert "GwAllocCheck answered 404" in str(caller.do(Action.CREATE, plugin_network(network())))
    assert "NetworkDriver.CreateNetwork" not in plugin.called()
    assert caller.facts().calls == ()


@pytest.mark.parametrize(("scope", "space"), [("local", "LocalDefault"), ("global", "GlobalDefault")])
def test_address_space_is_that_of_the_scope(scope: str, space: str, caller: Caller, plugin: ScriptedPlugin) -> None:
    plugin.answers[SCOPED] = {"Scope": scope}

    caller.create(plugin_network(network(is_internal=True)))

    told = plugin.calls[-1][1]
    assert {pool["AddressSpace"] for pool in (*told["IPv4Data"], *told["IPv6Data"])} == {space}
    assert told["Options"]["com.docker.network.internal"] is True


@pytest.mark.parametrize(
    ("failing", "ended"),
    [("CreateEndpoint", ["CreateEndpoint"]), ("Join", ["CreateEndpoint", "Join"])],
)
def test_endpoint_that_is_refused_is_taken_back(
    failing: str, ended: list[str], caller: Caller, plugin: ScriptedPlugin
) -> None:
    plugin.answers[f"NetworkDriver.{failing}"] = {"Err": "no room"}
    told, endpoint = objects(caller, network())
    caller.create(told)
    first = len(plugin.calls)

    error = caller.do(Action.CREATE, endpoint)

    assert str(error) == f"plugin 'ciao': NetworkDriver.{failing}: no room"
    assert plugin.called()[first:] == [f"NetworkDriver.{method}" for method in (*ended, "Leave", "DeleteEndpoint")]
    assert caller.facts().calls == (told,)


@pytest.mark.parametrize("method", ["ProgramExternalConnectivity", "RevokeExternalConnectivity"])
def test_plugin_without_a_notion_of_ports_is_fine(method: str, caller: Caller, plugin: ScriptedPlugin) -> None:
    told, endpoint = objects(caller, network())
    caller.create(told)
    caller.create(endpoint)
    ports = next(found for found in objects(caller, network()) if isinstance(found, PluginPorts))

    caller.create(ports)
    caller.delete(ports)

    assert f"NetworkDriver.{method}" in plugin.called()
    assert ports not in caller.facts().calls


def test_endpoint_of_another_sandbox_is_to_be_joined_anew(caller: Caller, plugin: ScriptedPlugin) -> None:
    told, endpoint = objects(caller, network())
    caller.create(told)
    caller.create(endpoint)

    state = desired(network(), caller.facts(), inode=7)

    (found,) = state.attachments[0].endpoints
    assert found.answer is None
    assert isinstance(found.told, PluginEndpoint)
    assert found.told != next(each for each in caller.facts().calls if isinstance(each, PluginEndpoint))


def test_objects_without_an_answer_name_no_link_or_route(caller: Caller) -> None:
    found = objects(caller, network())

    assert [type(each) for each in found] == [PluginNetwork, PluginEndpoint]


def test_plugin_that_makes_no_link_has_its_own_way_into_the_sandbox(caller: Caller, plugin: ScriptedPlugin) -> None:
    told, endpoint = objects(caller, network())
    caller.create(told)
    caller.create(endpoint)

    assert not any(isinstance(each, Route) for each in objects(caller, network()))


SCOPE = PluginScope(network="fabric", driver="ciao")
NODE = PluginNode(driver="ciao", address="192.0.2.7", bind_address="", is_self=False)


@pytest.mark.parametrize(
    ("answer", "scope"),
    [
        ({"Scope": "global"}, Scope(data="global", connectivity="global")),
        ({"Scope": "local", "ConnectivityScope": "global"}, Scope(data="local", connectivity="global")),
    ],
    ids=["one for both", "each"],
)
def test_scope_is_asked_once_and_remembered(
    answer: Answer, scope: Scope, caller: Caller, plugin: ScriptedPlugin
) -> None:
    plugin.answers[SCOPED] = answer

    caller.create(SCOPE)

    assert caller.facts().scopes == {("fabric", "ciao"): scope}
    assert plugin.called() == ["Plugin.Activate", SCOPED]
    caller.delete(SCOPE)
    assert caller.facts() == PluginFacts()
    assert plugin.called() == ["Plugin.Activate", SCOPED]


@pytest.mark.parametrize("scope", ["swarm", ""])
def test_scope_that_is_none_is_refused(scope: str, caller: Caller, plugin: ScriptedPlugin) -> None:
    plugin.answers[SCOPED] = {"Scope": scope}

    assert "expecting 'local' or 'global'" in str(caller.do(Action.CREATE, SCOPE))
    assert caller.facts() == PluginFacts()


@pytest.mark.parametrize(
    "answer", [{"Err": "discovery not supported"}, http(404, b""), {}], ids=["refused", "not implemented", "taken"]
)
def test_plugin_that_does_not_want_to_know_of_a_host_has_been_told(
    answer: Answer, caller: Caller, plugin: ScriptedPlugin
) -> None:
    plugin.answers["NetworkDriver.DiscoverNew"] = answer

    caller.create(NODE)

    assert caller.facts().calls == (NODE,)


def test_every_plugin_whose_networks_reach_over_hosts_is_told_of_them() -> None:
    networks = (replace(network().wanted, name=name) for name in ("fabric", "own", "fresh"))
    listed = replace(network().wanted, name="elsewhere", driver="other", is_listed=True)
    wanted = WantedState(
        networks=(
            *networks,
            listed,
            NetworkWanted(
                name="lan",
            ),
        ),
        attachments=(),
    )
    far, near = Scope(data="local", connectivity="global"), Scope(data="local", connectivity="local")

    assert [told.network for told in plugin_scopes(wanted)] == ["fabric", "own", "fresh"]
    assert connecting_plugins(wanted, PluginFacts(scopes={("fabric", "ciao"): far, ("own", "ciao"): near})) == {"ciao"}
    assert connecting_plugins(wanted, PluginFacts(scopes={("own", "ciao"): near, ("elsewhere", "other"): far})) == set()
    assert connecting_plugins(wanted, PluginFacts(scopes={("fabric", "before"): far})) == set()


def test_hosts_are_told_again_to_a_plugin_that_was_started_anew_only() -> None:
    nodes = [Node(address="192.0.2.7", is_self=False), Node(address="192.0.2.8", is_self=True, bind_address="10.0.0.8")]
    told = (replace(NODE, incarnation="1"), replace(NODE, driver="other"))

    def asked(incarnation: str, of: list[Node] | None = nodes) -> list[PluginNode]:
        return list(plugin_nodes(["ciao"], of, PluginFacts(calls=told), {"ciao": incarnation}))

    self = PluginNode(driver="ciao", address="192.0.2.8", bind_address="10.0.0.8", is_self=True)
    assert asked("1") == [replace(NODE, incarnation="1"), replace(self, incarnation="1")]
    assert asked("2") == [replace(NODE, incarnation="2"), replace(self, incarnation="2")]
    assert asked("") == [replace(NODE, incarnation="1"), self]
    assert asked("1", None) == [replace(NODE, incarnation="1")]
    assert asked("1", []) == []
