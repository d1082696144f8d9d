"""Addresses and routes on the real kernel, each creation with its twins."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from msgspec.structs import replace

from reconciler.errors import KernelError, NameConflict, PrivilegeError
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Address, LinkUp, Route, Sysctl
from tests.kernel.engine import Engine, operation
from tests.kernel.test_links import BRIDGE, pair_to

pytestmark = pytest.mark.kernel


@pytest.fixture
def web(engine: Engine) -> NsRef:
    """A sandbox with eth0 up, on a bridge."""
    ns = engine.make_sandbox("web")
    engine.create(BRIDGE, pair_to(ns), LinkUp(ns=ns, ifname="eth0"))
    return ns


def address(ns: NsRef, interface: str) -> Address:
    return Address(ns=ns, ifname="eth0" if ns else BRIDGE.ifname, interface=ip_interface(interface))


def route(ns: NsRef, destination: str, gateway: str | None) -> Route:
    return Route(
        ns=ns, destination=ip_network(destination), gateway=ip_address(gateway) if gateway else None, ifname="eth0"
    )


@pytest.mark.parametrize("interface", ["10.9.0.2/24", "10.9.0.2/32", "10.9.0.2/31", "fd00::2/64", "fe80::2/64"])
def test_address_is_seen_as_it_was_made_and_is_ours(engine: Engine, web: NsRef, interface: str) -> None:
    wanted = address(web, interface)

    engine.create(wanted)

    assert engine.has(wanted)
    seen = engine.look(wanted)
    assert seen is not None
    assert seen.is_ours


def test_ipv6_address_is_usable_at_once(engine: Engine, web: NsRef) -> None:
    engine.create(address(web, "fd00::2/64"))

    shown = engine.machine.run("", "ip", "-n", "web", "-6", "address", "show", "dev", "eth0", "scope", "global").stdout

    assert "fd00::2/64" in shown
    assert "tentative" not in shown


def test_ipv4_address_has_the_subnets_broadcast_address(engine: Engine, web: NsRef) -> None:
    engine.create(address(web, "10.9.0.2/24"))

    assert "brd 10.9.0.255" in engine.machine.run("", "ip", "-n", "web", "-4", "address", "show", "dev", "eth0").stdout


@pytest.mark.parametrize("interface", ["10.9.0.2/24", "fd00::2/64"])
def test_address_that_is_there_serves_whoever_made_it(engine: Engine, web: NsRef, interface: str) -> None:
    engine.machine.run("", "ip", "-n", "web", "address", "add", interface, "dev", "eth0")

    engine.create(address(web, interface))

    seen = engine.look(address(web, interface))
    assert seen is not None
    assert not seen.is_ours


def test_foreign_address_with_another_prefix_length_is_a_conflict(engine: Engine, web: NsRef) -> None:
    engine.machine.run("", "ip", "-n", "web", "address", "add", "fd00::2/48", "dev", "eth0")

    assert isinstance(engine.create_error(address(web, "fd00::2/64")), NameConflict)
    assert engine.has(address(web, "fd00::2/48"))


def test_address_needs_its_link(engine: Engine, web: NsRef) -> None:
    error = engine.create_error(replace(address(web, "10.9.0.2/24"), ifname="eth7"))

    assert isinstance(error, KernelError)
    assert "eth7" in str(error)


def test_other_address_of_the_subnet_survives_a_deletion(engine: Engine, web: NsRef) -> None:
    first, second = address(web, "10.9.0.2/24"), address(web, "10.9.0.3/24")
    engine.create(first, second, route(web, "0.0.0.0/0", "10.9.0.1"))

    assert engine.delete_error(first) is None

    assert engine.look(first) is None
    assert engine.has(second, route(web, "0.0.0.0/0", "10.9.0.1"))


def test_gateway_of_a_bridge_moves_within_its_subnet(engine: Engine, web: NsRef) -> None:
    before, after = (replace(address(BRIDGE.ns, i), ns=BRIDGE.ns) for i in ("10.9.0.1/24", "10.9.0.254/24"))
    engine.create(before, address(web, "10.9.0.2/24"), after)

    assert engine.delete_error(before) is None

    assert engine.has(after)
    assert engine.machine.ping("web", "10.9.0.254")


@pytest.mark.parametrize("interface", ["10.9.0.2/24", "fd00::2/64"])
def test_deleting_an_address_that_is_gone_is_fine(engine: Engine, web: NsRef, interface: str) -> None:
    assert engine.delete_error(address(web, interface)) is None
    assert engine.delete_error(replace(address(web, interface), ifname="eth7")) is None


CASES = [("10.9.0.2/24", "0.0.0.0/0", "10.9.0.1", "10.9.0.7"), ("fd00::2/64", "::/0", "fd00::1", "fd00::7")]
families = pytest.mark.parametrize(("interface", "destination", "gateway", "other"), CASES, ids=["v4", "v6"])


@families
def test_route_is_seen_as_it_was_made_and_is_ours(
    engine: Engine, web: NsRef, interface: str, destination: str, gateway: str, other: str
) -> None:
    wanted = route(web, destination, gateway)
    engine.create(address(web, interface), wanted)

    engine.create(wanted)

    assert engine.has(wanted)
    seen = engine.look(wanted)
    assert seen is not None
    assert seen.is_ours


@pytest.mark.parametrize("destination", ["10.50.0.0/16", "fd50::/64"])
def test_route_on_link_is_seen_as_it_was_made(engine: Engine, web: NsRef, destination: str) -> None:
    engine.create(route(web, destination, None))

    assert engine.has(route(web, destination, None))


@families
def test_route_is_changed_in_place(
    engine: Engine, web: NsRef, interface: str, destination: str, gateway: str, other: str
) -> None:
    before, after = route(web, destination, gateway), route(web, destination, other)
    engine.create(address(web, interface), before)

    assert engine.update_error(before, after) is None

    assert engine.has(after)
    family = "-6" if ":" in other else "-4"
    assert len(engine.machine.ip_json("web", family, "route", "show", "default")) == 1


@families
def test_our_own_old_route_makes_way(
    engine: Engine, web: NsRef, interface: str, destination: str, gateway: str, other: str
) -> None:
    engine.create(address(web, interface), route(web, destination, other), route(web, destination, gateway))

    assert engine.has(route(web, destination, gateway))


def test_foreign_route_in_the_way_stays(engine: Engine, web: NsRef) -> None:
    engine.create(address(web, "10.9.0.2/24"))
    for command in (
        ("link", "add", "theirs", "type", "bridge"),
        ("link", "set", "theirs", "up"),
        ("address", "add", "192.0.2.2/24", "dev", "theirs"),
        ("route", "add", "default", "via", "192.0.2.1"),
    ):
        engine.machine.run("", "ip", "-n", "web", *command)
    theirs = replace(route(web, "0.0.0.0/0", "192.0.2.1"), ifname="theirs")

    created = engine.create_error(route(web, "0.0.0.0/0", "10.9.0.1"))
    updated = engine.update_error(theirs, route(web, "0.0.0.0/0", "10.9.0.1"))

    assert isinstance(created, NameConflict)
    assert isinstance(updated, NameConflict)
    seen = engine.look(theirs)
    assert seen is not None
    assert (seen.object, seen.is_ours) == (theirs, False)


def test_route_that_others_put_on_our_link_makes_way(engine: Engine, web: NsRef) -> None:
    """docs/design/ownership.md: a route is ours by its protocol number or by its link."""
    wanted = route(web, "0.0.0.0/0", "10.9.0.1")
    engine.create(address(web, "10.9.0.2/24"))
    engine.machine.run("", "ip", "-n", "web", "route", "add", "default", "via", "10.9.0.7")

    assert engine.update_error(route(web, "0.0.0.0/0", "10.9.0.7"), wanted) is None
    assert engine.has(wanted)
    engine.machine.run("", "ip", "-n", "web", "route", "replace", "default", "via", "10.9.0.7")
    assert engine.create_error(wanted) is None
    assert engine.has(wanted)


def test_foreign_route_to_the_same_place_survives_a_deletion(engine: Engine, web: NsRef) -> None:
    engine.create(address(web, "10.9.0.2/24"))
    engine.machine.run("", "ip", "-n", "web", "route", "add", "default", "via", "10.9.0.7", "metric", "50")
    engine.create(route(web, "0.0.0.0/0", "10.9.0.1"))

    assert engine.delete_error(route(web, "0.0.0.0/0", "10.9.0.1")) is None
    assert engine.delete_error(route(web, "0.0.0.0/0", "10.9.0.7")) is None

    assert engine.machine.default_gateway("web") == "10.9.0.7"


@families
def test_deleted_route_is_gone_and_deleting_it_again_is_fine(
    engine: Engine, web: NsRef, interface: str, destination: str, gateway: str, other: str
) -> None:
    engine.create(address(web, interface), route(web, destination, gateway))

    assert engine.delete_error(route(web, destination, gateway)) is None
    assert engine.delete_error(route(web, destination, gateway)) is None

    assert engine.look(route(web, destination, gateway)) is None


def test_unreachable_gateway_is_refused_in_the_kernels_words(engine: Engine, web: NsRef) -> None:
    error = engine.create_error(route(web, "0.0.0.0/0", "10.77.0.1"))

    assert isinstance(error, KernelError)
    assert "invalid gateway" in str(error)


def test_many_operations_of_one_batch_all_get_their_own_outcome(engine: Engine, web: NsRef) -> None:
    wanted = [address(web, f"10.{50 + number // 250}.{number % 250}.1/32") for number in range(400)]
    wanted[123] = replace(wanted[123], ifname="eth7")

    outcomes = engine.apply([operation(None, one) for one in wanted])

    assert [number for number, outcome in enumerate(outcomes) if outcome.error] == [123]
    assert engine.has(*(one for number, one in enumerate(wanted) if number != 123))


def test_ipv6_that_is_switched_off_on_a_link_is_called_that(engine: Engine, web: NsRef) -> None:
    engine.machine.run("web", "sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1")

    for wanted in (address(web, "fd00::2/64"), route(web, "fd01::/64", None)):
        error = engine.create_error(wanted)
        assert isinstance(error, KernelError)
        assert not isinstance(error, PrivilegeError)
        assert "IPv6 is" in str(error)
        assert "disable_ipv6" in str(error)


def test_a_setting_that_can_only_be_read_is_called_that(engine: Engine, web: NsRef) -> None:
    wanted = Sysctl(ns=web, name="net/ipv4/conf/eth0/mc_forwarding", value="1")

    (outcome,) = engine.apply([operation(None, wanted)])

    assert not isinstance(outcome.error, PrivilegeError)
    assert "can only be read" in str(outcome.error)
