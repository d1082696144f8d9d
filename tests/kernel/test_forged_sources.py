"""Nobody sends as somebody else: what root in a sandbox, or a machine on the host's link, gains by a forged source.

Connection tracking makes an entry of a forged packet, and then takes the forger's own packets for replies. So each attack sends
both, and what must not arrive is the second one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from reconciler.model.identifiers import bridge_mac, link_local
from reconciler.model.wanted import BridgeOptions
from tests.fakes.desired import network
from tests.kernel import frames
from tests.kernel.firewall_host import BLOCKED_S, HOST, OUTSIDE, FirewallHost, address, converge, firewall_host
from tests.kernel.frames import PROTOCOLS, arp, arrivals, frame, link_mac, neighbour_message, packet, send
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
RP_FILTERS = {4: (0, 1, 2), 6: (0,)}
"""`rp_filter` (ip-sysctl.rst); IPv6 has none."""
FOREIGN_PORT, OWN_PORT = 80, 4000
EVERYBODY = "33:33:00:00:00:01"


@pytest.fixture
def host(machine: Machine, host_ns: str, uplink: str) -> Iterator[FirewallHost]:
    with firewall_host(machine, host_ns, uplink) as host:
        yield host


def add(host: FirewallHost, name: str, net: int, options: BridgeOptions | None = None, members: int = 2) -> None:
    """Add a network numbered `net` with members whose addresses end in 11, 12, ..."""
    host.add_network(network(name, f"172.30.{net}.0/24", f"fd30:{net}::/64", options=options))
    for number in range(1, members + 1):
        host.attach(f"{name}{number}", name, f"172.30.{net}.{10 + number}/24", f"fd30:{net}::{10 + number}/64")
    for made in host.endpoints:
        _keep_silent(host.machine, made.attachment)


def _keep_silent(machine: Machine, ns: str) -> None:
    """Drop resets: a forger does not let his own kernel end the connection."""
    rules = "table inet silent { chain output { type filter hook output priority 0; tcp flags & rst == rst drop; }; }"
    machine.run(ns, "nft", rules)


def set_rp_filter(machine: Machine, value: int) -> None:
    with machine.inside("H"):
        for path in Path("/proc/thread-self/net/../../../sys/net/ipv4/conf").glob("*/rp_filter"):
            path.write_text(str(value))


def mac_of(host: FirewallHost, name: str) -> str:
    return next(made.mac for made in host.endpoints if made.attachment == name)


def gateway_mac(host: FirewallHost, name: str) -> str:
    return bridge_mac(host.networks[name].id)


def token(protocol: str) -> bytes:
    return f"<honest {protocol}>".encode()


def seen_protocols(
    host: FirewallHost, ns: str, attack: Iterable[bytes], sender: tuple[str, str], ifname: str = "eth0"
) -> set[str]:
    """Send the frames and give the protocols whose second packet came to `ns`."""
    with arrivals(host.machine, ns, ifname) as wait:
        send(host.machine, *sender, *attack)
        got = wait(BLOCKED_S)
    return {protocol for protocol in PROTOCOLS if any(token(protocol) in each for each in got)}


def attack(own_mac: str, router_mac: str, claimed: str, own: str, *targets: str) -> Iterator[bytes]:
    """Send as `claimed` to oneself, then as oneself to each of `targets`, in every protocol."""
    for protocol in PROTOCOLS:
        forged = packet(protocol, claimed, own, (FOREIGN_PORT, OWN_PORT), b"forged")
        yield frame(own_mac, router_mac, forged)
    for protocol in PROTOCOLS:
        for target in targets:
            answer = packet(protocol, own, target, (OWN_PORT, FOREIGN_PORT), token(protocol), is_answer=True)
            yield frame(own_mac, router_mac, answer)


@VERSIONS
@pytest.mark.parametrize("is_validated", [True, False], ids=["validated", "any-source"])
def test_between_networks(host: FirewallHost, version: int, is_validated: bool) -> None:
    """Where a network's sources are not checked, isolation still does not hang on connection tracking."""
    add(host, "a", 1, BridgeOptions(is_source_validated=is_validated))
    add(host, "b", 2)
    victim = address(version, 2, 11)
    forged = list(attack(mac_of(host, "a1"), gateway_mac(host, "a"), victim, address(version, 1, 11), victim))
    set_rp_filter(host.machine, 0)
    assert eventually(lambda: seen_protocols(host, "b1", forged, ("a1", "eth0")) == set(PROTOCOLS))
    host.publish(f"published{version}", address(version, 1, 11), "tcp", str(OWN_PORT))
    host.publish(f"published_any{version}", "tcp", "8080", value=f"{address(version, 1, 11)} . {OWN_PORT}")

    converge(host)

    by_port = packet("tcp", victim, HOST[version], (FOREIGN_PORT, 8080), b"forged")
    forged.insert(0, frame(mac_of(host, "a1"), gateway_mac(host, "a"), by_port))
    for value in RP_FILTERS[version]:
        set_rp_filter(host.machine, value)
        assert seen_protocols(host, "b1", forged, ("a1", "eth0")) == set(), f"rp_filter {value}"


@VERSIONS
@pytest.mark.parametrize("is_translated", [True, False], ids=["published", "routed"])
def test_nobody_answers_a_neighbour_for_what_was_forged_in_its_name(
    host: FirewallHost, version: int, is_translated: bool
) -> None:
    """Who may send as anybody has no port of another network tell a third one what it did not ask for."""
    add(host, "a", 1, BridgeOptions(is_source_validated=False))
    add(host, "b", 2, members=1)
    add(host, "c", 3, members=1)
    victim, server = address(version, 2, 11), address(version, 3, 11)
    asked, at = (HOST[version], 8080) if is_translated else (server, FOREIGN_PORT)
    forged = packet("tcp", victim, asked, (OWN_PORT, at), b"")
    answer = b"".join(ip_address(each).packed for each in (asked, victim)) + at.to_bytes(2) + OWN_PORT.to_bytes(2)
    set_rp_filter(host.machine, 0)
    name = "published" if is_translated else "published_routed"
    host.publish(f"{name}{version}", server, "tcp", str(FOREIGN_PORT))
    if is_translated:
        host.publish(f"published_any{version}", "tcp", str(at), value=f"{server} . {FOREIGN_PORT}")
    converge(host)

    def is_answered() -> bool:
        with host.machine.tcp_server("c1", port=FOREIGN_PORT), arrivals(host.machine, "b1", "eth0") as wait:
            send(host.machine, "a1", "eth0", frame(mac_of(host, "a1"), gateway_mac(host, "a"), forged))
            return any(answer in _without_options(each, version) for each in wait(BLOCKED_S))

    assert not is_answered()
    for rule in ("ct status dnat jump others", "jump others"):
        _delete_rule(host.machine, rule)
    assert eventually(is_answered), "nothing but these rules stopped it"


def _without_options(content: bytes, version: int) -> bytes:
    """Return addresses and what follows the header: IPv4's stand at its end, IPv6's too."""
    return content[14 + (12 if version == 4 else 8) :]


def _delete_rule(machine: Machine, text: str) -> None:
    listed = machine.run("H", "nft", "-a", "list", "chain", "inet", "reconciler", "forward").stdout
    handle = next(line.rpartition(" ")[2] for line in listed.splitlines() if f"@any_source {text}" in line)
    machine.run("H", "nft", "delete", "rule", "inet", "reconciler", "forward", "handle", handle)


@VERSIONS
@pytest.mark.parametrize("is_masqueraded", [True, False], ids=["masqueraded", "as-it-is"])
def test_from_outside_to_unpublished_ports(host: FirewallHost, version: int, is_masqueraded: bool) -> None:
    add(host, "a", 1, BridgeOptions(is_masquerade_enabled=is_masqueraded))
    machine, own = host.machine, OUTSIDE[version]
    _keep_silent(machine, "outside")
    victim = address(version, 1, 11)
    ends = link_mac(machine, "outside", "downlink0"), link_mac(machine, "H", "uplink0")
    forged = list(attack(*ends, victim, own, victim, HOST[version]))
    set_rp_filter(host.machine, 0)
    assert eventually(lambda: seen_protocols(host, "a1", forged, ("outside", "downlink0")) == set(PROTOCOLS))

    converge(host)

    for value in RP_FILTERS[version]:
        set_rp_filter(host.machine, value)
        assert seen_protocols(host, "a1", forged, ("outside", "downlink0")) == set(), f"rp_filter {value}"


@VERSIONS
def test_on_one_bridge(host: FirewallHost, version: int) -> None:
    """Neither a neighbour's address, nor its MAC address, nor the gateway's, to the host or to another neighbour."""
    add(host, "a", 1, members=3)
    own, fellow, gateway = mac_of(host, "a1"), mac_of(host, "a2"), gateway_mac(host, "a")
    claims = [(own, address(version, 1, 12)), (fellow, address(version, 1, 12)), (own, address(version, 1, 1))]
    claims += [(fellow, address(version, 1, 11)), (own, OUTSIDE[version]), (own, address(version, 1, 77))]
    for value in RP_FILTERS[version]:
        set_rp_filter(host.machine, value)
        for target, to_mac, ns, ifname in (
            (address(version, 1, 1), gateway, "H", host.networks["a"].link_name),
            (address(version, 1, 13), mac_of(host, "a3"), "a3", "eth0"),
        ):
            is_guarded = bool(host.plan().operations == ())
            for mac, claimed in claims if is_guarded else claims[:1]:
                sent = [
                    frame(mac, to_mac, packet(protocol, claimed, target, (OWN_PORT, FOREIGN_PORT), token(protocol)))
                    for protocol in PROTOCOLS
                ]
                expected = set() if is_guarded else set(PROTOCOLS)
                assert seen_protocols(host, ns, sent, ("a1", "eth0"), ifname) == expected, (value, mac, claimed, ns)
        converge(host)


def test_nobody_tells_neighbours_what_is_not_his_to_tell(host: FirewallHost) -> None:
    add(host, "a", 1, members=3)
    own, gateway = mac_of(host, "a1"), gateway_mac(host, "a")
    own6, own_local = address(6, 1, 11), str(link_local(own))
    fellow6, fellow_local, gateway_local = address(6, 1, 12), link_local(mac_of(host, "a2")), link_local(gateway)
    below_tags = packet("udp", address(4, 1, 12), address(4, 1, 13), (1, 2), b"forged")
    converge(host)

    fine = {
        "ARP": frame(own, frames.BROADCAST, arp(own, address(4, 1, 11), address(4, 1, 13))),
        "ARP probe": frame(own, frames.BROADCAST, arp(own, "0.0.0.0", address(4, 1, 11))),
        "gratuitous ARP": frame(own, frames.BROADCAST, arp(own, address(4, 1, 11), address(4, 1, 11), is_reply=True)),
        "DAD": frame(own, EVERYBODY, neighbour_message(135, "::", "ff02::1", own6)),
        "DAD of a link-local address": frame(own, EVERYBODY, neighbour_message(135, "::", "ff02::1", own_local)),
        "DAD of one that is like no MAC": frame(own, EVERYBODY, neighbour_message(135, "::", "ff02::1", "fe80::a:b")),
        "solicitation": frame(own, EVERYBODY, neighbour_message(135, own6, "ff02::1", address(6, 1, 13), own)),
        "advertisement": frame(own, EVERYBODY, neighbour_message(136, own6, "ff02::1", own6, own)),
        "advertisement of fe80::": frame(own, EVERYBODY, neighbour_message(136, own_local, "ff02::1", own_local, own)),
        "another protocol": frame(own, frames.BROADCAST, b"LLC", 0x88B5),
    }
    forged = {
        "ARP as a neighbour": frame(
            own, frames.BROADCAST, arp(own, address(4, 1, 12), address(4, 1, 13), is_reply=True)
        ),
        "ARP as the gateway": frame(own, frames.BROADCAST, arp(own, address(4, 1, 1), address(4, 1, 1), is_reply=True)),
        "ARP with another's MAC": frame(own, frames.BROADCAST, arp(gateway, address(4, 1, 11), address(4, 1, 13))),
        "frame with another's MAC": frame(gateway, frames.BROADCAST, b"LLC", 0x88B5),
        "advertisement of a neighbour": frame(own, EVERYBODY, neighbour_message(136, own6, "ff02::1", fellow6, own)),
        "advertisement of its fe80::": frame(
            own, EVERYBODY, neighbour_message(136, own6, "ff02::1", str(fellow_local), own)
        ),
        "advertisement of the gateway": frame(
            own, EVERYBODY, neighbour_message(136, own_local, "ff02::1", str(gateway_local), own)
        ),
        "DAD in a neighbour's way": frame(own, EVERYBODY, neighbour_message(135, "::", "ff02::1", fellow6)),
        "solicitation as a neighbour": frame(own, EVERYBODY, neighbour_message(135, fellow6, "ff02::1", own6, own)),
        "datagram as the gateway's fe80::": frame(
            own, EVERYBODY, packet("udp", str(gateway_local), "ff02::1", (1, 2), b"forged")
        ),
        "packet below two tags": frame(own, frames.BROADCAST, b"\0\0\x81\0\0\0\x08\0" + below_tags, 0x8100),
    }
    known_by = {**fine, **forged, "packet below two tags": below_tags}  # the tags come off on the way
    with arrivals(host.machine, "a3", "eth0") as wait:
        send(host.machine, "a1", "eth0", *forged.values(), *fine.values())
        got = [each.ljust(60, b"\0") for each in wait(BLOCKED_S)]
    arrived = {name for name, sent in known_by.items() if any(sent in each for each in got)}
    assert arrived == fine.keys()


@VERSIONS
def test_a_moved_address_is_taken_where_sources_are_not_checked(host: FirewallHost, version: int) -> None:
    add(host, "a", 1, BridgeOptions(is_source_validated=False))
    add(host, "b", 2)
    moved = {}
    for net, name in ((1, "a"), (2, "b")):
        moved[name] = address(version, net, 100)
        length = 24 if version == 4 else 64
        host.machine.run(
            "",
            "ip",
            "-n",
            f"{name}2",
            "address",
            "add",
            f"{moved[name]}/{length}",
            "dev",
            "eth0",
            *(["nodad"] * (version == 6)),
        )

    converge(host)

    host.assert_reaches(("a1", "a2", moved["a"]), ("H", "a2", moved["a"]))
    host.assert_blocked(("b1", "b2", moved["b"]), ("H", "b2", moved["b"]))


HONEST = """
networks:
  lan: {enable_ipv6: true, ipam: {config: [{subnet: 172.30.1.0/24}, {subnet: fd30:1::/64}]}}
  far: {enable_ipv6: true, ipam: {config: [{subnet: 172.30.2.0/24}, {subnet: fd30:2::/64}]}}
  free:
    enable_ipv6: true
    driver_opts: {com.network-reconciler.source_validation: "false"}
    ipam: {config: [{subnet: 172.30.3.0/24}, {subnet: fd30:3::/64}]}
  wire:
    driver: macvlan
    driver_opts: {parent: uplink0}
    enable_ipv6: true
    ipam: {config: [{subnet: 192.0.2.0/24, gateway: 192.0.2.2}, {subnet: 2001:db8::/64, gateway: 2001:db8::2}]}
attachments:
  web: {networks: {lan: {ipv4_address: 172.30.1.11, ipv6_address: fd30:1::11}}, ports: [8080:80, 8080:80/udp]}
  near: {networks: [lan]}
  distant: {networks: [far]}
  first: {networks: [free]}
  second: {networks: [free]}
  client: {networks: [free]}
  wired: {networks: {wire: {ipv4_address: 192.0.2.64, ipv6_address: 2001:db8::64}}}
  wired-too: {networks: {wire: {ipv4_address: 192.0.2.65, ipv6_address: 2001:db8::65}}}
"""


WIRED = {4: "192.0.2.65", 6: "2001:db8::65"}


def test_what_is_honest_passes_whatever_rp_filter_is(forked: ForkedReconcile, machine: Machine, uplink: str) -> None:
    """Hairpin, published ports, the way out, macvlan, and an address that moves, as keepalived moves it, where it may."""
    machine.detect_no_duplicates("H")
    forked.write(all=HONEST)
    forked.ok()

    for value in (0, 1, 2):
        set_rp_filter(machine, value)
        holder, other = ("first", "second")[:: -1 if value == 1 else 1]
        for version in (4, 6):
            web, moved = address(version, 1, 11), address(version, 3, 100)
            move_address(machine, version, moved, other, holder)
            questions = [(client, HOST[version], 8080, "web") for client in (uplink, "H", "near", "web", "distant")]
            questions += [("near", web, 80, "web"), ("web", OUTSIDE[version], 80, uplink)]
            questions += [("client", moved, 80, holder), ("H", moved, 80, holder)]
            questions += [
                (client, {4: "192.0.2.65", 6: "2001:db8::65"}[version], 80, "wired-too") for client in ("wired", uplink)
            ]
            unanswered = [place for place in questions if not is_answered(machine, *place)]
            assert unanswered == [], f"rp_filter {value}"
            pinged = [("near", web), ("web", OUTSIDE[version]), ("client", moved), ("wired", OUTSIDE[version])]
            assert [place for place in pinged if not machine.ping(*place)] == [], f"rp_filter {value}"


def move_address(machine: Machine, version: int, moved: str, other: str, holder: str) -> None:
    """Take it from `other`, if that has it, and give it to `holder`, who tells."""
    interface = f"{moved}/{24 if version == 4 else 64}"
    machine.run("", "ip", "-n", other, "address", "delete", interface, "dev", "eth0", check=False)
    machine.run("", "ip", "-n", holder, "address", "add", interface, "dev", "eth0", *(["nodad"] * (version == 6)))
    mac = link_mac(machine, holder, "eth0")
    if version == 4:
        told = frame(mac, frames.BROADCAST, arp(mac, moved, moved))  # a request: it counts within a second too
    else:
        told = frame(mac, EVERYBODY, neighbour_message(136, moved, "ff02::1", moved, mac))
    send(machine, holder, "eth0", told)


def is_answered(machine: Machine, client: str, target: str, port: int, server: str) -> bool:
    """Say whether TCP and UDP from `client` to this address and port come to `server`, and the answers back."""
    own = "::" if port == 8080 else target
    with machine.tcp_server(server, own, 80), machine.udp_server(server, own, 80):
        return all(ask(client, target, port) is not None for ask in (machine.tcp, machine.udp))


def test_a_port_of_ours_without_elements_sends_nothing_and_one_of_others_is_free(host: FirewallHost) -> None:
    add(host, "a", 1)
    converge(host)
    mine = host.endpoints.pop()
    converge(host)
    assert not host.machine.ping("a1", address(4, 1, 12), deadline_s=BLOCKED_S)

    host.machine.run("", "ip", "-n", "H", "link", "set", mine.link_name, "group", "default")

    assert eventually(lambda: host.machine.ping("a1", address(4, 1, 12), deadline_s=1))


def test_no_service_of_the_host_is_reached_by_its_link_local_address(host: FirewallHost) -> None:
    add(host, "a", 1)
    target, own, fellow = (
        link_local(gateway_mac(host, "a")),
        *(_link_local_of(host.machine, name) for name in ("a1", "a2")),
    )
    with host.machine.tcp_server("H") as port, host.machine.tcp_server("a2") as other:
        ways = [(str(target), own), (str(target), address(6, 1, 11)), (address(6, 1, 1), own)]
        assert eventually(lambda: all(_is_reached(host.machine, to, port, source) for to, source in ways))

        converge(host)

        assert not [way for way in ways if _is_reached(host.machine, way[0], port, way[1])]
        assert _is_reached(host.machine, fellow, other)
        assert host.machine.tcp("a1", address(6, 1, 1), port) == address(6, 1, 11)
    assert host.machine.ping("a1", f"{target}%eth0")


def _link_local_of(machine: Machine, ns: str) -> str:
    return next(
        str(info["local"])
        for info in machine.ip_json(ns, "-6", "address", "show", "eth0")[0]["addr_info"]
        if info["scope"] == "link"
    )


def _is_reached(machine: Machine, target: str, port: int, source: str = "::") -> bool:
    """Say whether a1 can connect to an address on its link. source: by which of its own, "::" for any."""
    with machine.inside("a1"):
        client, index = socket.socket(socket.AF_INET6), socket.if_nametoindex("eth0")
    with client:
        client.settimeout(BLOCKED_S)
        client.bind((source, 0, 0, index))
        return client.connect_ex((target, port, 0, index)) == 0
