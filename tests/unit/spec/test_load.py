import json
import os
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import SpecError
from reconciler.model.objects import Unit
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    GatewayMode,
    NetworkMode,
    NetworkWanted,
    PortWanted,
    SandboxKind,
    SandboxRef,
    SubnetWanted,
)
from reconciler.spec.attachment import AttachmentSpec
from reconciler.spec.load import LoadedSpecs, load_specs

COMPOSE = (Path(__file__).parent / "compose.yaml").read_text()


@pytest.fixture
def load(tmp_path: Path):
    def write_and_load(text: str, *, host: str = "alpha", **files: str) -> LoadedSpecs:
        (tmp_path / "a.yaml").write_text(text)
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        return load_specs(tmp_path, host=host)

    return write_and_load


def network(loaded: LoadedSpecs, name: str) -> NetworkWanted:
    return next(network for network in loaded.wanted.networks if network.name == name)


def attachment(loaded: LoadedSpecs, name: str) -> AttachmentWanted:
    return next(attachment for attachment in loaded.wanted.attachments if attachment.name == name)


def test_an_ordinary_compose_file_is_accepted_as_it_is(load) -> None:
    loaded = load(COMPOSE)

    assert not loaded.faults
    assert [network.name for network in loaded.wanted.networks] == [
        "bridge",
        "default",
        "host",
        "mapped",
        "none",
        "shop_front",
    ]
    front = network(loaded, "shop_front")
    assert front.options == (
        ("com.docker.network.bridge.enable_icc", "false"),
        ("com.docker.network.driver.mtu", "1400"),
    )
    assert front.bridge == BridgeOptions(is_icc_enabled=False, mtu=1400)
    assert front.ipam_options == (("foo", "bar"),)
    assert front.subnets[0] == SubnetWanted(
        subnet=IPv4Network("172.28.0.0/16"),
        ip_range=IPv4Network("172.28.5.0/24"),
        gateway=IPv4Address("172.28.5.254"),
        aux_addresses=(("host1", IPv4Address("172.28.1.5")), ("host2", IPv4Address("172.28.1.6"))),
    )
    assert front.is_ipv6_enabled
    assert front.is_attachable
    assert front.labels == (("com.example.description", "Front: the public one"), ("com.example.flag", ""))
    assert network(loaded, "mapped").labels == (
        ("com.example.none", ""),
        ("com.example.on", "true"),
        ("com.example.version", "1.10"),
    )


def test_built_in_networks_are_there_without_being_declared(load) -> None:
    loaded = load("")

    assert not loaded.faults
    assert not loaded.wanted.has_faults
    bridge, host, none = loaded.wanted.networks
    assert (bridge.name, bridge.driver, bridge.bridge) == ("bridge", "bridge", BridgeOptions(link_name="docker0"))
    assert str(loaded.wanted.sources[Unit(network="bridge")]) == "<built-in>:0:0"
    assert (host.driver, none.driver) == ("host", "null")
    assert bridge.ipam_options is None


def test_the_default_bridge_can_be_configured(load) -> None:
    loaded = load(
        "networks: {bridge: {driver: bridge, ipam: {config: [{subnet: 10.9.0.0/24}]}, labels: {a: b}, "
        "driver_opts: {com.docker.network.bridge.name: br0, com.docker.network.bridge.default_bridge: 'true'}}}"
    )

    assert not loaded.faults
    bridge = network(loaded, "bridge")
    assert bridge.bridge == BridgeOptions(link_name="br0")
    assert bridge.subnets == (SubnetWanted(subnet=IPv4Network("10.9.0.0/24")),)
    assert bridge.labels == (("a", "b"),)


def test_the_default_bridge_can_be_switched_off(tmp_path: Path) -> None:
    loaded = load_specs(tmp_path, host="alpha", is_bridge_enabled=False)

    assert [network.name for network in loaded.wanted.networks] == ["host", "none"]


def test_every_bridge_option_is_parsed(load) -> None:
    options = {
        "bridge.name": "br-x",
        "bridge.enable_ip_masquerade": "f",
        "bridge.enable_icc": "0",
        "bridge.host_binding_ipv4": "127.0.0.1",
        "driver.mtu": "9000",
        "bridge.gateway_mode_ipv4": "routed",
        "bridge.gateway_mode_ipv6": "isolated",
        "bridge.inhibit_ipv4": "T",
        "bridge.trusted_host_interfaces": "eth0:eth1",
        "container_iface_prefix": "net",
        "host_ipv4": "192.0.2.1",
        "host_ipv6": "2001:db8::1",
        "enable_ipv6": "true",
    }
    lines = "".join(f"      com.docker.network.{name}: '{value}'\n" for name, value in options.items())

    loaded = load(f"networks:\n  x:\n    internal: true\n    driver_opts:\n{lines}")

    assert not loaded.faults
    assert network(loaded, "x").is_ipv6_enabled
    assert network(loaded, "x").bridge == BridgeOptions(
        link_name="br-x",
        is_masquerade_enabled=False,
        is_icc_enabled=False,
        host_binding=IPv4Address("127.0.0.1"),
        mtu=9000,
        gateway_mode_ipv4=GatewayMode.ROUTED,
        gateway_mode_ipv6=GatewayMode.ISOLATED,
        is_ipv4_inhibited=True,
        trusted_host_interfaces=("eth0", "eth1"),
        container_iface_prefix="net",
        host_ipv4=IPv4Address("192.0.2.1"),
        host_ipv6=IPv6Address("2001:db8::1"),
    )


def test_every_attachment_key_is_parsed(load) -> None:
    loaded = load(
        """
networks:
  front:
    enable_ipv6: true
    ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: "fd00::/64"}]}
  back: {name: behind}
attachments:
  web:
    sandbox: {netns: /run/netns/web}
    hosts: [alpha, "b*"]
    hostname: web
    domainname: example.org
    networks:
      front:
        ipv4_address: 10.1.0.10
        ipv6_address: fd00::10
        link_local_ips: [169.254.1.1]
        mac_address: 02-42-0A-01-00-0A
        aliases: [www, web_1]
        priority: 100
        gw_priority: -1
        interface_name: eth0
        driver_opts: {com.example.x: 1}
      back: {driver_opts: {com.docker.network.endpoint.ifname: lan0}}
    expose: ["9000", 9001, "9002-9004/udp"]
    dns: 1.1.1.1
    dns_search: [example.org]
    dns_opt: ["ndots:2", rotate]
    extra_hosts: {gw: host-gateway, six: "[::1]", many: [10.0.0.1, 10.0.0.2]}
    sysctls: [net.ipv4.conf.eth0.rp_filter=2]
"""
    )

    assert not loaded.faults
    web = attachment(loaded, "web")
    behind, front = web.endpoints
    assert (behind.network, behind.interface_name) == ("behind", "lan0")
    assert front == EndpointWanted(
        network="front",
        ipv4_address=IPv4Address("10.1.0.10"),
        ipv6_address=IPv6Address("fd00::10"),
        link_local_ips=(IPv4Address("169.254.1.1"),),
        mac_address="02:42:0a:01:00:0a",
        aliases=("www", "web_1"),
        priority=100,
        gw_priority=-1,
        interface_name="eth0",
        options=(("com.example.x", "1"),),
    )
    source = loaded.wanted.sources[Unit(network="front", attachment="web")]
    assert (source.line, source.column) == (14, 7)
    assert web == AttachmentWanted(
        name="web",
        sandbox=SandboxRef(SandboxKind.PATH, "/run/netns/web"),
        hosts=("alpha", "b*"),
        hostname="web",
        domainname="example.org",
        endpoints=(behind, front),
        expose=((9000, 9000, "tcp"), (9001, 9001, "tcp"), (9002, 9004, "udp")),
        dns=(IPv4Address("1.1.1.1"),),
        dns_search=("example.org",),
        dns_options=("ndots:2", "rotate"),
        extra_hosts=(("gw", "host-gateway"), ("many", "10.0.0.1"), ("many", "10.0.0.2"), ("six", "::1")),
        sysctls=(("net.ipv4.conf.eth0.rp_filter", "2"),),
    )


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("80", PortWanted(target=(80, 80), published=(0, 0))),
        ("8080:80", PortWanted(target=(80, 80), published=(8080, 8080))),
        ("8000-8010:80", PortWanted(target=(80, 80), published=(8000, 8010))),
        ("8000-8001:80-81/udp", PortWanted(target=(80, 81), published=(8000, 8001), protocol="udp")),
        (
            "127.0.0.1:5353:53/UDP",
            PortWanted(target=(53, 53), published=(5353, 5353), protocol="udp", host_ip=IPv4Address("127.0.0.1")),
        ),
        ("127.0.0.1::53", PortWanted(target=(53, 53), published=(0, 0), host_ip=IPv4Address("127.0.0.1"))),
        ("[::1]:80:80", PortWanted(target=(80, 80), published=(80, 80), host_ip=IPv6Address("::1"))),
        (
            {"target": 80, "published": "8000-8010", "protocol": "tcp", "host_ip": "::1", "mode": "host", "x-a": 1},
            PortWanted(target=(80, 80), published=(8000, 8010), host_ip=IPv6Address("::1")),
        ),
    ],
)
def test_ports_take_the_short_and_the_long_form(ports: object, expected: PortWanted) -> None:
    (port,) = AttachmentSpec.model_validate({"ports": [ports]}).ports

    assert (port if isinstance(port, PortWanted) else port.wanted()) == expected


@pytest.mark.parametrize(
    ("text", "mode", "networks"),
    [
        ("{}", NetworkMode.NETWORKS, ["bridge"]),
        ("{networks: }", NetworkMode.NETWORKS, ["bridge"]),
        ("{networks: []}", NetworkMode.NETWORKS, ["bridge"]),
        ("{network_mode: bridge}", NetworkMode.NETWORKS, ["bridge"]),
        ("{network_mode: default}", NetworkMode.NETWORKS, ["bridge"]),
        ("{networks: [bridge]}", NetworkMode.NETWORKS, ["bridge"]),
        ("{network_mode: none}", NetworkMode.NONE, []),
        ("{network_mode: host}", NetworkMode.HOST, []),
        ("{networks: [host]}", NetworkMode.HOST, []),
        ("{networks: [stack]}", NetworkMode.HOST, []),
        ("{networks: {none: }}", NetworkMode.NONE, []),
        ("{networks: [b, a]}", NetworkMode.NETWORKS, ["a", "b"]),
    ],
)
def test_an_attachment_joins_what_the_engine_would(load, text: str, mode: NetworkMode, networks: list[str]) -> None:
    loaded = load(f"networks: {{a: , b: , stack: {{external: {{name: host}}}}}}\nattachments: {{web: {text}}}")

    assert not loaded.faults
    web = attachment(loaded, "web")
    assert web.mode is mode
    assert [endpoint.network for endpoint in web.endpoints] == networks
    assert web.sandbox == SandboxRef(SandboxKind.NETNS, "web")


@pytest.mark.parametrize(
    ("hosts", "is_kept"),
    [("[]", True), ("[alpha]", True), ("al*", True), ("[beta, '?lpha']", True), ("[beta]", False), ("ALPHA", False)],
)
def test_attachments_of_other_hosts_are_checked_and_left_out(load, hosts: str, is_kept: bool) -> None:
    loaded = load(f"attachments: {{web: {{hosts: {hosts}}}}}")

    assert not loaded.faults
    assert [attachment.name for attachment in loaded.wanted.attachments] == ["web"] * is_kept


@pytest.mark.parametrize(
    ("one", "other", "do_meet"),
    [
        ("[]", "[beta]", True),
        ("[beta]", "[]", True),
        ("[beta]", "[beta]", True),
        ("[beta]", "[gamma]", False),
        ("['b*']", "[beta]", True),
        ("[beta]", "['b*']", True),
        ("['b*']", "['b*']", True),
        ("['g*']", "[beta]", False),
        ("['a*']", "['*a']", True),
    ],
)
def test_addresses_clash_only_where_two_attachments_can_meet(load, one: str, other: str, do_meet: bool) -> None:
    loaded = load(
        "networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\nattachments:\n"
        f"  one: {{hosts: {one}, networks: {{n: {{ipv4_address: 10.1.0.9}}}}}}\n"
        f"  other: {{hosts: {other}, networks: {{n: {{ipv4_address: 10.1.0.9}}}}}}\n"
    )

    assert bool(loaded.faults) is do_meet


def test_what_hangs_on_a_faulty_network_is_left_out_without_a_second_fault(load) -> None:
    loaded = load("networks: {n: {drivr: x}}\nattachments: {on: {networks: [n]}, off: {}}")

    assert len(loaded.faults) == 1
    assert loaded.wanted.has_faults
    assert [attachment.name for attachment in loaded.wanted.attachments] == ["off"]


def test_nothing_is_called_undeclared_while_a_file_cannot_be_read(load) -> None:
    loaded = load("networks: {m: }\nattachments: {on: {networks: [n]}, off: {networks: [m]}}", b="networks: {n: [")

    assert [fault.file.endswith("b.yaml") for fault in loaded.faults] == [True]
    assert [attachment.name for attachment in loaded.wanted.attachments] == ["off"]


def test_default_bridge_is_as_by_default_only_when_nothing_can_say_otherwise(load) -> None:
    """A file that cannot be read may say `enable_icc: "false"`, and whoever is on it stays as it runs."""
    declared = 'networks: {bridge: {driver_opts: {com.docker.network.bridge.enable_icc: "false"}}}\n'
    attachment = "attachments: {a: {}}"

    def left(*texts: str) -> tuple[set[str], set[str]]:
        wanted = load(*texts).wanted
        return {each.name for each in wanted.networks}, {each.name for each in wanted.attachments}

    assert left(attachment) == ({"bridge", "host", "none"}, {"a"})
    assert left(declared + attachment) == ({"bridge", "host", "none"}, {"a"})
    assert left(declared + attachment + "\nattachments: [") == ({"host", "none"}, set())


def test_files_of_all_folders_are_merged_and_others_passed_over(tmp_path: Path) -> None:
    for name in (
        "a.yaml",
        "b.yml",
        "deep/er/c.yaml",
        ".hidden.yaml",
        ".git/d.yaml",
        "hosts/beta.yaml",
        "e.yaml~",
        "f.txt",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"networks: {{{path.stem.strip('.')}: }}\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.yaml").symlink_to(tmp_path / ".hidden.yaml")
    (tmp_path / "loop").symlink_to(tmp_path)

    loaded = load_specs(tmp_path, host="alpha")

    assert not loaded.faults
    assert [n.name for n in loaded.wanted.networks] == ["a", "b", "bridge", "c", "hidden", "host", "none"]
    assert loaded.files == tuple(f"{tmp_path}/{name}" for name in ("a.yaml", "b.yml", "deep/er/c.yaml", "link.yaml"))


def test_the_digest_follows_names_and_contents(load, tmp_path: Path) -> None:
    first = load("networks: {a: }").digest

    assert load("networks: {a: }").digest == first
    assert load("networks: {b: }").digest != first
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").write_text("networks: {a: }")
    assert load_specs(tmp_path, host="alpha").digest != first


@pytest.mark.parametrize("kind", ["absent", "file", "pipe", "large", "dangling", "loop"])
def test_what_cannot_be_read_is_a_fault(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "specs"
    bad = folder / "x.yaml"
    match kind:
        case "file":
            folder.write_text("")
        case "pipe":
            folder.mkdir()
            os.mkfifo(bad)
        case "large":
            folder.mkdir()
            bad.write_bytes(b"#" * (1 << 20) + b"\n")
        case "dangling":
            folder.mkdir()
            bad.symlink_to("nowhere")
        case "loop":
            folder.mkdir()
            bad.symlink_to(bad)

    loaded = load_specs(folder, host="alpha")

    assert len(loaded.faults) == 1
    assert isinstance(loaded.faults[0], SpecError)
    assert loaded.wanted.has_faults
    assert loaded.is_listed == (kind not in ("absent", "file"))


def test_a_file_name_that_is_not_text_can_still_be_printed(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"b\xe4\nd.yaml")
    with open(path, "w") as file:
        file.write("x: 1")

    loaded = load_specs(tmp_path, host="alpha")

    assert "b\\xe4\\x0ad.yaml:1:1: unknown key" in str(loaded.faults[0])


def test_one_file_does_not_say_more_than_a_hundred_faults(load) -> None:
    loaded = load("networks:\n" + "".join(f"  n{i}: {{bad: 1}}\n" for i in range(5000)))

    assert len(loaded.faults) == 101
    assert loaded.faults[-1].message == "and 4900 more faults"


def test_a_thousand_attachments_load_without_fault(load) -> None:
    networks = "".join(f"  n{i}: {{ipam: {{config: [{{subnet: 10.{i}.0.0/16}}]}}}}\n" for i in range(20))
    attachments = "".join(
        f"  web{i}:\n    hostname: web{i}\n    networks:\n"
        f"      n{i % 20}: {{ipv4_address: 10.{i % 20}.1.{i // 20 + 1}, aliases: [www{i}], priority: 10}}\n"
        f"    dns: [1.1.1.1]\n    extra_hosts: [gw=10.0.0.1]\n"
        for i in range(1000)
    )

    loaded = load(f"networks:\n{networks}attachments:\n{attachments}")

    assert not loaded.faults
    assert len(loaded.wanted.attachments) == 1000


def test_many_hosts_may_have_the_same_address(load) -> None:
    attachments = "".join(
        f"  w{i}: {{hosts: [h{i}], networks: {{n: {{ipv4_address: 10.0.0.9}}}}}}\n" for i in range(3000)
    )

    loaded = load(f"networks: {{n: {{ipam: {{config: [{{subnet: 10.0.0.0/16}}]}}}}}}\nattachments:\n{attachments}")

    assert not loaded.faults


VOCABULARY = """
networks attachments bridge host none front web ipam config subnet gateway ip_range aux_addresses driver driver_opts
labels external name internal sandbox netns pid hosts network_mode ports target published links dns extra_hosts sysctls
x-y ipv4_address 10.0.0.0/8 10.1.0.0/16 10.1.0.1 fd00::/64 fd00::1 default null ../x 80:80 * a=b << interface_name
mac_address aliases enable_ipv6 net.ipv4.x expose com.docker.network.driver.mtu
"""
WORDS = st.sampled_from(VOCABULARY.split())
TREES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(WORDS, children, max_size=4),
    max_leaves=25,
)


def typed(tree: object) -> str:
    """Write flow YAML: JSON is nearly that."""
    return json.dumps(tree)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=100, deadline=None
)
@given(networks=st.dictionaries(WORDS, TREES, max_size=4), attachments=st.dictionaries(WORDS, TREES, max_size=4))
def test_any_tree_of_known_words_gives_nothing_but_faults(
    tmp_path: Path, networks: object, attachments: object
) -> None:
    (tmp_path / "a.yaml").write_text(f"networks: {typed(networks)}\nattachments: {typed(attachments)}\n")

    loaded = load_specs(tmp_path, host="alpha")

    assert loaded.wanted.has_faults is bool(loaded.faults)
    assert all(str(fault).isprintable() or "\n" not in str(fault) for fault in loaded.faults)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60, deadline=None
)
@given(content=st.binary(max_size=200), name=st.sampled_from(["a.yaml", "a.yaml.j2", "vars.yaml"]))
def test_any_bytes_give_nothing_but_faults(tmp_path: Path, content: bytes, name: str) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / name).write_bytes(content)

    loaded = load_specs(tmp_path, host="alpha")

    assert loaded.wanted.has_faults is bool(loaded.faults)


EXTERNAL = """networks: {front: {external: true}, alias: {external: true, name: back}, gone: {external: {name: front}}}
attachments: {web: {networks: {front: {ipv4_address: 10.1.0.9}, alias: }}}
"""
DECLARED = "networks: {front: {ipam: {config: [{subnet: 10.1.0.0/24}]}}, other: {name: back, internal: true}}"


def test_external_network_is_the_one_of_that_name_which_is_declared_here(load, tmp_path: Path) -> None:
    for is_in_cluster in (False, True):
        load(EXTERNAL, b=DECLARED)
        loaded = load_specs(tmp_path, host="alpha", is_in_cluster=is_in_cluster)

        assert loaded.faults == ()
        assert [one.name for one in loaded.wanted.networks] == ["back", "bridge", "front", "host", "none"]
        assert not any(one.is_external for one in loaded.wanted.networks)
        assert [one.network for one in attachment(loaded, "web").endpoints] == ["back", "front"]


def test_external_network_that_nobody_declares_is_a_fault_outside_of_a_cluster(load, tmp_path: Path) -> None:
    load("networks: {front: {external: true}, bridge: {external: true}}\nattachments: {web: {networks: [front]}}")

    alone = load_specs(tmp_path, host="alpha", is_in_cluster=False)
    joined = load_specs(tmp_path, host="alpha", is_in_cluster=True)

    (fault,) = alone.faults
    assert (fault.line, fault.column) == (1, 30)
    assert "network front is external and declared nowhere" in fault.message
    assert alone.wanted.attachments == ()
    assert joined.faults == ()
    assert network(joined, "front").is_external


def test_one_key_for_two_external_networks_is_a_fault(load) -> None:
    loaded = load("networks: {front: {external: true}}", b="networks: {front: {external: true, name: back}}")

    assert ["network with name front already exists" in fault.message for fault in loaded.faults] == [True]


def test_variables_that_templates_use_are_no_specs(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("networks: {a: {}}\nattachments: {b: {}}")
    (tmp_path / "a.yaml.j2").write_text("networks:\n{% for name in\n networks %}  {{ name }}: {}\n{% endfor %}")

    loaded = load_specs(tmp_path, host="alpha")

    assert [warning.source.line for warning in loaded.warnings] == [2]
    assert "a" in [one.name for one in loaded.wanted.networks]


def test_braces_without_end_keep_no_load_busy(tmp_path: Path) -> None:
    (tmp_path / "vars.yaml").write_text("networks: {a: {}}")
    (tmp_path / "a.yaml.j2").write_text("{{ " * 200_000)

    loaded = load_specs(tmp_path, host="alpha")

    assert [fault.file.endswith("a.yaml.j2") for fault in loaded.faults] == [True]


def test_what_engines_take_is_taken(load) -> None:
    loaded = load("""
networks:
  front: {ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: fd00:1::/64}]}}
  other: {ipam: {config: [{subnet: fd00:1::/64}, {subnet: fd00:2::/64}]}}
  third: {driver_opts: {com.docker.network.enable_ipv6: "true"}, ipam: {config: [{subnet: fd00:1::/64}]}}
attachments:
  web:
    networks: [front]
    hostname: my_host
    domainname: _x.example.org
    ports: [0:80, 127.0.0.1:0:81-82, {target: 83, published: 0}]
""")

    assert loaded.faults == ()
    assert [warning.message for warning in loaded.warnings] == [
        f"subnet fd00:{number}::/64 has no effect: it takes 'enable_ipv6: true'" for number in (1, 1, 2)
    ]
    assert [len(network(loaded, name).subnets) for name in ("front", "other", "third")] == [1, 0, 1]
    web = attachment(loaded, "web")
    assert (web.hostname, web.domainname) == ("my_host", "_x.example.org")
    assert [port.published for port in web.ports] == [(0, 0)] * 3


def test_comment_at_the_top_moves_lines_and_changes_nothing_that_is_wanted(tmp_path: Path) -> None:
    text = (
        "networks:\n  n: {ipam: {config: [{subnet: 10.1.0.0/24}]}}\n  odd: {driver_opts: {typo: x}}\nattachments:\n"
        "  web: {networks: {n: }}\n  bad: {networks: {n: {ipv4_address: 10.2.0.1}}}\n"
    )
    file = tmp_path / "a.yaml"
    file.write_text(text)
    before = load_specs(tmp_path, host="alpha")
    file.write_text(f"# A comment.\n{text}")
    after = load_specs(tmp_path, host="alpha", previous=before)
    anew = load_specs(tmp_path, host="alpha")

    assert after.wanted.networks is before.wanted.networks
    assert after.wanted.attachments is before.wanted.attachments
    assert after.wanted == anew.wanted
    assert [*map(str, after.faults)] == [*map(str, anew.faults)]
    assert dict(after.wanted.sources) == dict(anew.wanted.sources)
    assert [fault.line for fault in before.faults] == [6]
    assert [(fault.line, str(fault).partition("(")[2]) for fault in after.faults] == [(7, f"{file}:3:3)")]
    assert [warning.source.line for warning in after.warnings] == [4]
    assert after.wanted.sources[Unit(network="n", attachment="web")].line == 6
