"""Ask an engine for the scene of tests/unit/status/golden/scene.yaml, and print what it tells of it as JSON. See record.sh."""

from __future__ import annotations

import http.client
import io
import json
import socket
import sys
import tarfile
from typing import Any, Final

PREFIX: Final = "com.docker.network"
NETWORKS: Final[dict[str, dict[str, Any]]] = {
    "isolated_nw": {},
    "seven": {
        "EnableIPv6": True,
        "IPAM": [
            {
                "Subnet": "10.7.0.0/24",
                "IPRange": "10.7.0.128/25",
                "Gateway": "10.7.0.254",
                "AuxiliaryAddresses": {"r": "10.7.0.129"},
            },
            {"Subnet": "fd00:7::/64"},
        ],
        "Options": {
            f"{PREFIX}.bridge.enable_icc": "false",
            f"{PREFIX}.bridge.host_binding_ipv4": "127.0.0.1",
            f"{PREFIX}.bridge.name": "br-seven",
            f"{PREFIX}.driver.mtu": "1400",
        },
        "Labels": {"a": "b"},
    },
    "front": {"EnableIPv6": True, "IPAM": [{"Subnet": "10.8.0.0/24"}, {"Subnet": "fd00:8::/64"}]},
    "inner": {"Internal": True, "Attachable": True, "IPAM": [{"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"}]},
    "only6": {"EnableIPv4": False, "EnableIPv6": True, "IPAM": [{"Subnet": "fd00:6::/64"}]},
}
CONTAINERS: Final[dict[str, dict[str, Any]]] = {
    "container1": {"networks": {"bridge": {}}},
    "container2": {
        "networks": {"bridge": {}},
        "ports": {"80/tcp": ("", "8080"), "53/udp": ("127.0.0.1", "5353")},
        "expose": ["9000/tcp"],
    },
    "linked": {"networks": {"bridge": {}}, "links": ["container2:db"]},
    "n1": {"networks": {"none": {}}},
    "hh": {"networks": {"host": {}}},
    "s1": {"networks": {"seven": {}}},
    "web": {
        "networks": {
            "front": {
                "Aliases": ["www"],
                "IPAMConfig": {"IPv4Address": "10.8.0.10", "IPv6Address": "fd00:8::10"},
            },
            "inner": {"Aliases": ["aa", "web"], "DriverOpts": {"k": "v"}},
        },
        "ports": {"80/tcp": ("", "8081"), "81/tcp": ("::1", "8082"), "82/tcp": ("127.0.0.1", "8083")},
        "expose": ["9000/tcp"],
        "hostname": "webhost",
        "extra_hosts": ["gate:192.0.2.7"],
        "domainname": "example.org",
    },
    "db": {
        "networks": {"front": {"Links": ["web:database"]}, "isolated_nw": {"Links": ["web:database"], "GwPriority": 7}}
    },
    "six": {"networks": {"only6": {}}, "ports": {"80/tcp": ("", "8084")}},
}
SHOWN: Final = {"HostConfig": ("NetworkMode", "PortBindings", "Links"), "Config": ("Hostname", "Domainname")}
INSIDE: Final = {
    "hosts": "/bin/busybox cat /etc/hosts",
    "resolv.conf": "/bin/busybox cat /etc/resolv.conf",
    "variables": "/bin/busybox env | /bin/busybox grep ^DB_ | /bin/busybox sort",
    "routes": "/bin/busybox ip route show default; /bin/busybox ip -6 route show default",
}


class Engine:
    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, method: str, path: str, body: Any = None, *, is_json: bool = True) -> Any:
        connection = http.client.HTTPConnection("engine", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        is_archive = isinstance(body, bytes)
        text = body if is_archive else json.dumps(body)
        kind = "application/x-tar" if is_archive else "application/json"
        connection.request(method, path, None if body is None else text, {"Content-Type": kind})
        response = connection.getresponse()
        told = response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {told.decode()}")
        if not is_json:
            return told.decode()
        return json.loads(told) if told.strip() and not is_archive else None

    def import_image(self, busybox: str) -> None:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(busybox, "bin/busybox")
        self.ask("POST", "/images/create?fromSrc=-&repo=busybox", archive.getvalue())

    def make_network(self, name: str, wanted: dict[str, Any]) -> None:
        ipam = {"Driver": "default", "Options": {}, "Config": wanted.get("IPAM", [])}
        self.ask("POST", "/networks/create", {"Options": {}, "Labels": {}, **wanted, "Name": name, "IPAM": ipam})

    def run(self, name: str, wanted: dict[str, Any]) -> None:
        (first, endpoint), *others = wanted["networks"].items()
        ports = wanted.get("ports", {})
        exposed = {port: {} for port in (*ports, *wanted.get("expose", ()))}
        bindings = {port: [{"HostIp": ip, "HostPort": number}] for port, (ip, number) in ports.items()}
        body = {
            "Image": "busybox",
            "Cmd": ["/bin/busybox", "sleep", "600"],
            "Hostname": wanted.get("hostname", ""),
            "Domainname": wanted.get("domainname", ""),
            "ExposedPorts": exposed,
            "HostConfig": {
                "NetworkMode": first,
                "PortBindings": bindings,
                "Links": wanted.get("links"),
                "ExtraHosts": wanted.get("extra_hosts"),
            },
            "NetworkingConfig": {"EndpointsConfig": {first: endpoint} if endpoint else {}},
        }
        self.ask("POST", f"/containers/create?name={name}", body)
        for network, settings in others:
            self.ask("POST", f"/networks/{network}/connect", {"Container": name, "EndpointConfig": settings})
        self.ask("POST", f"/containers/{name}/start")

    def inside(self, name: str) -> dict[str, list[str]]:
        """Give what a container finds inside, line by line."""
        return {what: self._lines(name, command) for what, command in INSIDE.items()}

    def _lines(self, name: str, command: str) -> list[str]:
        wanted = {"Cmd": ["/bin/busybox", "sh", "-c", command], "AttachStdout": True, "Tty": True}
        id_ = self.ask("POST", f"/containers/{name}/exec", wanted)["Id"]
        text: str = self.ask("POST", f"/exec/{id_}/start", {"Tty": True}, is_json=False)
        return text.replace("\r\n", "\n").splitlines()


def _shown(container: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing of names and networks."""
    parts = {part: {key: container[part][key] for key in keys} for part, keys in SHOWN.items()}
    return {"Id": container["Id"], "Name": container["Name"], **parts, "NetworkSettings": container["NetworkSettings"]}


def main() -> None:
    engine = Engine(sys.argv[1])
    engine.import_image(sys.argv[2])
    version = engine.ask("GET", "/version")["Version"]
    left_out = {"only6", "six"} if int(version.split(".")[0]) < 28 else set()  # whether IPv4 is on was not asked before
    networks = [name for name in NETWORKS if name not in left_out]
    containers = [name for name in CONTAINERS if name not in left_out]
    for name in networks:
        engine.make_network(name, NETWORKS[name])
    for name in containers:
        engine.run(name, CONTAINERS[name])
    told = {
        "version": version,
        "networks": {name: engine.ask("GET", f"/networks/{name}") for name in ("bridge", "none", "host", *networks)},
        "containers": {name: _shown(engine.ask("GET", f"/containers/{name}/json")) for name in containers},
        "inside": {name: engine.inside(name) for name in containers},
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
