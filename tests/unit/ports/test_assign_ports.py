"""Which host port everybody gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.errors import PlanError, PortTaken
from reconciler.model.desired import DesiredAttachment, DesiredNetwork, DesiredState, PortBinding
from reconciler.model.objects import Unit
from reconciler.model.observed import BoundSocket, HostPorts
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    GatewayMode,
    NetworkMode,
    PortWanted,
    SandboxKind,
    SandboxRef,
)
from reconciler.ports import assign as assign_module
from reconciler.ports.assign import PortAssigner, assign_ports
from tests.fakes.desired import attachment, endpoint, host_facts, network

ANY4, ANY6 = IPv4Address(0), IPv6Address(0)
HOST = HostPorts(ephemeral=(40000, 40003))


def port(
    target: int | tuple[int, int],
    published: int | tuple[int, int] = 0,
    protocol: str = "tcp",
    host_ip: str | None = None,
) -> PortWanted:
    return PortWanted(
        target=(target, target) if isinstance(target, int) else target,
        published=(published, published) if isinstance(published, int) else published,
        protocol=protocol,
        host_ip=ip_address(host_ip) if host_ip else None,
    )


def wanting(name: str, *ports: PortWanted, mode: NetworkMode = NetworkMode.NETWORKS) -> AttachmentWanted:
    return AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.NETNS, name), ports=ports, mode=mode)


def web(name: str, *ports: PortWanted, has_ipv6: bool = False, net: str = "front") -> DesiredAttachment:
    """An attachment whose default routes lead through `net`."""
    interfaces = ("172.30.1.2/24", "fd00::2/64") if has_ipv6 else ("172.30.1.2/24",)
    made = replace(endpoint(name, net, *interfaces, gateway="172.30.1.1"), is_default_ipv6=has_ipv6)
    return attachment(name, [made], wanted=wanting(name, *ports))


def front(options: BridgeOptions | None = None, *, is_internal: bool = False) -> DesiredNetwork:
    return network("front", "172.30.1.0/24", "fd00::/64", options=options, is_internal=is_internal)


def desired(
    *attachments: DesiredAttachment, net: DesiredNetwork | None = None, has_faults: bool = False
) -> DesiredState:
    return DesiredState(
        host=host_facts(), networks=(net or front(),), attachments=tuple(attachments), has_faults=has_faults
    )


def bindings(state: DesiredState, name: str) -> list[tuple[str, str, int, int]]:
    """Protocol, host address, host port and target of all that an attachment publishes."""
    found = next(attachment for attachment in state.attachments if attachment.name == name)
    return [(b.protocol, str(b.host_ip), b.host_port, b.target) for e in found.endpoints for b in e.ports]


def host_ports(state: DesiredState, name: str) -> list[int]:
    return [host_port for _, _, host_port, _ in bindings(state, name)]


def binding(host_port: int, target: int, host_ip: str = "0.0.0.0", protocol: str = "tcp") -> PortBinding:
    return PortBinding(protocol=protocol, host_ip=ip_address(host_ip), host_port=host_port, target=target)


def assigned(
    state: DesiredState,
    promised: Mapping[str, tuple[PortBinding, ...]] | None = None,
    published: Mapping[str, tuple[PortBinding, ...]] | None = None,
    host: HostPorts = HOST,
) -> DesiredState:
    return assign_ports(state, promised or {}, published or {}, host)


def errors(state: DesiredState) -> dict[str, str]:
    return {unit.attachment: str(error) for unit, error in state.failures}


def remarks(state: DesiredState) -> str:
    return "; ".join(text for _, text in state.remarks)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (port(80, 8080), [("tcp", "0.0.0.0", 8080, 80)]),
        (port(53, 5300, "udp"), [("udp", "0.0.0.0", 5300, 53)]),
        (port(9, 9, "sctp"), [("sctp", "0.0.0.0", 9, 9)]),
        (port(80, 8080, host_ip="127.0.0.1"), [("tcp", "127.0.0.1", 8080, 80)]),
        (port((80, 82), (8080, 8082)), [("tcp", "0.0.0.0", 8080 + n, 80 + n) for n in range(3)]),
        (port(80, (8080, 8089)), [("tcp", "0.0.0.0", 8080, 80)]),
        (port(80), [("tcp", "0.0.0.0", 40000, 80)]),
        (port((80, 81)), [("tcp", "0.0.0.0", 40000, 80), ("tcp", "0.0.0.0", 40001, 81)]),
    ],
    ids=["one", "udp", "sctp", "address", "range to range", "range to one", "ephemeral", "ephemeral range"],
)
def test_each_form_gets_its_host_port(wanted: PortWanted, expected: list[tuple[str, str, int, int]]) -> None:
    assert bindings(assigned(desired(web("a", wanted))), "a") == expected


def test_without_an_address_both_families_get_the_same_port() -> None:
    state = assigned(desired(web("a", port(80), port(81, 8081), has_ipv6=True)))

    assert bindings(state, "a") == [
        ("tcp", "0.0.0.0", 40000, 80),
        ("tcp", "0.0.0.0", 8081, 81),
        ("tcp", "::", 40000, 80),
        ("tcp", "::", 8081, 81),
    ]


@pytest.mark.parametrize(
    ("host_ip", "expected"), [("0.0.0.0", ["0.0.0.0"]), ("::", ["::"]), ("2001:db8::1", ["2001:db8::1"])]
)
def test_an_address_means_its_family_alone(host_ip: str, expected: list[str]) -> None:
    state = assigned(desired(web("a", port(80, 80, host_ip=host_ip), has_ipv6=True)))

    assert [ip for _, ip, _, _ in bindings(state, "a")] == expected


@pytest.mark.parametrize(
    ("host_binding", "expected"),
    [("127.0.0.1", ["127.0.0.1"]), ("0.0.0.0", ["0.0.0.0", "::"]), ("::", ["::"]), ("2001:db8::1", ["2001:db8::1"])],
    ids=["one address", "all", "all of IPv6", "one address of IPv6"],
)
def test_the_network_says_where_its_ports_are_published(host_binding: str, expected: list[str]) -> None:
    net = front(BridgeOptions(host_binding=ip_address(host_binding)))

    state = assigned(desired(web("a", port(80, 8080), has_ipv6=True), net=net))

    assert [ip for _, ip, _, _ in bindings(state, "a")] == expected


def test_where_families_lead_through_two_networks_each_binds_its_own_family() -> None:
    endpoints = [
        endpoint("a", "front", "172.30.1.2/24", gateway="172.30.1.1"),
        replace(endpoint("a", "back", "fd02::2/64"), is_default_ipv6=True),
    ]

    def published(front_binds: str, back_binds: str) -> list[str]:
        options = [BridgeOptions(host_binding=ip_address(text) if text else None) for text in (front_binds, back_binds)]
        networks = (front(options[0]), network("back", "fd02::/64", options=options[1]))
        one = attachment("a", endpoints, wanted=wanting("a", port(80, 8080)))
        state = assigned(DesiredState(host=host_facts(), networks=networks, attachments=(one,)))
        return [ip for _, ip, _, _ in bindings(state, "a")]

    assert published("127.0.0.1", "") == ["127.0.0.1", "::"]
    assert published("", "2001:db8::1") == ["0.0.0.0", "2001:db8::1"]
    assert published("", "192.0.2.1") == ["0.0.0.0"]


def test_ports_go_to_the_endpoint_with_the_default_route_each_family_by_itself() -> None:
    endpoints = [
        endpoint("a", "front", "172.30.1.2/24", gateway="172.30.1.1"),
        replace(endpoint("a", "back", "172.30.2.2/24", "fd02::2/64"), is_default_ipv6=True),
        endpoint("a", "third", "172.30.3.2/24", gateway="172.30.3.1", is_default=False),
    ]
    networks = (front(), network("back", "172.30.2.0/24", "fd02::/64"), network("third", "172.30.3.0/24"))
    one = attachment("a", endpoints, wanted=wanting("a", port(80, 8080)))

    state = assigned(DesiredState(host=host_facts(), networks=networks, attachments=(one,)))

    assert [[(str(b.host_ip), b.host_port) for b in e.ports] for e in state.attachments[0].endpoints] == [
        [("0.0.0.0", 8080)],
        [("::", 8080)],
        [],
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (port(80, 8080), port(81, 8080)),
        (port(80, 8080), port(81, 8080, host_ip="192.0.2.1")),
        (port(80, 8080, host_ip="192.0.2.1"), port(81, 8080)),
        (port(80, 8080, host_ip="192.0.2.1"), port(81, 8080, host_ip="192.0.2.1")),
        (port((80, 90), (8080, 8090)), port(81, 8085)),
    ],
    ids=["all and all", "all and one", "one and all", "one and the same", "within a range"],
)
def test_of_two_that_want_a_port_the_first_has_it_and_the_other_is_told_who(
    first: PortWanted, second: PortWanted
) -> None:
    state = assigned(desired(web("a", first), web("b", second)))

    assert host_ports(state, "a")
    assert [attachment.name for attachment in state.attachments] == ["a"]
    (unit, error), *_ = state.failures
    assert unit == Unit(attachment="b")
    assert isinstance(error, PortTaken)
    assert "failed: port is already allocated: attachment a has it (test.yaml:1:1); choose" in str(
        error.naming("test.yaml:1:1")
    )


@pytest.mark.parametrize(
    "second",
    [port(81, 8080, "udp"), port(81, 8080, host_ip="192.0.2.2"), port(81, 8081)],
    ids=["protocol", "address", "port"],
)
def test_ports_that_differ_do_not_meet(second: PortWanted) -> None:
    state = assigned(desired(web("a", port(80, 8080, host_ip="192.0.2.1")), web("b", second)))

    assert state.failures == ()


def test_a_port_twice_in_one_attachment_is_refused() -> None:
    state = assigned(desired(web("a", port(80, 8080), port(81, 8080))))

    assert "published twice" in errors(state)["a"]


def test_who_publishes_a_port_now_keeps_it() -> None:
    running = {"b": (binding(8080, 80),)}

    state = assigned(desired(web("a", port(80, 8080)), web("b", port(80, 8080))), promised=running, published=running)

    assert host_ports(state, "b") == [8080]
    assert "attachment b has it" in errors(state)["a"]


def test_a_range_for_one_port_means_its_first_free_one() -> None:
    state = assigned(
        desired(web("a", port(80, (8080, 8082))), web("b", port(80, (8080, 8082))), web("c", port(80, 8080)))
    )

    assert [host_ports(state, name) for name in "abc"] == [[8081], [8082], [8080]]


def test_a_range_that_is_used_up_is_an_error() -> None:
    state = assigned(desired(*(web(name, port(80, (8080, 8081))) for name in "abc")))

    assert list(errors(state)) == ["c"]
    assert "all ports are allocated: none of 8080-8081 is free for tcp" in errors(state)["c"]


def test_ephemeral_ports_pass_over_reserved_taken_and_bound_ones() -> None:
    host = HostPorts(
        ephemeral=(40000, 40009),
        reserved=((40000, 40001),),
        sockets=(BoundSocket(protocol="tcp", address=ANY4, port=40002),),
    )

    state = assigned(desired(web("a", port(80)), web("b", port(80, 40003)), web("c", port(80))), host=host)

    assert [host_ports(state, name) for name in "abc"] == [[40004], [40003], [40005]]


def test_ephemeral_ports_can_run_out() -> None:
    state = assigned(desired(web("a", port((80, 83))), web("b", port(80))))

    assert "none of 40000-40003 is free" in errors(state)["b"]
    assert len(host_ports(state, "a")) == 4


def test_ephemeral_port_is_kept_although_a_lower_one_is_free() -> None:
    state = assigned(desired(web("a", port(80)), web("b", port(80))), promised={"b": (binding(40002, 80),)})

    assert (host_ports(state, "a"), host_ports(state, "b")) == ([40000], [40002])


def test_ephemeral_port_outlives_a_change_of_the_range() -> None:
    state = assigned(desired(web("a", port(80))), promised={"a": (binding(55000, 80),)})

    assert host_ports(state, "a") == [55000]


def test_promised_port_of_a_range_that_was_moved_is_chosen_anew() -> None:
    state = assigned(desired(web("a", port(80, (9000, 9009)))), promised={"a": (binding(8080, 80),)})

    assert host_ports(state, "a") == [9000]


def test_published_port_is_adopted_when_the_store_forgot_it() -> None:
    state = assigned(desired(web("a", port(80))), published={"a": (binding(40002, 80),)})

    assert host_ports(state, "a") == [40002]


def test_declared_port_takes_the_ephemeral_one_of_another() -> None:
    state = assigned(desired(web("a", port(80)), web("b", port(80, 40002))), promised={"a": (binding(40002, 80),)})

    assert (host_ports(state, "a"), host_ports(state, "b")) == ([40000], [40002])


@pytest.mark.parametrize(
    ("address", "host_ip", "is_refused"),
    [
        (ANY4, None, True),
        (None, None, True),
        (ip_address("127.0.0.1"), None, True),
        (ip_address("127.0.0.1"), "127.0.0.1", True),
        (ANY4, "127.0.0.1", True),
        (ip_address("127.0.0.1"), "192.0.2.1", False),
        (ANY6, None, False),
    ],
    ids=["all", "both families", "one of all", "the same", "all of one", "another", "other family"],
)
def test_socket_of_the_host_is_in_the_way(address: IPv4Address | None, host_ip: str | None, is_refused: bool) -> None:
    host = HostPorts(sockets=(BoundSocket(protocol="tcp", address=address, port=8080),))

    state = assigned(desired(web("a", port(80, 8080, host_ip=host_ip))), host=host)

    assert bool(state.failures) == is_refused
    if is_refused:
        where = host_ip or "0.0.0.0"
        assert f"Bind for {where}:8080 failed: port is already allocated: a process of this host" in errors(state)["a"]


def test_socket_bound_later_does_not_take_a_published_port_away() -> None:
    host = HostPorts(sockets=(BoundSocket(protocol="tcp", address=ANY4, port=8080),))

    state = assigned(desired(web("a", port(80, 8080))), published={"a": (binding(8080, 80),)}, host=host)

    assert host_ports(state, "a") == [8080]


def test_what_a_failed_attachment_has_stays_taken() -> None:
    before = desired(web("b", port(80, 8080)))
    failed = replace(before, failures=((Unit(network="front", attachment="a"), PlanError("no address")),))

    state = assigned(failed, promised={"a": (binding(8080, 80),)})

    assert "attachment a has it" in errors(state)["b"]


def test_what_may_stand_in_unreadable_specs_stays_taken() -> None:
    promised = {"gone": (binding(8080, 80),)}

    assert assigned(desired(web("b", port(80, 8080))), promised=promised).failures == ()
    assert assigned(desired(web("b", port(80, 8080)), has_faults=True), promised=promised).failures != ()


def test_failure_of_one_may_fail_who_wants_what_it_keeps() -> None:
    state = assigned(
        desired(web("a", port(80, 8080)), web("b", port(80, 8080), port(81, 8081)), web("c", port(80, 9090))),
        promised={"b": (binding(9090, 80),)},
    )

    assert list(errors(state)) == ["b", "c"]


@pytest.mark.parametrize(
    ("net", "wanted", "text"),
    [
        (front(is_internal=True), port(80, 8080), "no port is published"),
        (front(), port(80, 8080, host_ip="2001:db8::1"), "no IPv6 default route leads into the sandbox"),
        (front(BridgeOptions(gateway_mode_ipv4=GatewayMode.ROUTED)), port(80, 8080), "host port 8080 is ignored"),
    ],
    ids=["internal", "no IPv6", "routed"],
)
def test_what_cannot_be_published_is_remarked(net: DesiredNetwork, wanted: PortWanted, text: str) -> None:
    state = assigned(desired(web("a", wanted), net=net))

    assert state.failures == ()
    assert text in remarks(state)
    assert all(not host_port for host_port in host_ports(state, "a"))


def test_loopback_of_ipv6_cannot_be_published() -> None:
    state = assigned(desired(web("a", port(80, 8080, host_ip="::1"), port(81, 8081), has_ipv6=True)))

    assert "::1" in remarks(state)
    assert host_ports(state, "a") == [8081, 8081]


def test_routed_network_needs_no_host_port() -> None:
    net = front(BridgeOptions(gateway_mode_ipv4=GatewayMode.ROUTED))

    state = assigned(desired(web("a", port(80, 8080)), web("b", port(80, 8080)), net=net))

    assert bindings(state, "a") == bindings(state, "b") == [("tcp", "0.0.0.0", 0, 80)]


def test_ports_are_discarded_on_the_host_s_own_stack() -> None:
    wanted = wanting("a", port(80, 8080), mode=NetworkMode.HOST)
    one = attachment("a", [endpoint("a", "host")], wanted=wanted)
    networks = (front(), replace(network("host"), link_name=""))

    state = assigned(DesiredState(host=host_facts(), networks=networks, attachments=(one,)))

    assert "discarded when using host network mode" in remarks(state)
    assert bindings(state, "a") == []


def test_state_without_ports_is_given_back_itself() -> None:
    state = desired(web("a"))

    assert assigned(state) is state


def test_more_ports_than_a_host_publishes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assign_module, "PORTS_MAX", 3)

    state = assigned(desired(web("a", port((1, 2), (1, 2))), web("b", port((5, 6), (5, 6))), web("c", port(9, 9))))

    assert list(errors(state)) == ["b"]
    assert host_ports(state, "c") == [9]


def test_who_is_refused_for_too_many_ports_has_none_of_them_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec file may ask for thousands of times as many as a host publishes."""
    monkeypatch.setattr(assign_module, "PORTS_MAX", 3)
    looked_at = []
    real = assign_module.demands
    monkeypatch.setattr(assign_module, "demands", lambda a, networks: looked_at.append(a.name) or real(a, networks))

    assigned(desired(web("a", port((1, 2), (1, 2))), web("b", port((5, 6), (5, 6)))))

    assert looked_at == ["a"]


PORTS = st.lists(
    st.builds(
        port,
        st.integers(80, 82),
        st.one_of(st.just(0), st.integers(8000, 8003), st.just((8000, 8003))),
        st.sampled_from(["tcp", "udp"]),
        st.sampled_from([None, "192.0.2.1", "192.0.2.2", "::"]),
    ),
    max_size=3,
)


@given(st.dictionaries(st.sampled_from("abcd"), PORTS), st.sets(st.integers(8000, 8003)))
def test_nobody_shares_a_port_and_choices_last(wanted: dict[str, Sequence[PortWanted]], bound: set[int]) -> None:
    host = replace(HOST, sockets=tuple(BoundSocket(protocol="tcp", address=ANY4, port=number) for number in bound))
    state = desired(*(web(name, *ports, has_ipv6=True) for name, ports in sorted(wanted.items())))

    first = assigned(state, host=host)

    held: dict[tuple[str, int, int], list[tuple[str, object]]] = {}
    for made in first.attachments:
        for b in made.endpoints[0].ports:
            held.setdefault((b.protocol, b.host_ip.version, b.host_port), []).append((made.name, b.host_ip))
    for holders in held.values():
        assert len(holders) == 1 or (
            len({ip for _, ip in holders}) == len(holders) and ANY4 not in dict(holders).values()
        )
    promised = {made.name: made.endpoints[0].ports for made in first.attachments if made.endpoints[0].ports}
    again = assigned(state, promised, promised, host)
    assert (again.attachments, errors(again)) == (first.attachments, errors(first))


PORTS = st.one_of(
    st.builds(port, st.sampled_from([80, 81]), st.sampled_from([0, 0, 8080, 8081])),
    st.builds(port, st.just(80), st.just(8080), st.just("tcp"), st.sampled_from(["192.0.2.1", "192.0.2.2"])),
    st.builds(port, st.just(80), st.sampled_from([(8080, 8082), (8081, 8083)])),
)
EDITS = st.tuples(
    st.sampled_from("abcde"),
    st.none() | st.lists(PORTS, min_size=1, max_size=2),
    st.sampled_from(["applied", "applied", "applied", "forgotten", "exchanged", "none"]),
    st.sampled_from([(), (), (BoundSocket(protocol="tcp", address=None, port=8080),)]),
    st.booleans(),
)


@given(st.lists(EDITS, min_size=2, max_size=10))
def test_who_assigns_again_and_again_gives_what_a_first_time_gives(edits: Sequence[tuple]) -> None:
    kept, members = PortAssigner(), dict[str, DesiredAttachment]()
    promised: dict[str, tuple[PortBinding, ...]] = {}
    published: dict[str, tuple[PortBinding, ...]] = {}
    net = front()
    for name, ports, records, sockets, has_faults in edits:
        members.pop(name, None)
        if ports is not None:
            members[name] = web(name, *ports)
        given_state = desired(*(members[each] for each in sorted(members)), net=net, has_faults=has_faults)
        host = replace(HOST, sockets=sockets)
        for what in ("applied", records):
            state = kept(given_state, promised, published, host)
            fresh = assign_ports(given_state, promised, published, host)
            assert replace(state, failures=()) == replace(fresh, failures=())
            assert [(unit, str(error)) for unit, error in state.failures] == [
                (unit, str(error)) for unit, error in fresh.failures
            ]
            made = {a.name: tuple(b for e in a.endpoints for b in e.ports) for a in state.attachments}
            promised = {**promised, **made} if has_faults or state.failures else made
            published = dict(promised)
            if what == "forgotten":
                promised = {}
            elif what == "none":
                promised, published = {}, {}
            elif what == "exchanged" and len(promised) > 1:
                first, second, *_ = sorted(promised)
                promised = {**promised, first: promised[second], second: promised[first]}
