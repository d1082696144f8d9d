"""What the rules let through, with real packets: docs/design/docker.md#isolation and #gateway-modes.

Each test that something is stopped first shows that it passes without our tables.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from reconciler.model.wanted import BridgeOptions, GatewayMode
from tests.fakes.desired import network
from tests.kernel.firewall_host import (
    BLOCKED_S,
    HOST,
    OUTSIDE,
    FirewallHost,
    address,
    converge,
    filter_bridged,
    firewall_host,
)
from tests.machine import Machine
from tests.waiting import patient

pytestmark = pytest.mark.kernel

FILTERING = pytest.mark.parametrize("is_filtered", [False, True], ids=["bridged", "br_netfilter"])
"""Whether the inet family sees bridged packets too: so it is where something loaded br_netfilter, as Docker does."""

VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


@pytest.fixture
def host(machine: Machine, host_ns: str, uplink: str) -> Iterator[FirewallHost]:
    filter_bridged(machine, is_filtered=False)
    with firewall_host(machine, host_ns, uplink) as host:
        yield host


def interfaces(net: int, number: int) -> tuple[str, str]:
    return f"172.30.{net}.{number}/24", f"fd30:{net}::{number}/64"


def add(
    host: FirewallHost, name: str, net: int, *, is_internal: bool = False, options: BridgeOptions | None = None
) -> None:
    """Add a network numbered `net` with two containers, `<name>1` and `<name>2`, whose addresses end in 11 and 12."""
    host.add_network(network(name, f"172.30.{net}.0/24", f"fd30:{net}::/64", is_internal=is_internal, options=options))
    for number in (1, 2):
        host.attach(f"{name}{number}", name, *interfaces(net, 10 + number))


@pytest.mark.quick
@FILTERING
@VERSIONS
def test_networks_are_isolated_from_each_other_and_from_outside(
    host: FirewallHost, version: int, is_filtered: bool
) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "a", 1)
    add(host, "b", 2)
    stopped = [("a1", "b1", address(version, 2, 11)), ("outside", "a1", address(version, 1, 11))]
    host.assert_reaches(*stopped)

    converge(host)

    host.assert_blocked(*stopped)
    host.assert_reaches(
        ("a1", "a2", address(version, 1, 12)),
        ("a1", "outside", OUTSIDE[version]),
        ("H", "a1", address(version, 1, 11)),
        ("a1", "H", address(version, 1, 1)),
        ("a1", "H", address(version, 2, 1)),
    )
    assert host.machine.ping("a1", OUTSIDE[version])


@FILTERING
@VERSIONS
def test_containers_cannot_reach_each_other_when_icc_is_off(
    host: FirewallHost, version: int, is_filtered: bool
) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "a", 1, options=BridgeOptions(is_icc_enabled=False))
    neighbour = ("a1", "a2", address(version, 1, 12))
    host.assert_reaches(neighbour)

    converge(host)

    host.assert_blocked(neighbour)
    host.assert_reaches(
        ("a1", "outside", OUTSIDE[version]), ("H", "a1", address(version, 1, 11)), ("a1", "H", address(version, 1, 1))
    )


@VERSIONS
def test_icc_off_holds_for_packets_sent_through_the_gateway(host: FirewallHost, version: int) -> None:
    add(host, "a", 1, options=BridgeOptions(is_icc_enabled=False))
    for number, other in ((1, 2), (2, 1)):
        length = 32 if version == 4 else 128
        prefix, gateway = f"{address(version, 1, 10 + other)}/{length}", address(version, 1, 1)
        host.machine.run("", "ip", "-n", f"a{number}", "route", "add", prefix, "via", gateway)
    host.machine.run("H", "sysctl", "-qw", "net.ipv4.conf.all.send_redirects=0")
    neighbour = ("a1", "a2", address(version, 1, 12))
    host.assert_reaches(neighbour)

    converge(host)

    host.assert_blocked(neighbour)


@FILTERING
@VERSIONS
def test_linked_containers_reach_exposed_ports_only(host: FirewallHost, version: int, is_filtered: bool) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "a", 1, options=BridgeOptions(is_icc_enabled=False))
    client, server = address(version, 1, 11), address(version, 1, 12)
    for protocol in ("tcp", "udp"):
        host.publish(f"links{version}", client, server, protocol, "8080", family="bridge")
        host.publish(f"links{version}", host.networks["a"].link_name, client, server, protocol, "8080")
    converge(host)

    with host.machine.tcp_server("a2", port=8080), host.machine.tcp_server("a2", port=8081):
        assert host.machine.tcp("a1", server, 8080) == client
        assert host.machine.tcp("a1", server, 8081, deadline_s=BLOCKED_S) is None
    with host.machine.udp_server("a2", "::", 8080):
        assert host.machine.udp("a1", server, 8080) == client
    with host.machine.tcp_server("a1", port=8080):
        assert host.machine.tcp("a2", client, 8080, deadline_s=BLOCKED_S) is None


@FILTERING
@VERSIONS
def test_internal_network_is_cut_off_but_for_neighbours_and_host(
    host: FirewallHost, version: int, is_filtered: bool
) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "i", 1, is_internal=True)
    add(host, "b", 2)
    stopped = [
        ("i1", "outside", OUTSIDE[version]),
        ("i1", "b1", address(version, 2, 11)),
        ("b1", "i1", address(version, 1, 11)),
        ("outside", "i1", address(version, 1, 11)),
    ]
    host.assert_reaches(*stopped)

    converge(host)

    host.assert_blocked(*stopped)
    host.assert_reaches(
        ("i1", "i2", address(version, 1, 12)),
        ("i1", "H", address(version, 1, 1)),
        ("H", "i1", address(version, 1, 11)),
    )


@VERSIONS
@pytest.mark.parametrize("direction", ["in", "out"])
def test_not_one_datagram_crosses_the_border_of_an_internal_network(
    host: FirewallHost, version: int, direction: str
) -> None:
    add(host, "i", 1, is_internal=True)
    ends = [("outside", OUTSIDE[version]), ("i1", address(version, 1, 11))]
    (source_ns, _), (target_ns, target) = ends if direction == "in" else reversed(ends)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with host.machine.inside(target_ns):
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    with host.machine.inside(source_ns):
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((target, 0))
        receiver.settimeout(patient(5))
        sender.sendto(b"before", receiver.getsockname())
        assert receiver.recv(100) == b"before"

        converge(host)
        receiver.settimeout(BLOCKED_S)
        sender.sendto(b"after", receiver.getsockname())

        with pytest.raises(TimeoutError):
            receiver.recv(100)


def test_internal_network_cuts_established_connections(host: FirewallHost) -> None:
    add(host, "i", 1, is_internal=True)

    with _connected(host, "i1", "outside", OUTSIDE[4]) as exchange:
        assert exchange()
        converge(host)
        assert not exchange()


def test_connection_from_inside_outlives_the_change_of_rules(host: FirewallHost) -> None:
    add(host, "a", 1, options=BridgeOptions(is_masquerade_enabled=False))

    with _connected(host, "a1", "outside", OUTSIDE[4]) as exchange:
        assert exchange()
        converge(host)
        assert exchange()


@VERSIONS
def test_outside_sees_the_host_address(host: FirewallHost, version: int) -> None:
    add(host, "a", 1)
    assert _seen_outside(host, "a1", version) == address(version, 1, 11)

    converge(host)

    assert _seen_outside(host, "a1", version) == HOST[version]


@VERSIONS
def test_outside_sees_the_container_when_masquerading_is_off(host: FirewallHost, version: int) -> None:
    add(host, "a", 1, options=BridgeOptions(is_masquerade_enabled=False))

    converge(host)

    assert _seen_outside(host, "a1", version) == address(version, 1, 11)


@VERSIONS
def test_outside_sees_the_source_address_chosen_for_the_network(host: FirewallHost, version: int) -> None:
    chosen = {4: "192.0.2.77", 6: "2001:db8::77"}
    host.machine.run("", "ip", "-n", "H", "address", "add", f"{chosen[version]}/24", "dev", "uplink0")
    options = BridgeOptions(host_ipv4=IPv4Address(chosen[4]), host_ipv6=IPv6Address(chosen[6]))
    add(host, "a", 1, options=options)
    add(host, "b", 2)

    converge(host)

    assert _seen_outside(host, "a1", version) == chosen[version]
    assert _seen_outside(host, "b1", version) == HOST[version]


@FILTERING
@VERSIONS
def test_neighbours_and_host_see_the_container_itself(host: FirewallHost, version: int, is_filtered: bool) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "a", 1)

    converge(host)

    for server, target in (("a2", address(version, 1, 12)), ("H", address(version, 1, 1))):
        with host.machine.tcp_server(server) as port:
            assert host.machine.tcp("a1", target, port) == address(version, 1, 11)


@VERSIONS
def test_unprotected_network_is_open_to_outside_and_translated(host: FirewallHost, version: int) -> None:
    mode = GatewayMode.NAT_UNPROTECTED
    add(host, "a", 1, options=BridgeOptions(gateway_mode_ipv4=mode, gateway_mode_ipv6=mode))
    add(host, "b", 2)

    converge(host)

    host.assert_reaches(("outside", "a1", address(version, 1, 11)))
    host.assert_blocked(("outside", "b1", address(version, 2, 11)), ("b1", "a1", address(version, 1, 11)))
    assert _seen_outside(host, "a1", version) == HOST[version]


@VERSIONS
def test_routed_network_shows_published_ports_and_answers_pings(host: FirewallHost, version: int) -> None:
    mode = GatewayMode.ROUTED
    add(host, "a", 1, options=BridgeOptions(gateway_mode_ipv4=mode, gateway_mode_ipv6=mode))
    target = address(version, 1, 11)
    host.publish(f"published_routed{version}", target, "tcp", "8080")

    converge(host)

    assert host.machine.ping("outside", target)
    with host.machine.tcp_server("a1", port=8080), host.machine.tcp_server("a1", port=8081):
        assert host.machine.tcp("outside", target, 8080) == OUTSIDE[version]
        assert host.machine.tcp("outside", target, 8081, deadline_s=BLOCKED_S) is None
    assert _seen_outside(host, "a1", version) == target


def test_gateway_modes_of_both_versions_are_independent(host: FirewallHost) -> None:
    add(host, "a", 1, options=BridgeOptions(gateway_mode_ipv6=GatewayMode.NAT_UNPROTECTED))

    converge(host)

    host.assert_reaches(("outside", "a1", address(6, 1, 11)))
    host.assert_blocked(("outside", "a1", address(4, 1, 11)))


@VERSIONS
def test_nat_network_does_not_answer_pings_from_outside(host: FirewallHost, version: int) -> None:
    add(host, "a", 1)
    assert host.machine.ping("outside", address(version, 1, 11))

    converge(host)

    assert not host.machine.ping("outside", address(version, 1, 11), deadline_s=1)


@FILTERING
@VERSIONS
@pytest.mark.parametrize("is_icc_enabled", [True, False], ids=["ICC", "no ICC"])
def test_published_port_is_reached_through_the_host_from_everywhere(
    host: FirewallHost, version: int, is_filtered: bool, is_icc_enabled: bool
) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "a", 1, options=BridgeOptions(is_icc_enabled=is_icc_enabled))
    add(host, "b", 2)
    target = address(version, 1, 11)
    _publish(host, version, target, "8000", "80", f"published_any{version}", "tcp", "8000")
    # br_netfilter translates before the bridge forwards, so the way back to oneself is out of the port that one came in by.
    host.machine.run("", "bridge", "-n", "H", "link", "set", "dev", host.endpoints[0].link_name, "hairpin", "on")

    converge(host)

    with host.machine.tcp_server("a1", port=80), host.machine.tcp_server("a1", port=81):
        seen = {client: host.machine.tcp(client, HOST[version], 8000) for client in ("outside", "H", "b1", "a2", "a1")}
        by_gateway = {client: host.machine.tcp(client, address(version, 1, 1), 8000) for client in ("a2", "a1")}
        assert (host.machine.tcp("a2", target, 80, deadline_s=BLOCKED_S) is not None) == is_icc_enabled
        assert host.machine.tcp("outside", target, 80, deadline_s=BLOCKED_S) is None
        assert host.machine.tcp("b1", target, 80, deadline_s=BLOCKED_S) is None
        assert host.machine.tcp("outside", HOST[version], 81, deadline_s=BLOCKED_S) is None
    gateway = address(version, 1, 1)
    # From its own network a container is seen as the gateway, as through the original's proxy.
    assert seen == {
        "outside": OUTSIDE[version],
        "H": HOST[version],
        "b1": gateway,
        "a2": gateway,
        "a1": gateway,
    }
    assert by_gateway == {"a2": gateway, "a1": gateway}


@FILTERING
@VERSIONS
def test_published_datagrams_are_answered_from_where_they_were_sent_to(
    host: FirewallHost, version: int, is_filtered: bool
) -> None:
    filter_bridged(host.machine, is_filtered=is_filtered)
    add(host, "a", 1)
    target = address(version, 1, 11)
    _publish(host, version, target, "5300", "53", f"published_any{version}", "udp", "5300", protocol="udp")

    converge(host)

    with host.machine.udp_server("a1", "::", 53):
        assert host.machine.udp("outside", HOST[version], 5300) == OUTSIDE[version]
        assert host.machine.udp("a2", HOST[version], 5300) == address(version, 1, 1)


@VERSIONS
def test_port_published_on_one_address_is_not_on_another(host: FirewallHost, version: int) -> None:
    other = {4: "192.0.2.77", 6: "2001:db8::77"}[version]
    host.machine.run("", "ip", "-n", "H", "address", "add", f"{other}/24", "dev", "uplink0")
    add(host, "a", 1)
    _publish(host, version, address(version, 1, 11), "8000", "80", f"published_host{version}", other, "tcp", "8000")

    converge(host)

    with host.machine.tcp_server("a1", port=80):
        assert host.machine.tcp("outside", other, 8000) == OUTSIDE[version]
        assert host.machine.tcp("outside", HOST[version], 8000, deadline_s=BLOCKED_S) is None


def test_port_published_on_loopback_is_reached_by_the_host_only(host: FirewallHost) -> None:
    add(host, "a", 1)
    bridge = host.networks["a"].link_name
    host.machine.run("H", "sysctl", "-qw", f"net.ipv4.conf.{bridge}.route_localnet=1")
    _publish(host, 4, address(4, 1, 11), "8000", "80", "published_host4", "127.0.0.1", "tcp", "8000")

    converge(host)

    with host.machine.tcp_server("a1", port=80):
        assert host.machine.tcp("H", "127.0.0.1", 8000) == address(4, 1, 1)
        assert host.machine.tcp("outside", HOST[4], 8000, deadline_s=BLOCKED_S) is None


def test_container_cannot_reach_the_loopback_of_the_host(host: FirewallHost) -> None:
    add(host, "a", 1)
    bridge = host.networks["a"].link_name
    host.machine.run("H", "sysctl", "-qw", f"net.ipv4.conf.{bridge}.route_localnet=1")
    host.machine.run("a1", "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    host.machine.run("", "ip", "-n", "a1", "route", "add", "127.0.0.1", "via", "172.30.1.1", "table", "100")
    host.machine.run("", "ip", "-n", "a1", "rule", "add", "pref", "0", "ipproto", "tcp", "table", "100")
    host.machine.run("", "ip", "-n", "a1", "rule", "add", "pref", "100", "table", "local")
    host.machine.run("", "ip", "-n", "a1", "rule", "del", "pref", "0", "table", "local")
    with host.machine.tcp_server("H", "127.0.0.1") as port:
        assert host.machine.tcp("a1", "127.0.0.1", port) == address(4, 1, 11)

        converge(host)

        assert host.machine.tcp("a1", "127.0.0.1", port, deadline_s=BLOCKED_S) is None


@VERSIONS
def test_trusted_interface_reaches_published_ports_directly(host: FirewallHost, version: int) -> None:
    add(host, "a", 1, options=BridgeOptions(trusted_host_interfaces=("uplink0",)))
    target = address(version, 1, 11)
    host.publish(f"published{version}", target, "tcp", "80")

    converge(host)

    with host.machine.tcp_server("a1", port=80), host.machine.tcp_server("a1", port=81):
        assert host.machine.tcp("outside", target, 80) == OUTSIDE[version]
        assert host.machine.tcp("outside", target, 81, deadline_s=BLOCKED_S) is None


def test_bridges_of_others_are_none_of_our_business(host: FirewallHost) -> None:
    add(host, "a", 1)
    add(host, "b", 2)
    add(host, "c", 3)
    del host.networks["c"]
    for made in host.endpoints:
        if made.network == "c":
            host.machine.run("", "ip", "-n", "H", "link", "set", made.link_name, "group", "default")
    host.endpoints = [made for made in host.endpoints if made.network != "c"]

    converge(host)

    host.assert_reaches(("b1", "c1", address(4, 3, 11)), ("outside", "c1", address(4, 3, 11)))
    host.assert_reaches(("c1", "c2", address(4, 3, 12)), ("c1", "outside", OUTSIDE[4]))
    assert _seen_outside(host, "c1", 4) == address(4, 3, 11)
    host.assert_blocked(("c1", "a1", address(4, 1, 11)))


def _publish(
    host: FirewallHost,
    version: int,
    target: str,
    published: str,
    port: str,
    set_name: str,
    *key: str,
    protocol: str = "tcp",
) -> None:
    host.publish(f"published{version}", target, protocol, port)
    host.publish(set_name, *key, value=f"{target} . {port}")


def _seen_outside(host: FirewallHost, client: str, version: int) -> str | None:
    with host.machine.tcp_server("outside") as port:
        return host.machine.tcp(client, OUTSIDE[version], port)


@contextlib.contextmanager
def _connected(host: FirewallHost, client_ns: str, server_ns: str, target: str) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether a byte still gets through one TCP connection, both ways."""
    with host.machine.inside(server_ns):
        listener = socket.create_server((target, 0))
    with host.machine.inside(client_ns):
        client = socket.create_connection(listener.getsockname(), timeout=patient(5))
    server, _ = listener.accept()

    def exchange() -> bool:
        for sender, receiver in ((client, server), (server, client)):
            receiver.settimeout(BLOCKED_S * 2)
            sender.sendall(b"x")
            try:
                receiver.recv(1)
            except TimeoutError:
                return False
        return True

    with listener, client, server:
        yield exchange
