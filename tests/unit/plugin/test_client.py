"""Calls to a plugin that answers well, badly, or not at all."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.errors import PluginError, PluginMissing, PluginRefused, PluginUnavailable
from reconciler.plugin.client import REPLY_BYTES_MAX, Interface, NotImplementedByPlugin, Plugins
from reconciler.plugin.messages import CreateEndpointReply, JoinReply, RequestPoolReply
from tests.fakes.clock import Clock
from tests.fakes.scripted_plugin import Answer, ScriptedPlugin, drip, flood, hang, http, raw

NETWORK = Interface.NETWORK
JOIN = "NetworkDriver.Join"


@pytest.fixture
def root() -> Iterator[Path]:
    """A short path: the name of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def plugin(root: Path) -> Iterator[ScriptedPlugin]:
    with ScriptedPlugin().serving(root / "run/docker/plugins/net.sock") as made:
        yield made


def join(plugins: Plugins) -> JoinReply:
    return plugins.call("net", NETWORK, "Join", {"NetworkID": "n"}, JoinReply)


def test_plugin_is_introduced_once_and_asked_in_the_engines_form(root: Path, plugin: ScriptedPlugin) -> None:
    plugins = Plugins(root=root)

    assert plugins.scope("net") == "local"
    join(plugins)
    join(plugins)

    assert plugin.called() == ["Plugin.Activate", "NetworkDriver.GetCapabilities", JOIN, JOIN]
    assert plugin.requests[0] == (
        (
            b"POST /Plugin.Activate HTTP/1.1\r\nHost: plugin.localhost\r\n"
            b"Accept: application/vnd.docker.plugins.v1.2+json\r\nContent-Length: 0\r\nConnection: close"
        ),
        b"",
    )
    assert plugin.requests[2] == (
        (
            b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: plugin.localhost\r\n"
            b"Accept: application/vnd.docker.plugins.v1.2+json\r\nContent-Length: 17\r\nConnection: close"
        ),
        b'{"NetworkID":"n"}',
    )


def test_answer_may_come_in_chunks(root: Path, plugin: ScriptedPlugin) -> None:
    plugin.answers[JOIN] = raw(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"Gatew\r\n12\r\nay": "192.0.2.1"}\n\r\n0\r\n\r\n'
    )

    assert str(join(Plugins(root=root)).gateway_ipv4) == "192.0.2.1"


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (http(500, b'{"Err": "no room"}'), PluginRefused, "answered 500: no room"),
        (http(500, b"Internal\x1b[31m error\n"), PluginRefused, "answered 500: Internal [31m error"),
        (http(503, b""), PluginRefused, "answered 503"),
        (http(302, b""), PluginRefused, "answered 302"),
        ({"Err": "no such network"}, PluginRefused, "NetworkDriver.Join: no such network"),
        ({"err": "x" * 5000}, PluginRefused, "xxx…"),
        (http(404, b"404 page not found\n"), NotImplementedByPlugin, "answered 404: 404 page not found"),
        (http(200, b""), PluginError, "answer: Invalid JSON"),
        (http(200, b"{"), PluginError, "answer: Invalid JSON"),
        (http(200, b"\xff\xfe"), PluginError, "answer: Invalid JSON"),
        (http(200, b"[" * 100_000), PluginError, "answer: Invalid JSON"),
        (http(200, b"[]"), PluginError, "answer: Input should be an object"),
        ({"Gateway": 5}, PluginError, "Gateway: expected an IPv4 address as a string"),
        ({"Gateway": "fe80::1%eth0"}, PluginError, "Gateway: expected an IPv4 address"),
        ({"StaticRoutes": {}}, PluginError, "StaticRoutes: Input should be a valid"),
        ({"InterfaceName": {"SrcName": "../../etc"}}, PluginError, "InterfaceName.SrcName: expected a link name"),
        ({"InterfaceName": {"SrcName": "a/b"}}, PluginError, "InterfaceName.SrcName: expected a link name"),
        ({"DisableGatewayService": "yes"}, PluginError, "DisableGatewayService: Input should be a valid boolean"),
        (flood(100 * 1024 * 1024), PluginError, f"answered more than {REPLY_BYTES_MAX} bytes"),
        (http(200, b"{}", announced=100), PluginUnavailable, "no whole HTTP answer"),
        (raw(b""), PluginUnavailable, "no whole HTTP answer"),
        (raw(b"SSH-2.0-OpenSSH\r\n"), PluginUnavailable, "no whole HTTP answer"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200), PluginUnavailable, "no whole HTTP answer"),
        (hang(), PluginUnavailable, "no answer in time"),
        (drip(), PluginUnavailable, "no answer in time"),
    ],
)
def test_bad_answer_is_one_clear_line(
    answer: Answer, kind: type[PluginError], text: str, root: Path, plugin: ScriptedPlugin
) -> None:
    plugin.answers[JOIN] = answer

    with pytest.raises(PluginError) as told:
        join(Plugins(root=root, timeout_s=0.5))

    assert type(told.value) is kind
    assert text in str(told.value)
    assert str(told.value).startswith("plugin 'net': ")
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 600
    assert plugin.called(JOIN) == [JOIN]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"Implements": ["VolumeDriver"]}, "does not implement the requested driver"),
        ({}, "does not implement the requested driver"),
        ({"Implements": "NetworkDriver"}, "Implements: Input should be a valid"),
    ],
)
def test_plugin_of_another_kind_is_refused(answer: Answer, text: str, root: Path, plugin: ScriptedPlugin) -> None:
    plugin.answers["Plugin.Activate"] = answer

    with pytest.raises(PluginError, match=text):
        join(Plugins(root=root))
    assert plugin.called(JOIN) == []


@pytest.mark.parametrize("answer", [http(500, b"{}"), http(200, b'{"'), {"Err": "not now"}])
def test_plugin_that_does_not_introduce_itself_has_refused_nothing(
    answer: Answer, root: Path, plugin: ScriptedPlugin
) -> None:
    """What it shall release is still to be released."""
    plugin.answers["Plugin.Activate"] = answer

    with pytest.raises(PluginUnavailable):
        join(Plugins(root=root))
    assert plugin.called(JOIN) == []


@pytest.mark.parametrize(
    ("answer", "got"),
    [({"Scope": "swarm"}, "'swarm'"), ({}, "''"), ({"Scope": "local", "ConnectivityScope": "x"}, "'x'")],
)
def test_scope_is_local_or_global(answer: Answer, got: str, root: Path, plugin: ScriptedPlugin) -> None:
    plugin.answers["NetworkDriver.GetCapabilities"] = answer

    with pytest.raises(PluginError, match=f"invalid capability: expecting 'local' or 'global', got {got}"):
        Plugins(root=root).scope("net")


def test_plugin_that_is_down_is_left_alone_for_longer_and_longer(root: Path) -> None:
    clock = Clock()
    plugins = Plugins(root=root, clock=clock)
    path = root / "run/docker/plugins/net.sock"
    with ScriptedPlugin().serving(path) as plugin:
        plugins.scope("net")
        plugin.answers[JOIN] = raw(b"")
        for wait_s in (1, 2, 4, 8, 16, 32, 60, 60):
            with pytest.raises(PluginUnavailable, match="no whole HTTP answer"):
                join(plugins)
            before = len(plugin.calls)
            clock.now_s += wait_s - 0.1
            with pytest.raises(PluginUnavailable, match="no whole HTTP answer"):
                join(plugins)
            assert len(plugin.calls) == before
            clock.now_s += 0.2
        plugin.answers[JOIN] = {}
        join(plugins)
        # Another one may be behind the name by now: it was introduced to anew after each failure.
        assert plugin.called("Plugin.Activate") == ["Plugin.Activate"] * 9


def test_failing_plugin_does_not_hold_up_another(root: Path, plugin: ScriptedPlugin) -> None:
    plugin.answers["Plugin.Activate"] = raw(b"")
    plugins = Plugins(root=root)
    with pytest.raises(PluginUnavailable):
        join(plugins)

    with ScriptedPlugin().serving(root / "run/docker/plugins/other.sock"):
        assert plugins.scope("other") == "local"


def test_socket_that_nobody_listens_at_is_a_plugin_that_is_down(root: Path, plugin: ScriptedPlugin) -> None:
    path = root / "run/docker/plugins/net.sock"
    path.rename(path.with_name("gone.sock"))
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(path))

    with pytest.raises(PluginUnavailable, match="Connection refused") as told:
        join(Plugins(root=root))
    assert told.value.is_retryable


def test_missing_plugin_is_looked_for_again_at_once(root: Path) -> None:
    plugins = Plugins(root=root)
    with pytest.raises(PluginMissing):
        join(plugins)

    with ScriptedPlugin().serving(root / "run/docker/plugins/net.sock"):
        join(plugins)


def test_answer_of_ipam_plugins_tells_errors_as_they_do(root: Path, plugin: ScriptedPlugin) -> None:
    plugin.answers["Plugin.Activate"] = {"Implements": ["IpamDriver"]}
    plugin.answers["IpamDriver.RequestPool"] = {"Error": "no pool"}

    with pytest.raises(PluginRefused, match=r"IpamDriver\.RequestPool: no pool"):
        Plugins(root=root).call("net", Interface.IPAM, "RequestPool", {}, RequestPoolReply)


def test_mac_and_addresses_are_read_in_canonical_form(root: Path, plugin: ScriptedPlugin) -> None:
    plugin.answers["NetworkDriver.CreateEndpoint"] = {
        "Interface": {"MacAddress": "02-AB-00-00-00-01", "Address": "10.0.0.2/24", "AddressIPv6": ""}
    }

    found = Plugins(root=root).call("net", NETWORK, "CreateEndpoint", {}, CreateEndpointReply).interface

    assert (found.mac, str(found.ipv4), found.ipv6) == ("02:ab:00:00:00:01", "10.0.0.2/24", None)
