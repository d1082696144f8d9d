"""The promises that make_plan keeps for any two states of a host."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    Address,
    Bridge,
    ContainerFile,
    DeadEnd,
    FdbEntry,
    FirewallElement,
    FirewallRules,
    Ipvlan,
    Key,
    KvRecord,
    LinkUp,
    Macvlan,
    Namespace,
    Neighbour,
    Object,
    Route,
    SandboxFile,
    Seen,
    Sysctl,
    Unit,
    VethPair,
    Vlan,
    Vxlan,
)
from reconciler.model.plan import Action, Plan
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import Owners, owners
from tests.fakes.simulated_kernel import UPLINK, SimulatedKernel

FOREIGN_SANDBOX = NsRef("netns:foreign")


@st.composite
def hosts(draw: st.DrawFn) -> dict[Key, Object]:
    """A consistent host: bridges, and sandboxes each on some of them, with what belongs to both."""
    objects: list[Object] = [FirewallRules(family="inet", table="reconciler", digest=draw(st.sampled_from("ab")))]
    bridges = draw(st.lists(st.sampled_from(["br-a", "br-b", "br-c"]), unique=True))
    for number, ifname in enumerate(bridges):
        unit = Unit(network=ifname)
        mtu = draw(st.sampled_from([1400, 1500]))
        objects.append(Bridge(unit=unit, ns=HOST, ifname=ifname, mac="02:42:00:00:00:01", mtu=mtu))
        gateway = draw(st.sampled_from([1, 254]))
        objects.append(
            Address(unit=unit, ns=HOST, ifname=ifname, interface=ip_interface(f"10.{number}.0.{gateway}/24"))
        )
        objects.append(KvRecord(unit=unit, path=f"network/{ifname}", value=str(mtu)))
        objects.append(
            FirewallElement(unit=unit, family="inet", table="reconciler", set_name="bridges", element=(ifname,))
        )
    parents = [UPLINK, *draw(st.lists(st.just("dm-0123456789ab"), max_size=1))]
    for parent in parents[1:]:
        mtu = draw(st.sampled_from([1400, 1500]))
        objects.append(DeadEnd(unit=Unit(network="m"), ns=HOST, ifname=parent, mtu=mtu))
    for parent in draw(st.lists(st.just(f"{UPLINK}.10"), max_size=1)):
        number = draw(st.sampled_from([10, 11]))
        objects.append(Vlan(unit=Unit(network="m"), ns=HOST, ifname=parent, parent=UPLINK, vlan_id=number))
        parents.append(parent)
    for name in draw(st.lists(st.sampled_from(["web", "db", "foreign"]), unique=True)):
        objects += draw(sandboxes(name, bridges))
        objects += draw(sublinks(name, parents))
    for name in draw(st.lists(st.sampled_from(["x", "y"]), unique=True)):
        attachments = [found.ns for found in objects if isinstance(found, Namespace)]
        objects += draw(overlays(name, attachments))
    return {found.key: found for found in objects}


@st.composite
def overlays(draw: st.DrawFn, name: str, sandboxes_: list[NsRef]) -> list[Object]:
    """An overlay network with some of the sandboxes of ours on it, and endpoints elsewhere."""
    unit, ns = Unit(network=name), NsRef(f"netns:ov-{name}")
    vxlan = Vxlan(
        unit=unit,
        ns=ns,
        ifname="vxlan0",
        master="br0",
        vni=draw(st.sampled_from([300, 301])),
        local=ip_address("198.51.100.1"),
        port=4789,
        mtu=draw(st.sampled_from([1400, 1450])),
    )
    objects: list[Object] = [
        Namespace(unit=unit, ns=ns, name=f"ov-{name}"),
        Bridge(unit=unit, ns=ns, ifname="br0", mac="02:42:00:00:00:02", mtu=vxlan.mtu),
        Address(unit=unit, ns=ns, ifname="br0", interface=ip_interface("10.9.0.1/24")),
        vxlan,
    ]
    for number in draw(st.lists(st.integers(2, 4), unique=True)):
        mac, vtep = f"02:42:00:00:09:0{number}", draw(st.sampled_from(["198.51.100.2", "198.51.100.3"]))
        objects.append(FdbEntry(unit=unit, ns=ns, ifname="vxlan0", mac=mac, vtep=ip_address(vtep)))
        address = ip_address(f"10.9.0.{number}")
        objects.append(Neighbour(unit=unit, ns=ns, ifname="vxlan0", address=address, mac=mac))
    for sandbox in draw(st.lists(st.sampled_from(sandboxes_), unique=True)) if sandboxes_ else []:
        attachment = sandbox.removeprefix("netns:")
        endpoint = Unit(network=name, attachment=attachment)
        ifname, peer = f"rcv{attachment}{name}", f"ov{name}"
        pair = VethPair(
            unit=endpoint,
            ns=ns,
            ifname=ifname,
            master="br0",
            mtu=vxlan.mtu,
            peer_ns=sandbox,
            peer_ifname=peer,
            peer_mac="02:42:0a:09:00:02",
        )
        objects += [pair, LinkUp(unit=endpoint, ns=sandbox, ifname=peer)]
    return objects


@st.composite
def sublinks(draw: st.DrawFn, name: str, parents: list[str]) -> list[Object]:
    """At most one macvlan or ipvlan link in a sandbox, under one of two names."""
    unit, ns = Unit(network="m", attachment=name), NsRef(f"netns:{name}")
    if not draw(st.booleans()):
        return []
    ifname, parent, mtu = draw(st.sampled_from(["mac0", "mac1"])), draw(st.sampled_from(parents)), 1400
    mac, mode = draw(st.sampled_from(["02:42:00:00:00:07", "02:42:00:00:00:08"])), draw(st.sampled_from(["l2", "l3"]))
    link: Object = Ipvlan(unit=unit, ns=ns, ifname=ifname, parent=parent, mode=mode, flag="bridge", mtu=mtu)
    if draw(st.booleans()):
        link = Macvlan(unit=unit, ns=ns, ifname=ifname, parent=parent, mode="bridge", mac=mac, mtu=mtu)
    address = Address(unit=unit, ns=ns, ifname=ifname, interface=ip_interface("10.8.0.2/24"))
    record = KvRecord(unit=Unit(attachment=name), path=f"sandbox/{name}/netns%3A{name}", value="{}")
    return [link, LinkUp(unit=unit, ns=ns, ifname=ifname), address, record]


@st.composite
def sandboxes(draw: st.DrawFn, name: str, bridges: list[str]) -> list[Object]:
    unit, ns = Unit(attachment=name), NsRef(f"netns:{name}")
    objects: list[Object] = [LinkUp(unit=unit, ns=ns, ifname="lo")]
    if ns != FOREIGN_SANDBOX:
        objects.append(Namespace(unit=unit, ns=ns, name=name))
    content = draw(st.sampled_from(["one", "two"]))
    objects.append(SandboxFile(unit=unit, attachment=name, name="hosts", content=content))
    if draw(st.booleans()):
        path = draw(st.sampled_from(["/c/1/hosts", "/c/2/hosts"]))
        objects.append(ContainerFile(unit=unit, attachment=name, name="hosts", path=path, content=content))
    joined = draw(st.lists(st.sampled_from(bridges), unique=True)) if bridges else []
    for number, bridge in enumerate(joined):
        objects += draw(endpoints(name, ns, bridge, f"eth{number}", is_default=number == 0))
    return objects


@st.composite
def endpoints(draw: st.DrawFn, name: str, ns: NsRef, bridge: str, ifname: str, *, is_default: bool) -> list[Object]:
    unit = Unit(network=bridge, attachment=name)
    address = draw(st.sampled_from(["10.0.0.2/24", "10.0.0.3/24", "10.1.0.2/24"]))
    objects: list[Object] = [
        VethPair(
            unit=unit,
            ns=HOST,
            ifname=f"rcv{name}{bridge}"[:15],
            master=bridge,
            mtu=draw(st.sampled_from([1400, 1500])),
            peer_ns=ns,
            peer_ifname=ifname,
            peer_mac="02:42:0a:00:00:02",
        ),
        LinkUp(unit=unit, ns=ns, ifname=ifname),
        Sysctl(unit=unit, ns=ns, name=f"net/ipv6/conf/{ifname}/disable_ipv6", value="1"),
        Address(unit=unit, ns=ns, ifname=ifname, interface=ip_interface(address)),
        KvRecord(unit=unit, path=f"endpoint/{bridge}/{name}", value=address),
    ]
    if is_default:
        gateway = ip_address("10.0.0.1")
        objects.append(Route(unit=unit, ns=ns, destination=ip_network("0.0.0.0/0"), gateway=gateway, ifname=ifname))
    return objects


def seen_as_ours(objects: dict[Key, Object]) -> dict[Key, Seen]:
    return {key: Seen(found, is_ours=not isinstance(found, Sysctl)) for key, found in objects.items()}


def owners_of(*states: dict[Key, Object]) -> Owners:
    kinds = (Bridge, DeadEnd, Vlan, VethPair)
    links = {o.ifname: o.unit for state in states for o in state.values() if isinstance(o, kinds)}
    wanted = {key: found for state in states for key, found in state.items()}
    return owners(links, {}, seen_as_ours(states[0]), wanted)


def plan_between(present: dict[Key, Seen], wanted: dict[Key, Object]) -> Plan:
    return make_plan(wanted, present, owners_of({k: s.object for k, s in present.items()}, wanted), Boundaries())


def converge(kernel: SimulatedKernel, wanted: dict[Key, Object], *, rounds: int = 2) -> None:
    for _ in range(rounds):
        for operation in plan_between(kernel.seen, wanted).operations:
            kernel.apply_one(operation)


def kept(seen: dict[Key, Seen]) -> dict[Key, Object]:
    """What must be equal in the end: settings and link states are never taken back, so an unwanted one may stay."""
    return {k: s.object for k, s in seen.items() if not isinstance(s.object, (Sysctl, LinkUp))}


def carrying_out_the_plan_gives_what_is_wanted(present: dict[Key, Object], wanted: dict[Key, Object]) -> None:
    kernel = SimulatedKernel(seen_as_ours(present).values(), sandboxes=[FOREIGN_SANDBOX])

    converge(kernel, wanted)

    assert plan_between(kernel.seen, wanted).operations == ()
    assert kept(kernel.seen) == kept(seen_as_ours(wanted))


@given(wanted=hosts())
def test_one_round_is_enough_from_nothing(wanted: dict[Key, Object]) -> None:
    kernel = SimulatedKernel(sandboxes=[FOREIGN_SANDBOX])

    converge(kernel, wanted, rounds=1)

    assert plan_between(kernel.seen, wanted).operations == ()


def nothing_is_planned_when_all_is_as_wanted(present: dict[Key, Object]) -> None:
    assert plan_between(seen_as_ours(present), present).operations == ()


def a_plan_cut_short_anywhere_is_healed_by_the_next(
    present: dict[Key, Object], wanted: dict[Key, Object], rng: random.Random
) -> None:
    kernel = SimulatedKernel(seen_as_ours(present).values(), sandboxes=[FOREIGN_SANDBOX])
    operations = plan_between(kernel.seen, wanted).operations
    for operation in operations[: rng.randint(0, len(operations))]:
        kernel.apply_one(operation)

    converge(kernel, wanted)

    assert plan_between(kernel.seen, wanted).operations == ()


def the_order_of_what_was_found_does_not_matter(
    present: dict[Key, Object], wanted: dict[Key, Object], rng: random.Random
) -> None:
    shuffled = list(seen_as_ours(present).items())
    rng.shuffle(shuffled)

    assert plan_between(dict(shuffled), wanted) == plan_between(seen_as_ours(present), wanted)


def nothing_foreign_is_changed_or_deleted(present: dict[Key, Object], wanted: dict[Key, Object]) -> None:
    foreign = {key: replace(found, is_ours=False) for key, found in seen_as_ours(present).items()}

    plan = make_plan(wanted, foreign, owners_of(present, wanted), Boundaries())

    touched = [o for o in plan.operations if o.action is not Action.CREATE and not isinstance(o.object, Sysctl)]
    exclusive = (Bridge, VethPair, Vxlan, DeadEnd, Vlan, Macvlan, Ipvlan, Namespace, Route, SandboxFile)
    changed_in_place = [o for o in touched if isinstance(o.object, exclusive)]
    assert not changed_in_place
    assert not [o for o in plan.operations if o.action is Action.DELETE]


def nothing_is_pruned_of_what_the_specs_do_not_speak_of_while_some_are_unreadable(
    present: dict[Key, Object], wanted: dict[Key, Object]
) -> None:
    declared = frozenset(o.unit for o in wanted.values())
    boundaries = Boundaries(is_pruning=False, declared=declared)

    plan = make_plan(wanted, seen_as_ours(present), owners_of(present, wanted), boundaries)

    for operation in plan.operations:
        if operation.action is Action.DELETE:
            whose = operation.unit if not operation.unit.attachment else Unit(attachment=operation.unit.attachment)
            assert whose in declared


@given(present=hosts(), wanted=hosts(), seed=st.integers())
def test_plans_keep_their_promises_between_any_two_states(
    present: dict[Key, Object], wanted: dict[Key, Object], seed: int
) -> None:
    """All of them on each example: to draw one costs more than to judge it."""
    rng = random.Random(seed)

    carrying_out_the_plan_gives_what_is_wanted(present, wanted)
    nothing_is_planned_when_all_is_as_wanted(present)
    a_plan_cut_short_anywhere_is_healed_by_the_next(present, wanted, rng)
    the_order_of_what_was_found_does_not_matter(present, wanted, rng)
    nothing_foreign_is_changed_or_deleted(present, wanted)
    nothing_is_pruned_of_what_the_specs_do_not_speak_of_while_some_are_unreadable(present, wanted)
