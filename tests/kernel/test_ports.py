"""Published ports with real traffic: every form, from everywhere (docs/design/docker.md#published-ports)."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tests.command_line import Reconcile
from tests.kernel.firewall_host import BLOCKED_S, filter_bridged
from tests.machine import Machine
from tests.waiting import eventually, patient

pytestmark = pytest.mark.kernel

HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
OUTSIDE = {4: "192.0.2.2", 6: "2001:db8::2"}
GATEWAY = {4: "172.30.1.1", 6: "fd30:1::1"}
WEB = {4: "172.30.1.2", 6: "fd30:1::2"}
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
FILTERING = pytest.mark.parametrize("is_filtered", [False, True], ids=["bridged", "br_netfilter"])

NETWORKS = """
networks:
  front:
    enable_ipv6: true
    ipam: {config: [{subnet: 172.30.1.0/24}, {subnet: "fd30:1::/64"}]}
  back:
    enable_ipv6: true
    ipam: {config: [{subnet: 172.30.2.0/24}, {subnet: "fd30:2::/64"}]}
"""


def specs(web: str, networks: str = NETWORKS, more: str = "") -> str:
    """One attachment `web` with the given keys; `near` is on the same network, `far` on another one."""
    return f"""{networks}
attachments:
  web: {{networks: {{front: {{ipv4_address: {WEB[4]}, ipv6_address: "{WEB[6]}"}}}}, {web}}}
  near: {{networks: [front]}}
  far: {{networks: [back]}}
{more}"""


def shown_ports(machine: Machine, name: str = "web") -> dict[str, Any]:
    document = json.loads((machine.status_dir / "attachments" / f"{name}.json").read_text())
    found: dict[str, Any] = document[0]["NetworkSettings"]["Ports"]
    return found


def ready_message(machine: Machine, kind: str, name: str) -> str:
    return str(machine.summary()[kind][name]["conditions"][0]["message"])


def seen_from(
    machine: Machine, clients: Mapping[str, str], port: int, *, protocol: str = "tcp"
) -> dict[str, str | None]:
    """Give the address that the server saw of each client; clients: the address that each asks."""
    ask = machine.tcp if protocol == "tcp" else machine.udp
    return {client: ask(client, address, port, deadline_s=3) for client, address in clients.items()}


EVERYBODY = ("outside", "H", "far", "near", "web")


@pytest.mark.quick
@FILTERING
@VERSIONS
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_published_port_is_reached_from_everywhere(
    reconcile: Reconcile, machine: Machine, uplink: str, version: int, is_filtered: bool, protocol: str
) -> None:
    filter_bridged(machine, is_filtered=is_filtered)
    reconcile.write(a=specs(f'ports: ["8080:80/{protocol}"]'))
    reconcile.ok()

    serve = machine.tcp_server if protocol == "tcp" else machine.udp_server
    with serve("web", "::", port=80):
        seen = seen_from(machine, dict.fromkeys(EVERYBODY, HOST[version]), 8080, protocol=protocol)

    gateway = GATEWAY[version]
    assert seen == {
        "outside": OUTSIDE[version],
        "H": HOST[version],
        "far": gateway,
        "near": gateway,
        "web": gateway,
    }


@VERSIONS
def test_container_address_is_reached_by_neighbours_only(
    reconcile: Reconcile, machine: Machine, uplink: str, version: int
) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]'))
    reconcile.ok()
    route = {4: "172.30.0.0/16", 6: "fd30::/16"}[version]
    machine.run("", "ip", "-n", uplink, "route", "add", route, "via", HOST[version])

    with machine.tcp_server("web", port=80):
        assert machine.tcp("near", WEB[version], 80)
        assert machine.tcp("outside", WEB[version], 80, deadline_s=BLOCKED_S) is None
        assert machine.tcp("far", WEB[version], 80, deadline_s=BLOCKED_S) is None


@pytest.mark.parametrize(
    ("ports", "published"),
    [
        ('["8080:80"]', {8080: 80}),
        ("[{target: 80, published: 8080}]", {8080: 80}),
        ('[{target: 80, published: "8080-8089"}]', {8080: 80}),
        ('["8080-8082:80-82"]', {8080: 80, 8081: 81, 8082: 82}),
        ("[80]", {32768: 80}),
        ('["80-81"]', {32768: 80, 32769: 81}),
        ('["8080:80", "8081:80"]', {8080: 80, 8081: 80}),
        ('["192.0.2.1:8080:80"]', {8080: 80}),
    ],
    ids=["short", "long", "range to one", "range to range", "ephemeral", "ephemeral range", "twice", "address"],
)
def test_each_form_is_reached_from_outside(
    reconcile: Reconcile, machine: Machine, uplink: str, ports: str, published: dict[int, int]
) -> None:
    reconcile.write(a=specs(f"ports: {ports}"))
    reconcile.ok()

    for host_port, target in published.items():
        with machine.tcp_server("web", port=target):
            assert machine.tcp("outside", HOST[4], host_port) == OUTSIDE[4]
    unpublished = max(published) + 1
    with machine.tcp_server("web", port=unpublished):
        assert machine.tcp("outside", HOST[4], unpublished, deadline_s=BLOCKED_S) is None


@VERSIONS
def test_port_of_one_address_is_not_on_another(
    reconcile: Reconcile, machine: Machine, uplink: str, version: int
) -> None:
    other = {4: "192.0.2.77", 6: "2001:db8::77"}[version]
    machine.run("", "ip", "-n", "H", "address", "add", f"{other}/24", "dev", "uplink0")
    host_ip = other if version == 4 else f"[{other}]"
    reconcile.write(a=specs(f'ports: ["{host_ip}:8080:80"]'))
    reconcile.ok()

    with machine.tcp_server("web", port=80):
        assert machine.tcp("outside", other, 8080) == OUTSIDE[version]
        assert machine.tcp("near", other, 8080) == GATEWAY[version]
        assert machine.tcp("outside", HOST[version], 8080, deadline_s=BLOCKED_S) is None


@FILTERING
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_port_on_loopback_is_reached_by_the_host_alone(
    reconcile: Reconcile, machine: Machine, uplink: str, is_filtered: bool, protocol: str
) -> None:
    filter_bridged(machine, is_filtered=is_filtered)
    reconcile.write(a=specs(f'ports: ["127.0.0.1:8080:80/{protocol}"]'))
    reconcile.ok()

    serve = machine.tcp_server if protocol == "tcp" else machine.udp_server
    with serve("web", "::", port=80):
        assert seen_from(machine, {"H": "127.0.0.1"}, 8080, protocol=protocol) == {"H": GATEWAY[4]}
        ask = machine.tcp if protocol == "tcp" else machine.udp
        for client in ("outside", "far", "near"):
            assert ask(client, HOST[4], 8080, deadline_s=BLOCKED_S) is None


@pytest.mark.parametrize("host_ip", ["127.0.0.1:", ""], ids=["loopback", "all addresses"])
def test_neighbour_that_sends_to_the_loopback_address_is_not_let_in(
    reconcile: Reconcile, machine: Machine, uplink: str, host_ip: str
) -> None:
    """The translation comes before the kernel's own check of where such an address may come from."""
    reconcile.write(a=specs(f'ports: ["{host_ip}8080:80"]'))
    reconcile.ok()
    machine.run(uplink, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    machine.run("", "ip", "-n", uplink, "route", "flush", "table", "local", "127.0.0.0/8")
    machine.run(
        "", "ip", "-n", uplink, "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local", check=False
    )
    machine.run("", "ip", "-n", uplink, "route", "add", "127.0.0.1", "via", HOST[4], "src", OUTSIDE[4])
    assert "via 192.0.2.1" in machine.run("", "ip", "-n", uplink, "route", "get", "127.0.0.1").stdout

    with machine.tcp_server("web", port=80):
        assert machine.tcp("H", "127.0.0.1", 8080) == GATEWAY[4]
        assert machine.tcp("outside", "127.0.0.1", 8080, deadline_s=BLOCKED_S) is None


def test_port_on_all_addresses_is_reached_at_loopback_too(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]'))
    reconcile.ok()

    with machine.tcp_server("web", port=80):
        assert machine.tcp("H", "127.0.0.1", 8080) == GATEWAY[4]


def test_container_does_not_reach_the_host_s_own_loopback(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    """Publishing there opens the bridge to loopback addresses, but to nobody but the host."""
    reconcile.write(a=specs('ports: ["127.0.0.1:8080:80"]'))
    reconcile.ok()
    machine.run("near", "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    machine.run(
        "", "ip", "-n", "near", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local", check=False
    )
    machine.run(
        "", "ip", "-n", "near", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local", check=False
    )
    machine.run("", "ip", "-n", "near", "route", "add", "127.0.0.1", "via", GATEWAY[4])

    with machine.tcp_server("H", "127.0.0.1") as port, machine.tcp_server("web", port=80):
        assert machine.tcp("near", "127.0.0.1", port, deadline_s=BLOCKED_S) is None
        assert machine.tcp("near", "127.0.0.1", 8080, deadline_s=BLOCKED_S) is None


def test_bridge_closes_to_loopback_when_its_last_port_is_withdrawn(reconcile: Reconcile, machine: Machine) -> None:
    def setting() -> str:
        (route,) = machine.ip_json("H", "route", "show", "172.30.1.0/24")
        return machine.run("H", "sysctl", "-n", f"net.ipv4.conf.{route['dev']}.route_localnet").stdout.strip()

    reconcile.write(a=specs("hostname: web"))
    reconcile.ok()
    assert setting() == "0"

    reconcile.write(a=specs('ports: ["8080:80"]'))
    reconcile.ok()
    assert setting() == "1"

    reconcile.write(a=specs("hostname: web"))
    reconcile.ok()
    assert setting() == "0"
    assert reconcile("--dry-run", "--detailed-exitcode").exit_code == 0


def test_network_says_on_which_address_ports_are_published(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    options = 'driver_opts: {com.docker.network.bridge.host_binding_ipv4: "127.0.0.1"}'
    reconcile.write(a=specs('ports: ["8080:80"]', NETWORKS.replace("front:\n", f"front:\n    {options}\n")))
    reconcile.ok()

    with machine.tcp_server("web", port=80):
        assert machine.tcp("H", "127.0.0.1", 8080) == GATEWAY[4]
        assert machine.tcp("outside", HOST[4], 8080, deadline_s=BLOCKED_S) is None
    assert shown_ports(machine) == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}


def test_ports_move_with_the_default_route(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    def both(priority: int) -> str:
        web = f"  web: {{networks: {{front: {{}}, back: {{priority: {priority}}}}}, ports: ['8080:80']}}"
        return f"{NETWORKS}\nattachments:\n{web}\n"

    reconcile.write(a=both(-1))
    reconcile.ok()
    with machine.tcp_server("web", port=80):
        assert machine.tcp("outside", HOST[4], 8080) == OUTSIDE[4]
        assert machine.tcp("web", HOST[4], 8080) == GATEWAY[4]

    reconcile.write(a=both(1))
    reconcile.ok()
    with machine.tcp_server("web", port=80):
        assert machine.tcp("outside", HOST[4], 8080) == OUTSIDE[4]
        assert machine.tcp("web", HOST[4], 8080) == "172.30.2.1"


def test_internal_network_publishes_nothing_and_says_so(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]', NETWORKS.replace("front:\n", "front:\n    internal: true\n")))
    ran = reconcile.ok()

    with machine.tcp_server("web", port=80):
        assert machine.tcp("outside", HOST[4], 8080, deadline_s=BLOCKED_S) is None
    assert shown_ports(machine) == {}
    assert "no port is published" in ran.stderr
    assert "no port is published" in ready_message(machine, "attachments", "web")


def test_routed_network_is_reached_at_the_container(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    options = "driver_opts: {com.docker.network.bridge.gateway_mode_ipv4: routed}"
    reconcile.write(a=specs('ports: ["8080:80"]', NETWORKS.replace("front:\n", f"front:\n    {options}\n")))
    reconcile.ok()
    machine.run("", "ip", "-n", uplink, "route", "add", "172.30.1.0/24", "via", HOST[4])

    with machine.tcp_server("web", port=80), machine.tcp_server("web", port=81):
        assert machine.tcp("outside", WEB[4], 80) == OUTSIDE[4]
        assert machine.tcp("far", WEB[4], 80) == GATEWAY[4]
        assert machine.tcp("outside", WEB[4], 81, deadline_s=BLOCKED_S) is None
        assert machine.tcp("outside", HOST[4], 8080, deadline_s=BLOCKED_S) is None
        assert machine.tcp("outside", HOST[6], 8080) == OUTSIDE[6]
    assert shown_ports(machine)["80/tcp"] == [
        {"HostIp": "0.0.0.0", "HostPort": ""},
        {"HostIp": "::", "HostPort": "8080"},
    ]


def test_ports_show_as_docker_shows_them(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs('ports: ["8080:80", "8081:80", "127.0.0.1:9090:90/udp", "443"], expose: ["99", "53/udp"]'))
    reconcile.ok()

    def both(host_port: str) -> list[dict[str, str]]:
        return [{"HostIp": "0.0.0.0", "HostPort": host_port}, {"HostIp": "::", "HostPort": host_port}]

    ipv4, ipv6 = zip(both("8080"), both("8081"), strict=True)
    assert list(shown_ports(machine).items()) == [
        ("443/tcp", both("32768")),
        ("53/udp", None),
        ("80/tcp", [*ipv4, *ipv6]),
        ("90/udp", [{"HostIp": "127.0.0.1", "HostPort": "9090"}]),
        ("99/tcp", None),
    ]
    document = json.loads((machine.status_dir / "attachments" / "web.json").read_text())[0]
    assert document["HostConfig"]["PortBindings"] == {
        "443/tcp": [{"HostIp": "", "HostPort": ""}],
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "", "HostPort": "8081"}],
        "90/udp": [{"HostIp": "127.0.0.1", "HostPort": "9090"}],
    }


def test_pass_with_published_ports_has_nothing_to_do_afterwards(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs('ports: ["8080:80", "80", "8000-8100:8000-8100/udp"]'))
    reconcile.ok()
    before = {path: path.stat().st_mtime_ns for path in machine.status_dir.rglob("*.json")}

    assert reconcile("--dry-run", "--detailed-exitcode").exit_code == 0
    reconcile.ok()

    assert {path: path.stat().st_mtime_ns for path in machine.status_dir.rglob("*.json")} == before


@pytest.mark.parametrize("lost", ["kernel", "store"])
def test_ephemeral_port_is_kept(reconcile: Reconcile, machine: Machine, lost: str) -> None:
    """After a restart of the machine the store knows it, after a loss of the store the firewall."""
    reconcile.write(a=specs('ports: ["80"]', more='  aaa: {networks: [back], ports: ["81"]}'))
    reconcile.ok()
    kept = shown_ports(machine)
    assert kept["80/tcp"][0]["HostPort"] == "32769"

    if lost == "kernel":
        machine.run("H", "nft", "flush", "ruleset")
    else:
        for path in machine.state_dir.glob("state.db*"):
            path.unlink()
    reconcile.write(a=specs('ports: ["80"]'))
    reconcile.ok()

    assert shown_ports(machine) == kept


def test_conflict_of_two_attachments_is_a_fault_with_both_places(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]', more='  other: {networks: [back], ports: ["192.0.2.1:8080:81"]}'))

    ran = reconcile()

    assert ran.exit_code == 65
    (line,) = (line for line in ran.stderr.splitlines() if "port is already allocated" in line)
    assert "a.yaml:14:37: Bind for 192.0.2.1:8080 failed: port is already allocated by attachment 'web' at " in line
    assert line.endswith("a.yaml:11:3")
    assert not (machine.status_dir / "attachments" / "web.json").exists()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "127.0.0.1"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_socket_of_the_host_fails_that_attachment_before_anything_is_made(
    reconcile: Reconcile, machine: Machine, uplink: str, address: str, protocol: str
) -> None:
    reconcile.write(a=specs(f'ports: ["8080:80/{protocol}"]'))
    serve = machine.tcp_server if protocol == "tcp" else machine.udp_server
    with serve("H", address, port=8080):
        ran = reconcile()

        assert ran.exit_code == 1
        assert "Bind for 0.0.0.0:8080 failed: port is already allocated: a process of this host" in ran.stderr
        assert "web" not in machine.namespaces()
        assert "far" in machine.namespaces()

    reconcile.ok()
    with machine.tcp_server("web", port=80) if protocol == "tcp" else machine.udp_server("web", "::", 80):
        assert seen_from(machine, {"outside": HOST[4]}, 8080, protocol=protocol) == {"outside": OUTSIDE[4]}


def test_socket_bound_after_publishing_takes_nothing_away(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]'))
    reconcile.ok()

    with machine.tcp_server("H", "0.0.0.0", port=8080), machine.tcp_server("web", port=80):
        reconcile.ok()
        assert machine.tcp("H", HOST[4], 8080) == HOST[4]
        assert machine.tcp("outside", HOST[4], 8080) == OUTSIDE[4]


def test_ephemeral_port_passes_over_sockets_and_reserved_ports(reconcile: Reconcile, machine: Machine) -> None:
    machine.run("H", "sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40010")
    machine.run("H", "sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000-40001,40003")
    reconcile.write(a=specs('ports: ["80"]'))
    with machine.tcp_server("H", port=40002):
        reconcile.ok()

    assert shown_ports(machine)["80/tcp"][0]["HostPort"] == "40004"


class Sender:
    """A peer that keeps sending datagrams from one port, as a SIP phone or a game does."""

    def __init__(self, machine: Machine, ns: str, target: tuple[str, int]) -> None:
        with machine.inside(ns):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0.2)
        self._target = target

    def is_answered(self) -> bool:
        self._socket.sendto(b"who am I?", self._target)
        try:
            return bool(self._socket.recv(100))
        except OSError:
            return False

    def close(self) -> None:
        self._socket.close()


def test_datagrams_follow_a_port_to_another_attachment(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(a=specs('ports: ["5300:53/udp"]'))
    reconcile.ok()
    sender = Sender(machine, "outside", (HOST[4], 5300))
    with machine.udp_server("web", "0.0.0.0", 53):
        assert eventually(sender.is_answered)

    reconcile.write(
        a=specs("hostname: web").replace("far: {networks: [back]}", "far: {networks: [back], ports: ['5300:53/udp']}")
    )
    reconcile.ok()

    with machine.udp_server("far", "0.0.0.0", 53):
        assert eventually(sender.is_answered)
    sender.close()


def test_withdrawn_port_ends_connections_at_once(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(a=specs('ports: ["8080:80", "5300:53/udp"]'))
    reconcile.ok()
    sender = Sender(machine, "outside", (HOST[4], 5300))
    with machine.udp_server("web", "0.0.0.0", 53):
        assert eventually(sender.is_answered)
        reconcile.write(a=specs('ports: ["8080:80"]'))
        reconcile.ok()
        assert not any(sender.is_answered() for _ in range(3))
    sender.close()


def test_datagrams_that_the_host_got_reach_the_attachment_once_it_publishes(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(a=specs("hostname: web"))
    reconcile.ok()
    sender = Sender(machine, "outside", (HOST[4], 5300))
    with machine.udp_server("H", "0.0.0.0", 5300):
        assert eventually(sender.is_answered)

    reconcile.write(a=specs('ports: ["5300:53/udp"]'))
    reconcile.ok()

    with machine.udp_server("web", "0.0.0.0", 53):
        assert eventually(sender.is_answered)
    sender.close()


def test_datagrams_follow_a_published_attachment_to_another_address(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(a=specs('ports: ["5300:53/udp"]'))
    reconcile.ok()
    sender = Sender(machine, "outside", (HOST[4], 5300))
    with machine.udp_server("web", "0.0.0.0", 53):
        assert eventually(sender.is_answered)

    reconcile.write(a=specs('ports: ["5300:53/udp"]').replace(WEB[4], "172.30.1.77"))
    reconcile.ok()

    with machine.udp_server("web", "0.0.0.0", 53):
        assert eventually(sender.is_answered)
    sender.close()


def test_connection_through_an_unchanged_port_outlives_a_change_beside_it(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]'))
    reconcile.ok()
    with machine.inside("web"):
        listener = socket.create_server(("0.0.0.0", 80))
    with machine.inside("outside"):
        client = socket.create_connection((HOST[4], 8080), timeout=patient(5))
    server, _ = listener.accept()
    with listener, client, server:
        reconcile.write(a=specs('ports: ["8080:80", "8081:81"]', more='  x: {networks: [front], ports: ["9:9"]}'))
        reconcile.ok()

        server.settimeout(patient(5))
        client.sendall(b"still here")
        assert server.recv(100) == b"still here"


def test_sctp_port_is_translated(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    """By hand, as this kernel has no SCTP sockets."""
    reconcile.write(a=specs('ports: ["9900:99/sctp"]'))
    reconcile.ok()
    with machine.inside("web"):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with machine.inside("outside"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with receiver, sender:
        receiver.settimeout(patient(5))
        sender.sendto(sctp_init(source=5000, destination=9900), (HOST[4], 0))
        packet, (source, _) = receiver.recvfrom(2048)

    assert source == OUTSIDE[4]
    header = (packet[0] & 15) * 4
    assert struct.unpack_from(">HH", packet, header) == (5000, 99)


def sctp_init(*, source: int, destination: int) -> bytes:
    """Give a packet with one INIT chunk (RFC 9260, sections 3.1 and 3.3.2)."""
    chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
    header = struct.pack(">HHI", source, destination, 0)
    return header + struct.pack("<I", crc32c(header + bytes(4) + chunk)) + chunk


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_firewalld_is_told_by_its_table(reconcile: Reconcile, machine: Machine) -> None:
    """Its chains accept by policy, and their last rule refuses."""
    chain = "type filter hook forward priority 10; policy accept; reject with icmpx type admin-prohibited;"
    machine.run("H", "nft", "-f", "-", stdin=f"table inet firewalld {{ chain filter_FORWARD {{ {chain} }}; }}")
    reconcile.write(a=specs('ports: ["8080:80"]'))

    reconcile.ok()

    assert "inet firewalld filter_FORWARD" in ready_message(machine, "networks", "front")


def test_foreign_forward_drop_is_told_and_left_alone(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    foreign = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }"
    machine.run("H", "nft", "-f", "-", stdin=foreign)
    before = machine.run("H", "nft", "list", "table", "ip", "filter").stdout
    reconcile.write(a=specs('ports: ["8080:80"]'))

    ran = reconcile.ok()

    assert "ip filter FORWARD" in ran.stderr
    assert "ip filter FORWARD" in ready_message(machine, "networks", "front")
    assert ready_message(machine, "networks", "none") == "as declared"
    assert machine.run("H", "nft", "list", "table", "ip", "filter").stdout == before
    with machine.tcp_server("web", port=80):
        assert machine.tcp("outside", HOST[4], 8080, deadline_s=BLOCKED_S) is None
        machine.run("H", "nft", "add", "rule", "ip", "filter", "FORWARD", "accept")
        assert machine.tcp("outside", HOST[4], 8080) == OUTSIDE[4]

    machine.run("H", "nft", "delete", "table", "ip", "filter")
    reconcile.ok()
    assert ready_message(machine, "networks", "front") == "as declared"


def test_rules_of_others_that_accept_by_policy_are_not_mentioned(
    reconcile: Reconcile, machine: Machine, uplink: str
) -> None:
    foreign = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy accept; }; }"
    machine.run("H", "nft", "-f", "-", stdin=foreign)
    reconcile.write(a=specs('ports: ["8080:80"]'))

    reconcile.ok()

    assert ready_message(machine, "networks", "front") == "as declared"


def test_down_takes_ports_away(reconcile: Reconcile, machine: Machine, uplink: str) -> None:
    reconcile.write(a=specs('ports: ["8080:80"]'))
    reconcile.ok()

    reconcile.ok("down")

    assert machine.run("H", "nft", "list", "tables").stdout == ""
    with machine.tcp_server("H", HOST[4], port=8080):
        assert machine.tcp("outside", HOST[4], 8080) == OUTSIDE[4]
