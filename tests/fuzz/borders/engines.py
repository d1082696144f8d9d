"""What plugins, container engines and CNI files say, and whatever else `import` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from unittest import mock

from reconciler.container_engine.events import EventStream
from reconciler.container_engine.inspection import Running, described
from reconciler.errors import ContainerEngineError, PluginError
from reconciler.http.client_protocol import Response
from reconciler.http.headers import Headers
from reconciler.http.lines import Lines
from reconciler.importing import engine_socket
from reconciler.importing.carried import carried
from reconciler.importing.cni import read_cni
from reconciler.importing.compose.read import Asked, read_compose
from reconciler.importing.netavark import read_netavark_files
from reconciler.importing.quadlet import read_quadlet
from reconciler.importing.source_files import SourceFile, SourceFiles
from reconciler.importing.values import Imported
from reconciler.importing.write import file_texts, stream_text
from reconciler.plugin import client as plugin_client
from reconciler.plugin.client import Interface, Plugins
from reconciler.plugin.discovery import PluginLocation, _from_json, _parsed
from reconciler.plugin.messages import (
    AddressSpacesReply,
    CreateEndpointReply,
    GwAllocCheckReply,
    JoinReply,
    OperInfoReply,
    PluginReply,
    RequestAddressReply,
    RequestPoolReply,
)
from reconciler.spec.files import SpecText
from reconciler.spec.load import load_texts
from tests.fakes.scripted_engine import CONTAINER_ID, container
from tests.fuzz.target import Form, Target, listed

_UNIT: Final = Path(__file__).parent.parent.parent / "unit"
_SOCKET: Final = Path("/run/engine.sock")
_NO_HEADERS: Final = Headers(())


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


# --- plugins

_REPLIES: Final[tuple[tuple[Interface, str, type[PluginReply]], ...]] = (
    (Interface.NETWORK, "CreateEndpoint", CreateEndpointReply),
    (Interface.NETWORK, "Join", JoinReply),
    (Interface.NETWORK, "GwAllocCheck", GwAllocCheckReply),
    (Interface.NETWORK, "EndpointOperInfo", OperInfoReply),
    (Interface.IPAM, "GetDefaultAddressSpaces", AddressSpacesReply),
    (Interface.IPAM, "RequestPool", RequestPoolReply),
    (Interface.IPAM, "RequestAddress", RequestAddressReply),
)
_ACTIVATION: Final = b'{"Implements": ["NetworkDriver", "IpamDriver"]}'


def _plugin_seeds() -> Iterator[bytes]:
    yield _dumped(
        {
            "Implements": ["NetworkDriver", "IpamDriver"],
            "Scope": "local",
            "ConnectivityScope": "global",
            "GwAllocChecker": True,
        }
    )
    yield _dumped(
        {"Interface": {"Address": "10.0.0.5/24", "AddressIPv6": "fd00::5/64", "MacAddress": "02:42:0a:00:00:05"}}
    )
    yield _dumped(
        {
            "InterfaceName": {"SrcName": "veth0", "DstPrefix": "eth", "DstName": "lan0"},
            "Gateway": "10.0.0.1",
            "GatewayIPv6": "fd00::1",
            "StaticRoutes": [{"Destination": "10.9.0.0/16", "RouteType": 0, "NextHop": "10.0.0.9"}],
            "DisableGatewayService": True,
        }
    )
    yield _dumped({"PoolID": "x", "Pool": "10.0.0.0/24", "Data": {"a": "b"}})
    yield _dumped({"Address": "10.0.0.5/24", "RequiresMACAddress": True, "LocalDefaultAddressSpace": "l"})
    yield _dumped({"Err": "no such network", "Error": "pool is taken"})
    yield b"no JSON \x1b[31m"


def _run_plugin(data: bytes) -> None:
    """Take an answer for that to any call, a good one or an error: a value, or a word of ours that repeats little."""
    last: PluginError | None = None
    told: list[str] = []
    for status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR):

        def post(_: object, path: str, *__: object, status: int = status) -> Response:
            if path == "Plugin.Activate":
                return Response(200, _NO_HEADERS, _ACTIVATION)
            return Response(status, _NO_HEADERS, data)

        location = PluginLocation(path="/x")
        with (
            mock.patch.object(plugin_client, "find_plugin", return_value=location),
            mock.patch.object(plugin_client, "_post", post),
        ):
            for interface, method, answer in _REPLIES:
                try:
                    found = Plugins().call("net", interface, method, {}, answer)
                    assert isinstance(found, answer)
                except PluginError as error:
                    last = error
                    told.append(str(error))
            for ask in (Plugins().capabilities, Plugins().ipam_capabilities):
                try:
                    ask("net")
                except PluginError as error:
                    last = error
    for read, name in ((_from_json, "x.json"), (_parsed, "x.spec")):
        try:
            read(Path(name), data.decode(errors="replace"))
        except PluginError as error:
            last = error
    assert all(map(str.isprintable, told)), told
    if last is not None:
        raise last


# --- engines


def _inspection_seeds() -> Iterator[bytes]:
    yield _dumped(container(4711))
    yield _dumped(container(0, State={"Running": False, "Pid": 0}))
    yield _dumped({"message": "No such container"})
    yield _dumped(container(4711, HostsPath=f"/x/{CONTAINER_ID}/../../etc/hosts", ResolvConfPath="/etc/resolv.conf"))


def _run_inspection(data: bytes) -> None:
    """Read what is said of one container: what it says of files stays within the container's folder."""
    last: ContainerEngineError | None = None
    for name in ("web", CONTAINER_ID[:12]):
        try:
            found = described(_SOCKET, name, Response(200, _NO_HEADERS, data))
        except ContainerEngineError as error:
            last = error
            continue
        if isinstance(found, Running):
            assert 0 < found.pid <= 1 << 22
            for _, path in found.files:
                assert found.id in path.split("/")
                assert ".." not in path.split("/")
    if last is not None:
        raise last


def _event_seeds() -> Iterator[bytes]:
    actor = {"ID": CONTAINER_ID, "Attributes": {"name": "web", "oldName": "/db"}}
    events = [
        _dumped({"Type": "container", "Action": action, "Actor": actor})
        for action in ("start", "rename", "exec_start: sh")
    ]
    yield b"\n".join(events) + b"\n"
    yield b"[]\n7\n{}\n" + events[0] + b"\n"


class _Pieces:
    """Stands for a connection that gives an answer in pieces, and then hangs up."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]
        self.deadline = 0.0

    def more(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def _run_events(data: bytes) -> None:
    """Read events in pieces of any size: the same come, and none is of what is no text."""
    seen: list[object] = []
    for size in (1 << 16, 1 + len(data) // 7):
        stream = EventStream.__new__(EventStream)
        stream.path, stream._lines = _SOCKET, Lines(1 << 20)
        connection: Any = _Pieces(data, size)
        stream._connection = connection
        found = []
        try:
            while True:
                found += stream.read()
        except ContainerEngineError:
            seen.append(found)
    assert seen[0] == seen[1]


def _engine_seeds() -> Iterator[bytes]:
    for version in ("20.10.24", "28.5.2"):
        told = json.loads((_UNIT / "status" / "golden" / f"engine-{version}.json").read_text())
        networks, containers = list(told["networks"].values()), list(told["containers"].values())
        yield _dumped({"networks": networks[:3], "containers": containers[:2]})
    blue = {"name": "blue", "driver": "bridge", "subnets": [{"subnet": "10.1.0.0/24", "gateway": "10.1.0.1"}]}
    web = {
        **container(1),
        "NetworkSettings": {"Networks": {"blue": {"IPAddress": "10.1.0.5"}}},
        "HostConfig": {"NetworkMode": "bridge"},
    }
    yield _dumped({"podman": True, "networks": [blue], "containers": [web]})


def _run_engine(data: bytes) -> None:
    """Import what an engine says it has: what comes of it loads, whatever that was."""
    told = _object(data)
    containers = told.get("containers")
    listed: list[Any] = containers if isinstance(containers, list) else [containers]
    ids = [f"{number:064x}" for number, _ in enumerate(listed)]

    def ask(_: Path, targets: Sequence[str], __: float, *, body_max: int) -> list[Response]:
        return [Response(200, _NO_HEADERS, answer(target)[:body_max]) for target in targets]

    def answer(target: str) -> bytes:
        if target == "/version":
            return _dumped({"Components": [{"Name": "Podman Engine"}] if told.get("podman") else told.get("version")})
        if target.endswith(("networks", "networks/json")):
            return _dumped(told.get("networks"))
        if target.startswith("/containers/json"):
            return _dumped([{"Id": one} for one in ids])
        return _dumped(listed[ids.index(target.split("/")[2])])

    with mock.patch.object(engine_socket, "ask", ask):
        _loads(engine_socket.read_engine(_SOCKET, with_stopped=True, parent="eth0"))


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {"networks": found, "containers": found}


# --- files


def _loads(imported: Imported) -> None:
    """What is written of an import loads without faults, in one file as in several."""
    kept = carried(imported, "here")
    for told in kept.all_not_carried():
        str(told)
    loaded = load_texts([SpecText("specs.yaml", stream_text(kept, "x"))], host="here", digest="")
    assert loaded.faults == (), loaded.faults[0]
    assert len(loaded.wanted.attachments) == len(kept.attachments)
    several = [SpecText(name, text) for name, text in file_texts(kept, "x").items()]
    assert load_texts(several, host="here", digest="").faults == ()


def _files(data: bytes, name: str) -> SourceFiles:
    """Cut into files at lines `==== NAME`."""
    files, called, lines = [], name, list[str]()
    for line in [*data.decode(errors="replace").split("\n"), "==== "]:
        if line.startswith("==== "):
            files.append(SourceFile(name=called, text="\n".join(lines)))
            called, lines = line[5:].strip() or name, []
        else:
            lines.append(line)
    return SourceFiles(files=tuple(files[:6]))


def _golden(kind: str, *suffixes: str) -> Iterator[bytes]:
    for folder in sorted((_UNIT / "importing" / "golden").glob(f"{kind}*")):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.name.endswith(suffixes) and path.stat().st_size < 4096:
                yield path.read_bytes()


def _run_cni(data: bytes) -> None:
    _loads(read_cni(_files(data, "10-a.conflist"), parent="eth0"))


def _run_netavark(data: bytes) -> None:
    _loads(read_netavark_files(_files(data, "a.json"), parent="eth0"))


def _quadlet_seeds() -> Iterator[bytes]:
    yield b"[Network]\nSubnet=10.1.0.0/24\n==== a.container\n[Container]\nNetwork=a.network:ip=10.1.0.5\nPublishPort=8080:80\n"
    yield b"[Pod]\nNetwork=a.network\n==== a.network.d/10.conf\n[Network]\nInternal=true\n==== b.pod\n[Pod]\nPodName=%p\n"
    yield from _golden("quadlet", ".network", ".container", ".pod")


def _run_quadlet(data: bytes) -> None:
    for name in ("a.network", "a.container", "a.pod"):
        _loads(read_quadlet(_files(data, name), parent="eth0", host="alpha.example"))


def _compose_seeds() -> Iterator[bytes]:
    for path in sorted((_UNIT / "importing" / "compose").rglob("*.y*ml")):
        if path.stat().st_size < 3000:
            yield path.read_bytes()
    more = b"==== .env\nTAG='a b'\n==== more.yaml\nservices: {b: {ports: ['80']}}\n"
    yield b'services: {web: {image: "a:${TAG:-x}", env_file: x, extends: {file: more.yaml, service: b}}}\n' + more


def _run_compose(data: bytes) -> None:
    files = {file.name: file.text for file in _files(data, "compose.yaml").files}

    def read(path: str) -> str | None:
        return files.get(path)

    found = read_compose(
        Asked(files=("compose.yaml",), environment={"HOME": "/root"}, called="proj"), read, lambda: None
    )
    for fault in found.faults:
        assert "\n" not in str(fault)
    assert (found.imported is None) == bool(found.faults)
    if found.imported is not None:
        _loads(found.imported)


_PLUGIN_WORDS: Final = (
    *listed(
        "Err Error Implements NetworkDriver IpamDriver Scope local global ConnectivityScope Interface Address "
        "AddressIPv6 MacAddress InterfaceName SrcName DstPrefix DstName Gateway GatewayIPv6 StaticRoutes "
        "Destination RouteType NextHop PoolID Pool Data Value unix:///a tcp://a:1 Addr TLSConfig"
    ),
)
_ENGINE_WORDS: Final = (
    *listed(
        "Id Name State Running Pid HostConfig NetworkMode none bridge HostsPath ResolvConfPath Driver Options IPAM "
        "Config Subnet IPRange Gateway Internal Labels Networks NetworkSettings IPAMConfig IPv4Address Links "
        "Aliases MacAddress Ports PortBindings HostPort 80/tcp Sysctls Dns subnets network_interface ipam_options "
        "options mtu Type Action Actor ID Attributes Hostname"
    ),
)
_CNI_WORDS: Final = (
    *listed(
        "cniVersion name type plugins bridge macvlan ipvlan portmap firewall ipam host-local static ranges subnet "
        "rangeStart rangeEnd gateway routes dst gw addresses address isGateway ipMasq mtu master mode dns "
        "nameservers args podman_labels isDefaultGateway ingressPolicy isolated driver subnets lease_range "
        "start_ip end_ip network_interface options internal ipv6_enabled id"
    ),
)
_UNIT_WORDS: Final = (
    *listed(
        "Subnet= Gateway= IPRange= Driver= Options= Internal= Network= PublishPort= IP= IP6= DNS= AddHost= "
        "NetworkAlias= ContainerName= Pod= Sysctl= Label= a.network a.container a.pod none host container: "
        "ns:/run/netns/a pasta %p %i %n %h %% ' 8080:80 0.0.0.0:1:2/udp # ;"
    ),
    *("[Network]\n", "[Container]\n", "[Pod]\n", "[Install]\n", "\\\n", '"', "==== a.network\n"),
    *("==== b.container\n", "==== a.container.d/x.conf\n"),
)
_COMPOSE_WORDS: Final = (
    *listed(
        "services: networks: name: include: extends: file: service: profiles: ports: expose: links: network_mode: "
        "aliases: ipv4_address: external: driver_opts: ipam: config: subnet: scale: deploy: replicas: "
        "container_name: hostname: dns: extra_hosts: sysctls: ${A} ${A:-b} ${A:?x} ${A:+${B}} $$ !reset !override "
        "&a { } [ ] A=b published: target:"
    ),
    *("<<: *a", "- ", "==== .env\n", "==== more.yaml\n"),
)

TARGETS: Final = (
    Target(
        "plugin",
        "answers and address files of network and IPAM plugins",
        _run_plugin,
        _plugin_seeds,
        Form.JSON,
        _PLUGIN_WORDS,
        runs=120,
    ),
    Target(
        "container", "what an engine says of a container", _run_inspection, _inspection_seeds, Form.JSON, _ENGINE_WORDS
    ),
    Target("engine events", "events of a container engine", _run_events, _event_seeds, Form.TEXT, _ENGINE_WORDS),
    Target(
        "import engines",
        "networks and containers of Docker and Podman",
        _run_engine,
        _engine_seeds,
        Form.JSON,
        _ENGINE_WORDS,
        runs=40,
        length_max=32768,
    ),
    Target(
        "import cni",
        "CNI configurations",
        _run_cni,
        lambda: _golden("cni", ".conf", ".conflist", ".json"),
        Form.JSON,
        _CNI_WORDS,
        runs=60,
    ),
    Target(
        "import netavark",
        "netavark's networks",
        _run_netavark,
        lambda: _golden("netavark", ".json"),
        Form.JSON,
        _CNI_WORDS,
        runs=60,
    ),
    Target("import quadlet", "quadlet units", _run_quadlet, _quadlet_seeds, Form.TEXT, _UNIT_WORDS, runs=60),
    Target(
        "import compose",
        "Compose files and their variables",
        _run_compose,
        _compose_seeds,
        Form.TEXT,
        _COMPOSE_WORDS,
        runs=60,
    ),
)
