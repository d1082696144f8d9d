"""What the kernels of all hosts have, and what their sandboxes are told: read by other means than the product's own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import socket
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from reconciler.model.identifiers import OVERLAY_PREFIX, instance_id
from tests.cluster import ClusterHost
from tests.machine import Machine
from tests.waiting import patient

NETWORKS: Final = ("net", "auto")
_SIOCGIFADDR, _SIOCGIFHWADDR = 0x8915, 0x8927
_SO_NETNS_COOKIE: Final = 71
_SCOPE_GLOBAL: Final = "00"
_DNS: Final = ("127.0.0.11", 53)
_NO_SUCH: Final = (FileNotFoundError, ProcessLookupError)


class Endpoint(NamedTuple):
    """One that is there. addresses: of both families, as text."""

    host: str
    name: str
    network: str
    addresses: tuple[str, ...]
    mac: str


class Entries(NamedTuple):
    """What a host's part of a network leads elsewhere. forwarding: MAC and where it is; neighbours: address and MAC."""

    vni: int
    forwarding: frozenset[tuple[str, str]]
    neighbours: frozenset[tuple[str, str]]


def sandbox_of(host: str, attachment: str) -> str:
    return f"box-{host}-{attachment}"


def interface_of(network: str) -> str:
    """Name the link that every sandbox has on a network."""
    return f"{network}0"


def live_endpoints(machine: Machine) -> Iterator[Endpoint]:
    """Yield all endpoints with an address that any sandbox has; one that goes while it is looked at is left out."""
    for ns in machine.namespaces():
        match ns.split("-", 2):
            case ["box", host, name]:
                yield from endpoints_in(machine, host, name)


def endpoints_in(machine: Machine, host: str, name: str) -> list[Endpoint]:
    """Give what one sandbox has."""
    found = []
    with contextlib.suppress(*_NO_SUCH), machine.inside(sandbox_of(host, name)):
        ipv6 = _ipv6_addresses()
        for network in NETWORKS:
            ifname = interface_of(network)
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
                asked = struct.pack("16sH22x", ifname.encode(), socket.AF_INET)
                address = socket.inet_ntoa(fcntl.ioctl(door, _SIOCGIFADDR, asked)[20:24])
                mac = fcntl.ioctl(door, _SIOCGIFHWADDR, asked)[18:24].hex(":")
                found.append(Endpoint(host, name, network, (address, *ipv6.get(ifname, ())), mac))
    return found


def _ipv6_addresses() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with open("/proc/thread-self/net/if_inet6") as file:
        for address, _, _, scope, _, ifname in map(str.split, file):
            if scope == _SCOPE_GLOBAL:
                found.setdefault(ifname, []).append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)))
    return found


def overlays(machine: Machine, host: ClusterHost) -> dict[str, str]:
    """Give the namespaces of a host's overlay networks by the first digits of the network's id."""
    own = instance_id(str(host.reconcile.machine.state_dir.resolve()), host.name)[:8]
    names = (ns.removeprefix(OVERLAY_PREFIX).split("-") for ns in machine.namespaces() if ns.startswith(OVERLAY_PREFIX))
    return {id_: f"{OVERLAY_PREFIX}{id_}-{instance}" for id_, instance in names if instance == own}


def vni_in(machine: Machine, ns: str) -> int:
    """Give the VNI of a part of a network, 0 where there is none (yet)."""
    try:
        with machine.inside(ns):
            return _vni(machine, ns, _cookie(), socket.if_nametoindex("vxlan0"))
    except OSError:
        return 0


def _cookie() -> bytes:
    """Give the number of this network namespace, which no other ever has; its inode may be that of one that was before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        try:
            return door.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:  # before Linux 5.14
            return secrets.token_bytes(8)


@lru_cache(100)
def _vni(machine: Machine, ns: str, _cookie: bytes, ifindex: int) -> int:
    """A link has one VNI for as long as it is there."""
    done = machine.run("", "ip", "-n", ns, "-details", "-oneline", "link", "show", "vxlan0", check=False).stdout
    words = done.split()
    if "id" not in words:
        raise OSError(f"{ns} has no vxlan0 any more")
    return int(words[words.index("id") + 1])


def entries_in(machine: Machine, ns: str) -> Entries:
    neighbours = machine.ip_json(ns, "neighbour", "show", "dev", "vxlan0", "nud", "permanent")
    forwarding = _bridge_json(machine, ns, "fdb", "show", "dev", "vxlan0")
    return Entries(
        vni=vni_in(machine, ns),
        forwarding=frozenset((each["mac"], each["dst"]) for each in forwarding if "dst" in each),
        neighbours=frozenset((each["dst"], each["lladdr"]) for each in neighbours if "lladdr" in each),
    )


def _bridge_json(machine: Machine, ns: str, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(machine.run("", "bridge", "-n", ns, "-json", *arguments).stdout or "[]")
    return found


def asked(machine: Machine, sandbox: str, name: str) -> frozenset[str] | None:
    """Give the IPv4 addresses that the name server of a sandbox has for a name; none for an error, None without an answer."""
    number = secrets.token_bytes(2)
    labels = b"".join(bytes((len(label),)) + label for label in name.encode().split(b"."))
    question = number + struct.pack("!5H", 0x0100, 1, 0, 0, 0) + labels + struct.pack("!B2H", 0, 1, 1)
    with machine.inside(sandbox):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client:
        client.settimeout(patient(2))
        try:
            client.sendto(question, _DNS)
            answer = client.recv(4096)
        except (TimeoutError, ConnectionError):
            return None
    count = struct.unpack("!H", answer[6:8])[0]
    return frozenset(_addresses(answer, len(question), count))


def _addresses(answer: bytes, offset: int, count: int) -> Iterator[str]:
    """Read A records whose owners are pointers to the question's name."""
    for _ in range(count):
        kind, _, _, length = struct.unpack("!2HIH", answer[offset + 2 : offset + 12])
        if kind == 1:
            yield socket.inet_ntoa(answer[offset + 12 : offset + 16])
        offset += 12 + length
