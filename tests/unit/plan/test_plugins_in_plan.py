"""Calls to plugins among other objects: last to come, made anew rather than changed, and nobody else's burden."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface, ip_network

from msgspec.structs import replace

from reconciler.errors import AddressesAwaited, PluginUnavailable, ReconcilerError
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    Address,
    Bridge,
    Key,
    KvRecord,
    LinkUp,
    Namespace,
    Object,
    PluginAddress,
    PluginEndpoint,
    PluginLink,
    PluginNetwork,
    PluginNode,
    PluginPool,
    PluginPorts,
    PluginScope,
    Route,
    Seen,
    Unit,
)
from reconciler.model.plan import Disruption, Plan
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners

NETWORK_UNIT, UNIT, SANDBOX = (
    Unit(network="fabric"),
    Unit(network="fabric", attachment="web"),
    Unit(attachment="web"),
)
NS = NsRef("netns:web")
SCOPE = PluginScope(unit=NETWORK_UNIT, network="fabric", driver="ciao")
NETWORK = PluginNetwork(unit=NETWORK_UNIT, network="fabric", driver="ciao", id="1" * 64, options="{}")
ENDPOINT = PluginEndpoint(
    unit=UNIT,
    network="fabric",
    attachment="web",
    driver="ciao",
    network_id="1" * 64,
    network_told="",
    id="2" * 64,
    ns=NS,
    inode=7,
    interface="{}",
    options="{}",
    join_options="{}",
)
PORTS = PluginPorts(
    unit=UNIT, network="fabric", attachment="web", driver="ciao", network_id="1", endpoint_id="2", options="{}"
)
POOL = PluginPool(
    unit=NETWORK_UNIT,
    network="fabric",
    driver="ciao",
    version=4,
    number=0,
    pool="",
    sub_pool="",
    gateway="",
    aux="{}",
    options="{}",
    scope_driver="",
)
LEASE = PluginAddress(
    unit=UNIT, network="fabric", attachment="web", driver="ciao", version=4, pool_id="p", address="", mac=""
)
LINK = PluginLink(unit=UNIT, ns=NS, ifname="eth0", src_name="given", endpoint="2" * 12)
INSIDE: tuple[Object, ...] = (
    LinkUp(unit=UNIT, ns=NS, ifname="eth0"),
    Address(unit=UNIT, ns=NS, ifname="eth0", interface=ip_interface("10.0.0.2/24")),
    Route(unit=UNIT, ns=NS, destination=ip_network("10.9.0.0/24"), gateway=None, ifname="eth0"),
)
LOCAL: tuple[Object, ...] = (
    Bridge(unit=Unit(network="lan"), ns=HOST, ifname="br-lan", mac="02:42:00:00:00:01", mtu=1500),
    Namespace(unit=SANDBOX, ns=NS, name="web"),
    KvRecord(unit=Unit(network="lan"), path="network/lan", value="{}"),
)
EVERYTHING = (*LOCAL, SCOPE, POOL, NETWORK, LEASE, ENDPOINT, PORTS, LINK, *INSIDE)


def plan(wanted: tuple[Object, ...], seen: tuple[Object, ...], *failures: tuple[Unit, ReconcilerError]) -> Plan:
    found: Mapping[Key, Seen] = {each.key: Seen(each, is_ours=True) for each in seen}
    whose = owners({"br-lan": Unit(network="lan")}, {NS: SANDBOX}, found)
    return make_plan({each.key: each for each in wanted}, found, whose, Boundaries(failures=failures))


def kinds(of: Plan, action: str) -> list[str]:
    return [operation.object.kind for operation in of.operations if operation.action == action]


def test_plugins_are_told_when_all_else_is_done() -> None:
    created = kinds(plan(EVERYTHING, ()), "create")

    calls = ["PluginScope", "PluginPool", "PluginNetwork", "PluginAddress", "PluginEndpoint", "PluginPorts"]
    assert created[-6:] == calls


def test_what_goes_goes_in_the_engines_order_and_promises_go_last() -> None:
    deleted = kinds(plan((), EVERYTHING), "delete")

    assert deleted.index("PluginLink") < deleted.index("PluginPorts")
    assert deleted[-7:-4] == ["PluginPorts", "PluginEndpoint", "PluginAddress"]
    assert deleted[-4:] == ["PluginNetwork", "PluginPool", "PluginScope", "KvRecord"]


def test_network_is_not_forgotten_while_an_endpoint_of_it_is_left_alone() -> None:
    other = Unit(network="lan", attachment="web")

    deleted = kinds(plan((), EVERYTHING, (other, PluginUnavailable("it hangs"))), "delete")
    without = kinds(plan((), (*LOCAL, SCOPE, POOL, NETWORK), (other, PluginUnavailable("it hangs"))), "delete")

    assert deleted == ["Bridge", "KvRecord"]
    assert without == ["Bridge", "PluginNetwork", "PluginPool", "PluginScope", "KvRecord"]


def test_link_takes_along_what_is_on_it() -> None:
    assert kinds(plan((NETWORK, ENDPOINT), (NETWORK, ENDPOINT, LINK, *INSIDE)), "delete") == ["PluginLink"]


def test_what_a_plugin_was_told_is_never_changed_in_place() -> None:
    for before, after in (
        (NETWORK, replace(NETWORK, options='{"a":1}')),
        (ENDPOINT, replace(ENDPOINT, inode=8)),
        (PORTS, replace(PORTS, options='{"a":1}')),
        (replace(NETWORK, is_complete=False), NETWORK),
        (replace(ENDPOINT, is_complete=False), ENDPOINT),
        (replace(LEASE, is_complete=False), LEASE),
        (POOL, replace(POOL, gateway="10.0.0.1")),
    ):
        found = plan((after,), (before,))

        assert [(str(o.action), o.object.kind) for o in found.operations] == [
            ("delete", before.kind),
            ("create", before.kind),
        ]


def test_plugin_started_anew_is_an_update() -> None:
    for before in (POOL, LEASE, PluginNode(driver="ciao", address="192.0.2.7", bind_address="", is_self=False)):
        found = plan((replace(before, incarnation="new"),), (before,))

        assert [(str(o.action), o.disruption) for o in found.operations] == [("update", Disruption.NONE)]


def test_plugin_that_is_down_stalls_its_network_alone() -> None:
    found = plan(EVERYTHING, (), (NETWORK_UNIT, PluginUnavailable("it is down")))

    assert kinds(found, "create") == ["KvRecord", "Namespace", "Bridge"]


def test_running_endpoints_stay_while_their_plugin_is_down() -> None:
    found = plan(EVERYTHING, EVERYTHING, (NETWORK_UNIT, PluginUnavailable("it is down")))

    assert found.operations == ()


def test_network_that_awaits_its_pools_is_given_them_and_else_left_alone() -> None:
    running = tuple(each for each in EVERYTHING if each is not POOL)
    found = plan((*LOCAL, POOL), running, (NETWORK_UNIT, AddressesAwaited("awaited")))

    assert [(str(o.action), o.object.kind) for o in found.operations] == [("create", "PluginPool")]


def test_network_whose_driver_is_another_waits_for_the_scope_of_that_one() -> None:
    found = plan((replace(SCOPE, driver="other"),), EVERYTHING, (NETWORK_UNIT, AddressesAwaited("awaited")))

    assert [(str(o.action), o.object) for o in found.operations if o.unit == NETWORK_UNIT] == [
        ("delete", SCOPE),
        ("create", replace(SCOPE, driver="other")),
    ]


def test_network_that_awaits_pools_of_a_plugin_that_is_down_is_left_alone() -> None:
    failures: tuple[tuple[Unit, ReconcilerError], ...] = (
        (NETWORK_UNIT, AddressesAwaited("awaited")),
        (NETWORK_UNIT, PluginUnavailable("it is down")),
    )

    assert plan((*LOCAL, POOL), LOCAL, *failures).operations == ()


def test_routes_on_link_come_before_those_that_lead_through_them() -> None:
    gateway = ip_interface("169.254.1.1/32")
    default = Route(unit=UNIT, ns=NS, destination=ip_network("0.0.0.0/0"), gateway=gateway.ip, ifname="eth0")
    on_link = Route(unit=UNIT, ns=NS, destination=gateway.network, gateway=None, ifname="eth0")

    found = plan((default, on_link), ())

    assert [operation.object for operation in found.operations] == [on_link, default]


def test_nodes_fail_by_themselves() -> None:
    node = PluginNode(driver="ciao", address="192.0.2.7", bind_address="", is_self=False)

    (operation,) = plan((), (node,)).operations

    assert operation.unit.network == "<nodes at plugin ciao>"
