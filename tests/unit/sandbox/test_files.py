"""hosts and resolv.conf as a recorded engine wrote them, and the cases that the recording does not show."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind, SandboxRef
from reconciler.sandbox.hosts import hosts_text
from reconciler.sandbox.resolv_conf import resolv_conf_text
from tests.fakes.desired import attachment, endpoint, host_facts

LOCAL_LINES = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "ff00::0\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


def with_wanted(name: str, network: str, **given: object) -> DesiredAttachment:
    wanted = AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.NETNS, name))
    return attachment(name, [endpoint(name, network, "172.17.0.2/16")], wanted=replace(wanted, **given))  # type: ignore[arg-type]


def test_hosts_ends_with_each_own_address_and_the_short_id() -> None:
    container1 = attachment("container1", [endpoint("container1", "bridge", "172.17.0.2/16")])

    assert hosts_text(container1, host_facts(), None) == f"{LOCAL_LINES}172.17.0.2\t{container1.id[:12]}\n"


def test_hosts_names_every_address_by_hostname_as_recorded_for_container4() -> None:
    wanted = AttachmentWanted(
        name="container4", sandbox=SandboxRef(SandboxKind.NETNS, "container4"), hostname="fourhost"
    )
    on = [endpoint("container4", "isolated_nw", "172.19.0.3/16"), endpoint("container4", "intern", "172.20.0.3/16")]

    text = hosts_text(attachment("container4", on, wanted=wanted), host_facts(), None)

    assert text == f"{LOCAL_LINES}172.19.0.3\tfourhost\n172.20.0.3\tfourhost\n"


@pytest.mark.parametrize(
    ("hostname", "domainname", "names"),
    [
        ("w", None, "w"),
        ("w", "example.org", "w.example.org w"),
        ("w.example.org", None, "w.example.org w"),
        ("w.example.org", "example.org", "w.example.org w"),
        ("w.Example.org", "example.ORG", "w.Example.org w"),
        ("w.example.org", "example.net", "w.example.org.example.net w"),
        ("wexample.org", "example.org", "wexample.org.example.org wexample"),
    ],
)
def test_hosts_has_the_full_name_and_the_bare_one(hostname: str, domainname: str | None, names: str) -> None:
    text = hosts_text(with_wanted("web", "lan", hostname=hostname, domainname=domainname), host_facts(), None)

    assert text.endswith(f"172.17.0.2\t{names}\n")


def test_hosts_with_a_domain_alone_names_the_short_id_in_it() -> None:
    web = with_wanted("web", "lan", domainname="example.org")

    assert hosts_text(web, host_facts(), None).endswith(f"\t{web.id[:12]}.example.org {web.id[:12]}\n")


def test_hosts_names_the_addresses_in_the_order_of_the_interfaces() -> None:
    web = with_wanted("web", "lan", hostname="w")
    on = [
        replace(endpoint("web", "lan", f"10.0.{number}.2/24", f"fd00:{number}::2/64"), ifname=ifname)
        for number, ifname in enumerate(("eth10", "uplink", "eth2"))
    ]

    text = hosts_text(replace(web, endpoints=tuple(on)), host_facts(), None)

    addresses = [line.split("\t")[0] for line in text.removeprefix(LOCAL_LINES).splitlines()]
    assert addresses == ["10.0.2.2", "fd00:2::2", "10.0.0.2", "fd00::2", "10.0.1.2", "fd00:1::2"]


def test_hosts_leaves_out_the_way_out_of_overlay_networks() -> None:
    web = with_wanted("web", "lan", hostname="w")
    way_out = endpoint("web", "docker_gwbridge", "172.18.0.2/16")
    way_out = replace(way_out, wanted=replace(way_out.wanted, is_gateway=True))

    text = hosts_text(replace(web, endpoints=(way_out, *web.endpoints)), host_facts(), None)

    assert text == f"{LOCAL_LINES}172.17.0.2\tw\n"


def test_extra_hosts_stand_before_the_own_names_and_host_gateway_is_filled_in() -> None:
    web = with_wanted("web", "lan", hostname="w", extra_hosts=(("gw", "host-gateway"), ("nas", "192.0.2.9")))

    text = hosts_text(web, host_facts(), ip_address("172.17.0.1"))

    assert text == f"{LOCAL_LINES}172.17.0.1\tgw\n192.0.2.9\tnas\n172.17.0.2\tw\n"


def test_host_gateway_is_left_out_where_there_is_none() -> None:
    web = with_wanted("web", "lan", hostname="w", extra_hosts=(("gw", "host-gateway"),))

    assert "gw" not in hosts_text(web, host_facts(), None)


def test_host_mode_has_the_hosts_own_file_unless_it_has_extra_hosts() -> None:
    plain = with_wanted("hh", "host", mode=NetworkMode.HOST).wanted
    more = replace(plain, extra_hosts=(("nas", "192.0.2.9"), ("alpha", "192.0.2.8")))

    texts = [hosts_text(attachment("hh", wanted=wanted), host_facts(), None) for wanted in (plain, more)]

    assert texts == ["127.0.0.1 localhost alpha", f"{LOCAL_LINES}192.0.2.9\tnas\n192.0.2.8\talpha\n"]


@pytest.mark.parametrize(
    ("network", "given", "host_file", "expected"),
    [
        pytest.param(
            "lan", {}, "nameserver 10.0.0.53\n", "nameserver 127.0.0.11\noptions ndots:0\n", id="user-defined"
        ),
        pytest.param("bridge", {}, "nameserver 10.0.0.53\n", "nameserver 10.0.0.53\n", id="default-bridge-copies"),
        pytest.param(
            "bridge",
            {},
            "nameserver 127.0.0.1\nnameserver ::1\nnameserver 2001:db8::1\n",
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
            id="fallback-when-no-server-can-be-reached",
        ),
        pytest.param(
            "lan",
            {"dns_search": ("example.org",), "dns_options": ("ndots:2",)},
            "search lan\noptions rotate\n",
            "search example.org\nnameserver 127.0.0.11\noptions ndots:2\n",
            id="own-search-and-options-win",
        ),
        pytest.param(
            "lan", {"dns_search": (".",)}, "search lan\n", "nameserver 127.0.0.11\noptions ndots:0\n", id="dot"
        ),
        pytest.param(
            "bridge",
            {"dns": (ip_address("192.0.2.1"),)},
            "search a\nsearch b c\nnameserver 10.0.0.53\noptions rotate\n",
            "search b c\nnameserver 192.0.2.1\noptions rotate\n",
            id="own-servers-and-the-last-search-line",
        ),
        pytest.param(
            "lan",
            {},
            "options edns0\nsearch a\nsearch\noptions ndots:x trust-ad\noptions ndots:\n",
            "search a\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n",
            id="options-add-up-and-bad-ndots-go",
        ),
        pytest.param(
            "lan",
            {},
            "options ndots:2\noptions ndots:1\n",
            "nameserver 127.0.0.11\noptions ndots:2 ndots:1\n",
            id="ndots-of-the-host",
        ),
        pytest.param(
            "bridge",
            {},
            "nameserver fe80::1%eth0\nnameserver 169.254.169.253\n",
            "nameserver 169.254.169.253\n",
            id="a-server-on-a-link-of-the-host-is-on-none-of-the-sandbox",
        ),
        pytest.param(
            "bridge",
            {"dns": (ip_address("fe80::1%eth0"),)},
            "nameserver 10.0.0.53\n",
            "nameserver fe80::1%eth0\n",
            id="own-server-on-a-link-of-the-sandbox",
        ),
    ],
)
def test_resolv_conf(network: str, given: dict[str, object], host_file: str, expected: str) -> None:
    assert resolv_conf_text(with_wanted("web", network, **given), host_facts(resolv_conf=host_file)) == expected


def test_resolv_conf_looks_behind_the_stub_of_systemd_resolved_where_no_server_of_ours_asks_it() -> None:
    host = host_facts(
        resolv_conf="nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch stub.example\n",
        resolved_conf="nameserver 192.0.2.53\nsearch resolved.example\n",
    )

    assert {network: resolv_conf_text(with_wanted("web", network), host) for network in ("bridge", "lan")} == {
        "bridge": "search resolved.example\nnameserver 192.0.2.53\n",
        "lan": "search stub.example\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n",
    }


def test_host_mode_gets_the_hosts_resolv_conf() -> None:
    wanted = with_wanted("hh", "host", mode=NetworkMode.HOST).wanted

    assert (
        resolv_conf_text(attachment("hh", wanted=wanted), host_facts(resolv_conf="nameserver ::1\n"))
        == "nameserver ::1\n"
    )
