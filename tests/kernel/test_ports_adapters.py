"""What the kernel tells of sockets and of tracked connections."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from reconciler.kernel.conntrack import TrackedConnection, forget_flows
from reconciler.kernel.nft import Nft
from reconciler.kernel.sockets import bound_sockets
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.observed import BoundSocket
from reconciler.model.wanted import PortWanted, WantedState
from reconciler.observe.ports import host_ports
from tests.kernel.engine import attachment
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize(
    ("address", "is_v6_only", "seen"),
    [
        ("0.0.0.0", False, IPv4Address(0)),
        ("127.0.0.1", False, IPv4Address("127.0.0.1")),
        ("::", False, None),
        ("::", True, IPv6Address(0)),
        ("::1", False, IPv6Address(1)),
        ("::ffff:127.0.0.1", False, IPv4Address("127.0.0.1")),
    ],
)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_bound_socket_is_seen(
    machine: Machine, host_ns: str, protocol: str, address: str, is_v6_only: bool, seen: object
) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with machine.inside(host_ns), socket.socket(family, kind) as bound:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_v6_only)
        bound.bind((address, 0))
        if protocol == "tcp":
            bound.listen()
        port = bound.getsockname()[1]

        assert list(bound_sockets()) == [BoundSocket(protocol=protocol, address=seen, port=port)]  # type: ignore[arg-type]


def test_socket_that_only_talks_to_somebody_holds_no_port(machine: Machine, host_ns: str) -> None:
    with (
        machine.inside(host_ns),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connected,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound_only,
    ):
        connected.connect(("127.0.0.1", 53))
        bound_only.bind(("127.0.0.1", 0))

        assert [found.port for found in bound_sockets()] == [server.getsockname()[1]]


def test_host_ports_are_read_when_somebody_publishes(machine: Machine, host_ns: str) -> None:
    web = attachment("web", ports=(PortWanted(target=(80, 80), published=(0, 0)),))
    machine.run(host_ns, "sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40100")
    machine.run(host_ns, "sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000,40005-40007")
    with machine.inside(host_ns), socket.create_server(("127.0.0.1", 0)) as server:
        found = host_ports(WantedState(networks=(), attachments=(web,)))

        assert (found.ephemeral, found.reserved) == ((40000, 40100), ((40000, 40000), (40005, 40007)))
        assert [bound.port for bound in found.sockets] == [server.getsockname()[1]]
        assert host_ports(WantedState(networks=(), attachments=())).sockets == ()


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_only_stale_connections_are_forgotten(machine: Machine, host_ns: str, uplink: str, version: int) -> None:
    host = {4: "192.0.2.1", 6: "2001:db8::1"}[version]
    track = "table inet t { chain i { type filter hook input priority 0; ct state new accept; }; }"
    with machine.inside(host_ns):
        with Nft() as nft:
            nft.run(track)
        ports = []
        for protocol in (machine.udp_server, machine.udp_server):
            with protocol(host_ns, host) as port:
                assert machine.udp(uplink, host, port)
                ports.append(port)
        seen: list[TrackedConnection] = []

        def is_stale(flow: TrackedConnection) -> bool:
            seen.append(flow)
            return flow.original.destination_port == ports[0]

        assert forget_flows(is_stale) >= 1
        assert {ports[0], ports[1]} <= {flow.original.destination_port for flow in seen}
        assert {flow.protocol for flow in seen if flow.original.destination_port in ports} == {"udp"}
        assert {flow.original.destination for flow in seen if flow.original.destination_port in ports} == {
            ip_address(host)
        }
        assert forget_flows(is_stale) == 0
        left = [flow for flow in seen if flow.original.destination_port == ports[1]]
        assert len(left) >= 2


def test_where_nothing_is_tracked_the_table_of_all_namespaces_is_not_walked(
    machine: Machine, host_ns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("10 ms for nothing")

    with machine.inside(host_ns):
        assert read_sysctl("net/netfilter/nf_conntrack_count") == "0"
        monkeypatch.setattr("reconciler.kernel.conntrack.RouteSocket", refuse)
        assert forget_flows(lambda _: True) == 0


def test_many_connections_are_forgotten_at_once(machine: Machine, host_ns: str, uplink: str) -> None:
    track = "table inet t { chain i { type filter hook input priority 0; ct state new accept; }; }"
    with machine.inside(host_ns), Nft() as nft:
        nft.run(track)
        with machine.inside(uplink), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as sender:
            for port in range(10000, 12000):
                sender.sendto(struct.pack(">HHHH", 5000, port, 8, 0), ("192.0.2.1", 0))

        assert forget_flows(lambda flow: 10000 <= flow.original.destination_port < 12000) == 2000
        assert forget_flows(lambda flow: 10000 <= flow.original.destination_port < 12000) == 0
