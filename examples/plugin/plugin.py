#!/usr/bin/env python3
"""A network driver in a process of its own, as small as one can be: the libnetwork plugin protocol over a Unix socket.

A network is a bridge, an endpoint a veth pair: one end is a port of the bridge, the other one is named in the answer to Join, and
whoever asked moves it into the sandbox. Copy this file and write your own `Driver`; nothing but the standard library and ip(8) is
needed. What it has, it keeps in a file: it may be stopped and started at any time.

    plugin.py [--socket /run/docker/plugins/reference.sock] [--state /run/reference-plugin.json] [--scope local|global]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

MIME = "application/vnd.docker.plugins.v1.2+json"


def ip(*arguments: str) -> None:
    """Run ip(8). Raises an error that says what it said."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def delete(link: str) -> None:
    if exists(link):
        ip("link", "delete", link)


class Driver:
    """One method per call, named as it. An error is told by raising; a repeated call must do no harm."""

    def __init__(self, state: Path, scope: str) -> None:
        self.state = state
        self.scope = scope
        saved = json.loads(state.read_text()) if state.exists() else {}
        self.networks: dict[str, Any] = saved.get("networks", {})
        self.endpoints: dict[str, Any] = saved.get("endpoints", {})

    def save(self) -> None:
        temporary = self.state.with_suffix(".tmp")
        temporary.write_text(json.dumps({"networks": self.networks, "endpoints": self.endpoints}))
        os.replace(temporary, self.state)

    def GetCapabilities(self, _: dict[str, Any]) -> dict[str, Any]:
        """Say whether hosts share a network, its id and addresses (Scope), and whether it carries traffic between them."""
        return {"Scope": self.scope, "ConnectivityScope": "local"}

    def CreateNetwork(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make the bridge, with the gateways as its addresses; the option `mtu` shows how driver_opts arrive."""
        name = f"ref-{asked['NetworkID'][:10]}"
        options = asked["Options"].get("com.docker.network.generic") or {}
        if not exists(name):
            ip("link", "add", name, "type", "bridge")
        gateways = [pool.get("Gateway", "") for pool in (*asked["IPv4Data"], *(asked["IPv6Data"] or ()))]
        for gateway in filter(None, gateways):
            ip("address", "replace", gateway, "dev", name, *(["nodad"] if ":" in gateway else []))
        ip("link", "set", name, "up")
        internal = bool(asked["Options"].get("com.docker.network.internal"))
        self.networks[asked["NetworkID"]] = {
            "bridge": name,
            "mtu": str(options.get("mtu", 1500)),
            "gateways": [] if internal else [gateway.partition("/")[0] for gateway in gateways],
        }
        self.save()
        return {}

    def DeleteNetwork(self, asked: dict[str, Any]) -> dict[str, Any]:
        delete(self.networks[asked["NetworkID"]]["bridge"])
        del self.networks[asked["NetworkID"]]
        self.save()
        return {}

    def CreateEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Make the pair. The MAC address was left to us, unless it was given; all else must stay as it was asked for."""
        network, id_ = self.networks[asked["NetworkID"]], asked["EndpointID"]
        near, far = f"rpn{id_[:11]}", f"rpf{id_[:11]}"
        mac = asked["Interface"].get("MacAddress") or "02:7e:" + ":".join(id_[i : i + 2] for i in range(0, 8, 2))
        delete(near)
        ip("link", "add", near, "mtu", network["mtu"], "type", "veth", "peer", far, "mtu", network["mtu"])
        ip("link", "set", far, "address", mac)
        ip("link", "set", near, "master", network["bridge"], "up")
        self.endpoints[id_] = {"near": near, "far": far}
        self.save()
        return {"Interface": {} if asked["Interface"].get("MacAddress") else {"MacAddress": mac}}

    def Join(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Name the link for the sandbox, and its way out."""
        answer: dict[str, Any] = {
            "InterfaceName": {"SrcName": self.endpoints[asked["EndpointID"]]["far"], "DstPrefix": "eth"},
            "StaticRoutes": [],
            "DisableGatewayService": True,  # what is not routed here is not routed at all
        }
        for gateway in self.networks[asked["NetworkID"]]["gateways"]:
            answer["GatewayIPv6" if ":" in gateway else "Gateway"] = gateway
        return answer

    def EndpointOperInfo(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"Value": {"port": self.endpoints[asked["EndpointID"]]["near"]}}

    def Leave(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {}

    def DeleteEndpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
        delete(self.endpoints[asked["EndpointID"]]["near"])
        del self.endpoints[asked["EndpointID"]]
        self.save()
        return {}


class Server(UnixStreamServer):
    request_queue_size = 64

    def __init__(self, path: Path, driver: Driver) -> None:
        self.driver = driver
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # of a predecessor that was killed
        super().__init__(str(path), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        interface, _, method = self.path.strip("/").partition(".")
        call = getattr(self.server.driver, method, None)
        print(method, asked.get("EndpointID", asked.get("NetworkID", ""))[:12], flush=True)
        if (interface, method) == ("Plugin", "Activate"):
            self.answer(200, {"Implements": ["NetworkDriver"]})
        elif interface != "NetworkDriver" or call is None:
            self.answer(404, {"Err": f"{self.path} is not implemented"})
        else:
            try:
                self.answer(200, call(asked))
            except Exception as error:
                self.answer(200, {"Err": f"{type(error).__name__}: {error}"})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", MIME)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The calls are printed; the web server's log says no more."""

    def address_string(self) -> str:
        return "unix"


def main() -> None:
    parser = argparse.ArgumentParser(description="A network driver: each network a bridge, each endpoint a veth pair.")
    parser.add_argument("--socket", type=Path, default=Path("/run/docker/plugins/reference.sock"))
    parser.add_argument("--state", type=Path, default=Path("/run/reference-plugin.json"))
    parser.add_argument("--scope", choices=("local", "global"), default="local")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Server(given.socket, Driver(given.state, given.scope)).serve_forever()


if __name__ == "__main__":
    main()
