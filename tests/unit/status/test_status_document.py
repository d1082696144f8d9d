"""Documents against what a 20.10 engine printed, byte for byte (golden/: copied from a recording)."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Interface, ip_address, ip_network
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork, DesiredSubnet
from reconciler.model.identifiers import HOST
from reconciler.model.wanted import AttachmentWanted, BridgeOptions, NetworkMode, NetworkWanted, SandboxKind, SandboxRef
from reconciler.status.attachment_document import attachment_document
from reconciler.status.json_text import json_text
from reconciler.status.shape import Shape, shaped
from tests.fakes.desired import attachment, endpoint, inspected, network

GOLDEN = Path(__file__).parent / "golden"
NETNS_DIR = Path("/run/netns")


def recorded(name: str) -> str:
    return (GOLDEN / name).read_text()


def member(name: str, id_: str, on: str, endpoint_id: str, mac: str, *interfaces: str) -> DesiredAttachment:
    joined = replace(endpoint(name, on, *interfaces), id=endpoint_id, mac=mac)
    return replace(attachment(name, [joined]), id=id_)


def chosen(subnet: str, gateway: str) -> DesiredSubnet:
    return DesiredSubnet(subnet=ip_network(subnet), gateway=ip_address(gateway), default_gateway=ip_address(gateway))


def documents(*networks: DesiredNetwork, attachments: Sequence[DesiredAttachment] = ()) -> str:
    return json_text([shaped(inspected(one, attachments), Shape.ENGINE_20_10) for one in networks])


def test_default_bridge_with_two_containers_is_as_recorded() -> None:
    bridge = replace(
        network("bridge"),
        id="089d2f661ca1cfc5bff478d699a013bded4dfffe44231bf33f340ee47aeecf2c",
        created="2026-11-24T00:15:43.919084008Z",
        subnets=(chosen("172.17.0.0/16", "172.17.0.1"),),
    )
    container1 = member(
        "container1",
        "ea9a8e6574077358367eb7a0d9ce3e49a9a1c494bc8468c80aa59e3bc666ea36",
        "bridge",
        "62385910db14e0422c74c3c7569d222c57c43a345bcab290cda750f5585b79e5",
        "02:42:ac:11:00:02",
        "172.17.0.2/16",
    )
    container2 = member(
        "container2",
        "911fa70234f19f3eaa2c4316a4dbd663f422c9a49ae321326dbf8dc862cb9ef5",
        "bridge",
        "c2763e99a00a75580b310c4250d9bce5d46aabb0f1269173dc85ae38b7f4bde8",
        "02:42:ac:11:00:03",
        "172.17.0.3/16",
    )

    assert documents(bridge, attachments=[container1, container2]) == recorded("bridge.json")


def test_user_defined_network_without_options_is_as_recorded() -> None:
    isolated = replace(
        network("isolated_nw"),
        id="62c2c33fb4724b50e3634a413c7223b4e776fae7ce5ca31fb33c7ff424dd95cc",
        created="2026-11-24T00:20:08.858863039Z",
        subnets=(chosen("172.19.0.0/16", "172.19.0.1"),),
    )

    assert documents(isolated) == recorded("isolated_nw.json")


def test_network_with_every_option_is_as_recorded() -> None:
    prefix = "com.docker.network"
    seven = DesiredNetwork(
        wanted=NetworkWanted(
            name="seven",
            options=(
                (f"{prefix}.bridge.enable_icc", "false"),
                (f"{prefix}.bridge.host_binding_ipv4", "127.0.0.1"),
                (f"{prefix}.bridge.name", "br-seven"),
                (f"{prefix}.driver.mtu", "1400"),
            ),
            is_ipv6_enabled=True,
            labels=(("a", "b"),),
        ),
        id="904f5def64134ce4cdfaa5611157b0bc3f03d984b01edeac09f289ddc52a27a1",
        created="2026-11-24T00:20:15.580032163Z",
        subnets=(
            DesiredSubnet(
                subnet=ip_network("10.7.0.0/24"),
                gateway=ip_address("10.7.0.254"),
                default_gateway=ip_address("10.7.0.254"),
                ip_range=ip_network("10.7.0.128/25"),
                aux_addresses=(("r", ip_address("10.7.0.129")),),
                is_declared=True,
                is_gateway_declared=True,
            ),
            replace(chosen("fd00:7::/64", "fd00:7::1"), is_declared=True),
        ),
        link_name="br-seven",
        mtu=1400,
    )
    s1 = member(
        "s1",
        "2bcbd5c049ceec2b88e9259c75a40b12344d3aa0b993f2c56f0c60f042d67aa5",
        "seven",
        "d3827105d1330e94f0b4a08a02b86843fe5cd6420f2dc919a653e92cf6f0a241",
        "02:42:0a:07:00:80",
        "10.7.0.128/24",
        "fd00:7::2/64",
    )

    assert documents(seven, attachments=[s1]) == recorded("seven.json")


def test_host_and_none_with_a_container_each_are_as_recorded() -> None:
    host = DesiredNetwork(
        wanted=NetworkWanted(name="host", driver="host"),
        id="63fb6ee597a4307b1c1a9038ae78706a381328213f77c27092166d964723f779",
        created="2026-11-24T00:15:09.444596828Z",
    )
    none = DesiredNetwork(
        wanted=NetworkWanted(name="none", driver="null"),
        id="1d16b9c4c15065c7ef41f179aecb3a676a2d76a09789a471ee870c6c5feed099",
        created="2026-11-24T00:15:09.420906623Z",
    )
    hh = member(
        "hh",
        "827ff328ee1f4dc7855903e3993f36ce9743d4e3f171861c9cbb708b9ed32442",
        "host",
        "471e178c3803736ce9944f3d6216781fb365a4bf46c783e0cb136c5f295be49f",
        "",
    )
    n1 = member(
        "n1",
        "bf7164635cf9d64164f47e09f2375152385645dba1f2fa90a57f78a4eb29ad7a",
        "none",
        "ac8e557e0822fd783e1ca1fa1ffb2c8b25c02a43460db33e07d44ce63f581cfe",
        "",
    )

    assert documents(host, none, attachments=[hh, n1]) == recorded("host_none.json")


@pytest.mark.parametrize(
    ("is_declared", "is_gateway_declared", "is_shown"),
    [(False, False, True), (True, False, False), (True, True, True)],
    ids=["chosen subnet", "declared subnet", "declared gateway"],
)
def test_gateway_is_shown_where_the_engine_shows_it(
    is_declared: bool, is_gateway_declared: bool, is_shown: bool
) -> None:
    subnet = replace(
        chosen("10.1.0.0/24", "10.1.0.1"), is_declared=is_declared, is_gateway_declared=is_gateway_declared
    )

    document = inspected(replace(network("n"), subnets=(subnet,)), ())

    assert ('"Gateway": "10.1.0.1"' in json_text(document)) == is_shown


def test_default_bridge_shows_the_options_in_force_beside_those_typed() -> None:
    options = BridgeOptions(is_icc_enabled=False, host_binding=ip_address("127.0.0.1"), is_masquerade_enabled=False)
    bridge = network("bridge", "172.17.0.0/16", options=options, mtu=1400)
    typed = replace(bridge.wanted, options=(("com.docker.network.bridge.gateway_mode_ipv4", "nat"),))

    shown = inspected(replace(bridge, wanted=typed), ())["Options"]

    assert shown == {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
        "com.docker.network.bridge.gateway_mode_ipv4": "nat",
        "com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
        "com.docker.network.bridge.name": "docker0",
        "com.docker.network.driver.mtu": "1400",
    }


def settings_of(of: DesiredAttachment, *networks: DesiredNetwork) -> dict[str, object]:
    document = attachment_document(of, {one.name: one for one in networks}, netns_dir=NETNS_DIR, host_hostname="alpha")
    settings = document["NetworkSettings"]
    assert isinstance(settings, dict)
    return settings


def test_container_on_the_default_bridge_has_its_address_in_both_views() -> None:
    bridge = network("bridge", "172.17.0.0/16")
    web = attachment("web", [endpoint("web", "bridge", "172.17.0.2/16", gateway="172.17.0.1")])

    settings = settings_of(web, bridge)

    assert settings["SandboxKey"] == "/run/netns/web"
    assert settings["IPAddress"] == "172.17.0.2"
    assert settings["Networks"] == {
        "bridge": {
            "IPAMConfig": None,
            "Links": None,
            "Aliases": None,
            "NetworkID": bridge.id,
            "EndpointID": web.endpoints[0].id,
            "Gateway": "172.17.0.1",
            "IPAddress": "172.17.0.2",
            "IPPrefixLen": 16,
            "IPv6Gateway": "",
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "MacAddress": "02:42:ac:11:00:02",
            "DriverOpts": None,
            "GwPriority": 0,
            "DNSNames": None,
        }
    }


def test_container_on_a_user_defined_network_shows_what_was_asked_for() -> None:
    joined = endpoint("web", "front", "10.7.0.2/24", aliases=("www",), options=(("k", "v"),))
    asked = replace(joined.wanted, ipv4_address=IPv4Address("10.7.0.2"))
    wanted = AttachmentWanted(
        name="web",
        sandbox=SandboxRef(SandboxKind.NETNS, "web"),
        hostname="webhost",
        links=(("db", "database"), ("cache", "cache")),
    )
    web = attachment("web", [replace(joined, wanted=asked)], wanted=wanted)

    settings = settings_of(web, network("front", "10.7.0.0/24"))

    assert settings["IPAddress"] == ""
    shown = settings["Networks"]["front"]  # type: ignore[index]
    assert shown["IPAMConfig"] == {"IPv4Address": "10.7.0.2"}
    assert shown["Links"] == ["db:database", "cache"]
    assert shown["Aliases"] == ["www", web.id[:12], "webhost"]
    assert shown["DriverOpts"] == {"k": "v"}


def test_ipv6_address_and_prefix_length_stand_apart() -> None:
    joined = replace(
        endpoint("web", "front"), ipv6=IPv6Interface("fd00:7::2/64"), gateway_ipv6=IPv6Address("fd00:7::1")
    )

    shown = settings_of(attachment("web", [joined]))["Networks"]["front"]  # type: ignore[index]

    assert (shown["GlobalIPv6Address"], shown["GlobalIPv6PrefixLen"], shown["IPv6Gateway"]) == (
        "fd00:7::2",
        64,
        "fd00:7::1",
    )


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (SandboxKind.NETNS, "web", "/run/netns/web"),
        (SandboxKind.PATH, "/run/x/ns", "/run/x/ns"),
        (SandboxKind.PID, "17", "/proc/17/ns/net"),
        (SandboxKind.PIDFILE, "/run/x.pid", "pidfile:/run/x.pid"),
    ],
)
def test_sandbox_key_leads_to_the_namespace(kind: SandboxKind, value: str, path: str) -> None:
    wanted = AttachmentWanted(name="web", sandbox=SandboxRef(kind, value))

    assert settings_of(attachment("web", wanted=wanted))["SandboxKey"] == path


def test_host_mode_names_the_namespace_that_plays_the_host() -> None:
    web = replace(attachment("web", [endpoint("web", "host")], mode=NetworkMode.HOST), ns=HOST)

    document = attachment_document(web, {}, netns_dir=NETNS_DIR, host_hostname="alpha", host_sandbox="/run/netns/H")

    assert '"SandboxKey": "/run/netns/H"' in json_text(document)
    assert document["HostConfig"] == {"NetworkMode": "host", "PortBindings": {}, "Links": None}
    assert document["Config"] == {"Hostname": "alpha", "Domainname": ""}


@pytest.mark.parametrize(
    ("aliases", "hostname", "shown"),
    [((), None, ["ID"]), (("web", "www"), "www", ["web", "www", "ID"]), (("aa", "aa"), "web", ["aa", "ID", "web"])],
)
def test_aliases_hold_the_short_id_and_the_hostname_once(
    aliases: tuple[str, ...], hostname: str | None, shown: list[str]
) -> None:
    wanted = AttachmentWanted(name="web", sandbox=SandboxRef(SandboxKind.NETNS, "web"), hostname=hostname)
    web = attachment("web", [endpoint("web", "front", aliases=aliases)], wanted=wanted)

    found = settings_of(web, network("front"))["Networks"]["front"]["Aliases"]  # type: ignore[index]

    assert found == [name.replace("ID", web.id[:12]) for name in shown]


@pytest.mark.parametrize(
    ("subnet", "members", "in_use", "available"),
    [
        (
            DesiredSubnet(subnet=ip_network("172.18.0.0/16"), gateway=IPv4Address("172.18.0.1"), default_gateway=None),
            2,
            5,
            65531,
        ),
        (
            DesiredSubnet(
                subnet=ip_network("10.66.77.0/24"),
                ip_range=ip_network("10.66.77.64/30"),
                gateway=IPv4Address("10.66.77.1"),
                default_gateway=IPv4Address("10.66.77.1"),
                aux_addresses=(
                    ("inrange", IPv4Address("10.66.77.65")),
                    ("outofrange", IPv4Address("10.66.77.128")),
                ),
            ),
            1,
            6,
            2,
        ),
        (
            DesiredSubnet(
                subnet=ip_network("2001:db8:abcd::/64"),
                ip_range=ip_network("2001:db8:abcd::/120"),
                gateway=None,
                default_gateway=None,
            ),
            1,
            2,
            254,
        ),
        (DesiredSubnet(subnet=ip_network("10.1.0.0/31"), gateway=None, default_gateway=None), 1, 1, 1),
        (DesiredSubnet(subnet=ip_network("fd00::/48"), gateway=None, default_gateway=None), 1, 2, (1 << 64) - 1),
    ],
    ids=["as printed by 29", "range", "IPv6", "two addresses", "more than the engine counts"],
)
def test_status_counts_what_is_in_use_and_left_as_engine_29_does(
    subnet: DesiredSubnet, members: int, in_use: int, available: int
) -> None:
    """The values are those of a printed document and of the engine's own tests, as no engine that has them runs in these tests."""
    first = int((subnet.ip_range or subnet.subnet).network_address)
    offset = 2 if subnet.ip_range is None or subnet.subnet.version == 6 else 0
    addresses = [ip_address(first + (offset + n) % subnet.subnet.num_addresses) for n in range(members)]
    joined = [
        attachment(f"a{n}", [endpoint(f"a{n}", "n", f"{a}/{subnet.subnet.prefixlen}")]) for n, a in enumerate(addresses)
    ]

    document = inspected(replace(network("n"), subnets=(subnet,)), joined)

    counted = {"IPsInUse": in_use, "DynamicIPsAvailable": available}
    assert document["Status"] == {"IPAM": {"Subnets": {str(subnet.subnet): counted}}}


@pytest.mark.parametrize("joined", [[], [endpoint("web", "inner", "10.7.0.2/24")]], ids=["no network", "no way out"])
def test_exposed_ports_show_only_where_a_bridge_leads_outside(joined: list[DesiredEndpoint]) -> None:
    wanted = AttachmentWanted(name="web", sandbox=SandboxRef(SandboxKind.NETNS, "web"), expose=((90, 90, "tcp"),))

    settings = settings_of(attachment("web", joined, wanted=wanted), network("inner", "10.7.0.0/24", is_internal=True))

    assert settings["Ports"] == {}


def test_exposed_ports_show_as_unpublished() -> None:
    wanted = AttachmentWanted(
        name="web",
        sandbox=SandboxRef(SandboxKind.NETNS, "web"),
        expose=((9000, 9001, "tcp"), (53, 53, "udp")),
    )

    joined = [endpoint("web", "front", "10.7.0.2/24", gateway="10.7.0.1")]
    assert settings_of(attachment("web", joined, wanted=wanted), network("front", "10.7.0.0/24"))["Ports"] == {
        "53/udp": None,
        "9000/tcp": None,
        "9001/tcp": None,
    }
