"""Links on the default bridge: who they lead to, and what the sandbox sees of them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from reconciler.model.desired import DesiredAttachment, DesiredLink, DesiredState
from reconciler.model.wanted import AttachmentWanted, PortWanted, SandboxKind, SandboxRef
from reconciler.ports.links import assign_links
from reconciler.sandbox.environment import environment_text
from reconciler.sandbox.hosts import hosts_text
from tests.fakes.desired import attachment, endpoint, host_facts, network


def on(
    name: str, *networks: str, links: tuple[tuple[str, str], ...] = (), hostname: str | None = None, **more: object
) -> DesiredAttachment:
    """An attachment on networks whose subnets are 172.17, 172.18, …; its address ends in the place of its name's first letter."""
    number = ord(name[0]) - ord("a") + 2
    wanted = AttachmentWanted(
        name=name,
        sandbox=SandboxRef(SandboxKind.NETNS, name),
        links=links,
        hostname=hostname,
        **more,  # type: ignore[arg-type]
    )
    subnets = {"bridge": "172.17.0", "front": "172.18.0"}
    return attachment(name, [endpoint(name, n, f"{subnets[n]}.{number}/16") for n in networks], wanted=wanted)


def state(*attachments: DesiredAttachment) -> DesiredState:
    networks = (network("bridge", "172.17.0.0/16"), network("front", "172.18.0.0/16"))
    return DesiredState(host=host_facts(), networks=networks, attachments=attachments)


def linked(found: DesiredState, name: str) -> DesiredAttachment:
    return next(attachment for attachment in found.attachments if attachment.name == name)


def test_link_tells_address_names_and_ports_of_the_other() -> None:
    ports = (PortWanted(target=(80, 81), published=(8080, 8081)), PortWanted(target=(90, 90), published=(0, 0)))
    db = on("db", "bridge", hostname="dbhost", expose=((53, 53, "udp"), (80, 81, "tcp")), ports=ports)

    found = linked(assign_links(state(db, on("web", "bridge", links=(("db", "database"),)))), "web")

    assert found.links == (
        DesiredLink(
            target="db",
            alias="database",
            hostname="dbhost",
            ipv4=IPv4Address("172.17.0.5"),
            ports=((53, 53, "udp"), (80, 81, "tcp"), (90, 90, "tcp")),
        ),
    )


@pytest.mark.parametrize("others", [(), (on("db", "front"),)], ids=["absent", "on another network"])
def test_link_to_nobody_fails_that_attachment_alone(others: tuple[DesiredAttachment, ...]) -> None:
    found = assign_links(state(*others, on("other", "bridge"), on("web", "bridge", links=(("db", "database"),))))

    assert {unit.attachment for unit, _ in found.failures} == {"web"}
    assert "Cannot link to a non running container: /db AS /web/database" in str(found.failures[0][1])
    assert "other" in {attachment.name for attachment in found.attachments}


def test_link_to_one_that_fails_fails_too() -> None:
    chain = (on("a", "bridge", links=(("b", "b"),)), on("b", "bridge", links=(("c", "c"),)), on("d", "bridge"))

    found = assign_links(state(*chain))

    assert {unit.attachment for unit, _ in found.failures} == {"a", "b"}
    assert [attachment.name for attachment in found.attachments] == ["d"]


def test_attachments_may_link_to_each_other() -> None:
    found = assign_links(state(on("a", "bridge", links=(("b", "b"),)), on("b", "bridge", links=(("a", "a"),))))

    assert found.failures == ()


@pytest.mark.parametrize("networks", [("front",), ("bridge", "front")], ids=["user-defined", "both"])
def test_link_on_a_user_defined_network_may_lead_to_nobody(networks: tuple[str, ...]) -> None:
    found = assign_links(state(on("web", *networks, links=(("db", "database"),))))

    assert found.failures == ()
    assert linked(found, "web").links == ()


def test_state_without_links_on_the_default_bridge_is_given_back_itself() -> None:
    before = state(on("a", "front", links=(("b", "b"),)), on("b", "bridge"))

    assert assign_links(before) is before


def test_hosts_file_names_the_other_after_extra_hosts_and_before_oneself() -> None:
    web = on("web", "bridge", links=(("db", "database"), ("ex", "ex")), extra_hosts=(("gw", "192.0.2.9"),))
    found = linked(assign_links(state(on("db", "bridge"), on("ex", "bridge", hostname="ex"), web)), "web")
    db = on("db", "bridge")

    lines = hosts_text(found, host_facts(), None).splitlines()[6:]

    assert lines == [
        "192.0.2.9\tgw",
        f"172.17.0.5\tdatabase {db.id[:12]} db",
        "172.17.0.6\tex",
        f"172.17.0.24\t{web.id[:12]}",
    ]


def link(*ports: tuple[int, int, str], alias: str = "my-db") -> DesiredAttachment:
    found = DesiredLink(target="db", alias=alias, hostname="db", ipv4=IPv4Address("172.17.0.2"), ports=ports)
    return DesiredAttachment(wanted=on("web", "bridge").wanted, id="0" * 64, ns=on("web", "bridge").ns, links=(found,))


def test_variables_are_those_of_the_engine() -> None:
    assert environment_text(link((80, 80, "tcp"), (53, 53, "udp"))) == (
        "MY_DB_PORT=tcp://172.17.0.2:80\n"
        "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80\n"
        "MY_DB_PORT_80_TCP_ADDR=172.17.0.2\n"
        "MY_DB_PORT_80_TCP_PORT=80\n"
        "MY_DB_PORT_80_TCP_PROTO=tcp\n"
        "MY_DB_PORT_53_UDP=udp://172.17.0.2:53\n"
        "MY_DB_PORT_53_UDP_ADDR=172.17.0.2\n"
        "MY_DB_PORT_53_UDP_PORT=53\n"
        "MY_DB_PORT_53_UDP_PROTO=udp\n"
        "MY_DB_NAME=/web/my-db\n"
    )


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (((53, 53, "udp"), (53, 53, "tcp")), "tcp://172.17.0.2:53"),
        (((53, 53, "udp"), (8080, 8080, "tcp"), (80, 81, "tcp")), "tcp://172.17.0.2:80"),
        (((53, 53, "udp"), (9, 9, "sctp")), "sctp://172.17.0.2:9"),
    ],
)
def test_default_port_is_the_lowest_of_tcp(ports: tuple[tuple[int, int, str], ...], expected: str) -> None:
    assert environment_text(link(*ports)).splitlines()[0] == f"MY_DB_PORT={expected}"


def variables(*ports: tuple[int, int, str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in environment_text(link(*ports, alias="db")).splitlines())


def test_range_of_ports_has_its_ends_told_by_its_first_port() -> None:
    found = variables((6000, 6002, "tcp"), (7000, 7001, "udp"))

    assert {name: value for name, value in found.items() if "START" in name or "END" in name} == {
        "DB_PORT_6000_TCP_START": "tcp://172.17.0.2:6000",
        "DB_PORT_6000_TCP_PORT_START": "6000",
        "DB_PORT_6000_TCP_END": "tcp://172.17.0.2:6002",
        "DB_PORT_6000_TCP_PORT_END": "6002",
        "DB_PORT_7000_UDP_START": "udp://172.17.0.2:7000",
        "DB_PORT_7000_UDP_PORT_START": "7000",
        "DB_PORT_7000_UDP_END": "udp://172.17.0.2:7001",
        "DB_PORT_7000_UDP_PORT_END": "7001",
    }
    assert found["DB_PORT_6001_TCP_ADDR"] == "172.17.0.2"


def test_ports_of_different_protocols_are_no_range() -> None:
    assert not any("START" in name for name in variables((8000, 8000, "tcp"), (8001, 8001, "udp"), (8003, 8003, "tcp")))


def test_without_exposed_ports_only_the_name_is_told() -> None:
    assert environment_text(link()) == "MY_DB_NAME=/web/my-db\n"


def test_without_links_there_is_no_environment() -> None:
    assert environment_text(on("web", "bridge")) == ""
