"""Real key-value servers for tests, each in a folder of its own, stopped when their block ends.

`install.sh` beside this file gets them. Start them in a private network namespace: their ports are fixed per kind. They listen on
loopback unless told otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.waiting import eventually

START_DEADLINE_S = 30.0
LOOPBACK = "127.0.0.1"
JAVA_FOLDER = Path("/usr/share/java")


class ServerMissing(Exception):
    """A server is not installed: run tests/kv_servers/install.sh."""


@dataclass
class Server:
    """One server process. address: where it listens, in the namespace of the thread that starts it."""

    provider: str
    port: int
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    address: str = LOOPBACK
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.launch()

        def is_decided() -> bool:
            assert self.process is not None
            return _accepts(self.address, self.port) or self.process.poll() is not None

        if (
            not eventually(is_decided, START_DEADLINE_S, 0.05)
            or self.process is None
            or self.process.poll() is not None
        ):
            self.stop()
            raise RuntimeError(f"{self.provider} did not start:\n{(self.folder / 'log').read_text()[-3000:]}")

    def launch(self) -> None:
        """Start it, and do not wait: it ends with the thread that does this."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command],  # it must not outlive killed tests
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def stop(self) -> None:
        """Kill -9: what a store was told to keep must outlast that."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """Stop it in its tracks; the last of its threads may answer somebody for a moment after the signal."""
        self._signal(signal.SIGSTOP)
        assert eventually(self._is_paused, START_DEADLINE_S, 0.005), f"{self.provider} does not stop"

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log_text(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _is_paused(self) -> bool:
        assert self.process is not None
        states = Path(f"/proc/{self.process.pid}/task").glob("*/stat")
        return all(state.read_text().rpartition(")")[2].split()[0] == "T" for state in states)

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


class Tls(Struct, frozen=True):
    """PEM files: an authority, what it signed for the server, and for a client."""

    ca: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def make_tls(folder: Path) -> Tls:
    """Make an authority and two certificates with openssl(1). Elliptic curves: keys of RSA are looked for with much CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    _openssl(folder, f"{new} -keyout ca.key -out ca.pem -subj /CN=authority")
    for name, names in (("server", "IP:127.0.0.1,DNS:localhost"), ("client", "DNS:client")):
        signed = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE"
        _openssl(
            folder,
            f"{new} {signed} -keyout {name}.key -out {name}.pem -subj /CN={name} -addext subjectAltName={names}",
        )
    return Tls(
        ca=folder / "ca.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        client_certificate=folder / "client.pem",
        client_key=folder / "client.key",
    )


def consul(
    folder: Path,
    *,
    tls: Tls | None = None,
    port: int = 8500,
    token: str = "",
    address: str = LOOPBACK,
    peers: Sequence[str] = (),
) -> Server:
    """One server that elects itself, or that of several. token: refuses whoever has not got it. peers: addresses of all."""
    settings: dict[str, object] = {
        "server": True,
        "bootstrap_expect": max(1, len(peers)),
        "retry_join": [f"{peer}:{port + 2}" for peer in peers],
        "retry_interval": "1s",
        "bind_addr": address,
        "client_addr": address,
        "data_dir": str(folder / "data"),
        "node_name": f"test{port}-{address.replace('.', '-')}",
        "disable_update_check": True,
        "performance": {"raft_multiplier": 1},
        "session_ttl_min": "1s",
        "ports": {
            "http": -1 if tls else port,
            "https": port if tls else -1,
            "dns": -1,
            "server": port + 1,
            "serf_lan": port + 2,
            "serf_wan": -1,
        },
    }
    if token:
        settings["acl"] = {"enabled": True, "default_policy": "deny", "tokens": {"master": token}}
    if tls:
        settings |= {"ca_file": str(tls.ca), "cert_file": str(tls.certificate), "key_file": str(tls.key)}
        settings |= {"verify_incoming_https": True}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "consul.json").write_text(json.dumps(settings))
    command = [_program("consul"), "agent", f"-config-file={folder / 'consul.json'}"]
    return Server("consul", port, command, folder, address=address)


def etcd(
    folder: Path, *, tls: Tls | None = None, port: int = 2379, address: str = LOOPBACK, peers: Sequence[str] = ()
) -> Server:
    """One server, or that of several. peers: addresses of all; none listens before most of them run."""
    scheme = "https" if tls else "http"
    members = ",".join(f"{peer}=http://{peer}:{port + 1}" for peer in peers or (address,))
    own = f"http://{address}:{port + 1}"
    command = [_program("etcd"), f"--name={address}", f"--data-dir={folder / 'data'}"]
    command += [
        f"--listen-client-urls={scheme}://{address}:{port}",
        f"--advertise-client-urls={scheme}://{address}:{port}",
    ]
    command += [
        f"--listen-peer-urls={own}",
        f"--initial-advertise-peer-urls={own}",
        f"--initial-cluster={members}",
    ]
    # It elects itself at once, and passwords and writes cost little; it is killed, which the kernel's memory of files outlasts.
    command += ["--heartbeat-interval=50", "--election-timeout=500", "--bcrypt-cost=4", "--unsafe-no-fsync"]
    if tls:
        command += [f"--cert-file={tls.certificate}", f"--key-file={tls.key}"]
        command += ["--client-cert-auth", f"--trusted-ca-file={tls.ca}"]
    folder.mkdir(parents=True, exist_ok=True)
    # etcd 3.4 refuses to start on ARM without being told that we know; elsewhere it does not look.
    unsupported = {"ETCD_UNSUPPORTED_ARCH": "arm64"}
    return Server("etcd", port, command, folder, environment=unsupported, address=address)


def zookeeper(
    folder: Path,
    *,
    tls: Tls | None = None,
    port: int = 2181,
    address: str = LOOPBACK,
    peers: Sequence[str] = (),
    session_max_s: int = 10,
) -> Server:
    """One server, or that of several. peers: addresses of all. A tick of 500 ms, so sessions may be of 1 s."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"dataDir={folder / 'data'}", "tickTime=500", f"maxSessionTimeout={session_max_s * 1000}"]
    lines += ["admin.enableServer=false", *_zookeeper_peers(peers)]
    if peers:
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / "myid").write_text(str(peers.index(address) + 1))
    if tls:
        both = folder / "server.pem"
        both.write_text(tls.certificate.read_text() + tls.key.read_text())
        lines += [f"secureClientPort={port}", f"secureClientPortAddress={address}"]
        lines += ["serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory", "ssl.clientAuth=need"]
        lines += [f"ssl.keyStore.location={both}", f"ssl.trustStore.location={tls.ca}"]
    else:
        lines += [f"clientPort={port}", f"clientPortAddress={address}"]
    (folder / "zoo.cfg").write_text("\n".join(lines))
    # Netty in parts: the package's own class path forgets those that TLS needs.
    names = ["zookeeper", "slf4j-simple", "netty-codec", "netty-resolver", "netty-transport-native-unix-common"]
    names += ["snappy-java", "metrics-core"] if peers else []
    jars = [JAVA_FOLDER / f"{name}.jar" for name in names]
    if not jars[0].exists() or shutil.which("java") is None:
        raise ServerMissing("zookeeper: run tests/kv_servers/install.sh")
    command = ["java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, jars))]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]
    return Server("zk", port, command, folder, address=address)


def _zookeeper_peers(peers: Sequence[str]) -> Iterator[str]:
    if peers:
        yield from ("initLimit=20", "syncLimit=6", "cnxTimeout=1000")
    for number, peer in enumerate(peers, 1):
        yield f"server.{number}={peer}:2888:3888"


STARTERS: Final[Mapping[str, Callable[..., Server]]] = {"consul": consul, "etcd": etcd, "zk": zookeeper}
"""By the word that `--cluster-store` has for each."""


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)


def _program(name: str) -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    unpacked = cache / "network-reconciler" / "kv-servers" / name
    found = str(unpacked) if unpacked.exists() else shutil.which(name)
    if found is None:
        raise ServerMissing(f"{name}: run tests/kv_servers/install.sh")
    return found


def _accepts(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
