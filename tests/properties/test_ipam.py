"""What assign and the promises' codec keep for any specs and any history."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.ipam.assign import Assigner, assign
from reconciler.ipam.promises import Promises, decode_promises, endpoint_record, network_record
from reconciler.model.desired import DesiredEndpoint, DesiredState
from reconciler.model.objects import IPNetwork, Unit
from reconciler.model.wanted import (
    AttachmentWanted,
    BridgeOptions,
    EndpointWanted,
    GatewayMode,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    SubnetWanted,
    WantedState,
)
from tests.fakes.desired import host_facts

HOST = host_facts()
NETWORK_NAMES = ("bridge", "a", "b", "c")
ATTACHMENT_NAMES = tuple("pqrstuv")
POOLS = {
    "bridge": ("10.0.0.0/29", "10.0.0.0/28", "fd00:1::/125"),
    "a": ("10.0.1.0/30", "10.0.1.0/29", "fd00:2::/64"),
    "b": ("10.0.2.0/31", "10.0.2.0/29", "fd00:3::/64"),
    "c": ("10.0.3.0/29", "10.0.0.0/30", "172.17.0.0/24", "fd00:3::/64"),
}
"""What each network may declare; those of `c` meet others' now and then."""

MACS = (*[None] * 8, "02:42:0a:00:00:02", "02:00:00:00:00:01")


def pools_of(name: str, version: int) -> list[IPNetwork]:
    return [pool for pool in map(ip_network, POOLS[name]) if pool.version == version]


def subnets(pool: IPNetwork) -> st.SearchStrategy[SubnetWanted]:
    some = [pool[number] for number in range(min(pool.num_addresses, 8))]
    addresses = st.sampled_from([*[None] * len(some), *some])
    halves = list(pool.subnets()) if pool.num_addresses > 2 else []
    return st.builds(
        SubnetWanted,
        subnet=st.just(pool),
        ip_range=st.sampled_from([None, None, *halves]),
        gateway=addresses,
        aux_addresses=addresses.map(lambda aux: (("aux", aux),) if aux else ()),
    )


def networks(name: str) -> st.SearchStrategy[NetworkWanted]:
    none_or_one = [
        st.one_of(st.just(()), *(subnets(pool).map(lambda found: (found,)) for pool in pools_of(name, version)))
        for version in (4, 6)
    ]
    options = st.builds(
        BridgeOptions,
        link_name=st.sampled_from([None] * 7 + ["br0"]),
        gateway_mode_ipv4=st.sampled_from([GatewayMode.NAT, GatewayMode.ISOLATED]),
        container_iface_prefix=st.sampled_from(["eth", "eth", "wan"]),
    )
    return st.builds(
        NetworkWanted,
        name=st.just(name),
        bridge=options,
        subnets=st.tuples(*none_or_one).map(lambda families: families[0] + families[1]),
        is_internal=st.booleans(),
        is_ipv6_enabled=st.booleans(),
    )


def endpoints(name: str) -> st.SearchStrategy[EndpointWanted]:
    statics = [address for pool in pools_of(name, 4) for address in list(pool)[:8]]
    return st.builds(
        EndpointWanted,
        network=st.just(name),
        ipv4_address=st.sampled_from([None] * len(statics) + statics),
        mac_address=st.sampled_from(MACS),
        priority=st.integers(-1, 1),
        gw_priority=st.integers(-1, 1),
        interface_name=st.sampled_from([None] * 8 + ["eth0", "lan"]),
    )


# Strategies are made once: to make them while one draws would be most of the work.
NETWORKS = {name: networks(name) for name in NETWORK_NAMES}
ENDPOINTS = {name: endpoints(name) for name in NETWORK_NAMES}
DECLARED = st.lists(st.sampled_from(NETWORK_NAMES), unique=True, min_size=1)
MEMBERS = st.lists(st.sampled_from(ATTACHMENT_NAMES), unique=True, min_size=2)
JOINED = st.lists(st.sampled_from(NETWORK_NAMES), unique=True, min_size=1, max_size=3)
ONE_IN_TEN = st.integers(0, 9).map(lambda number: number == 9)


@st.composite
def attachments(draw: st.DrawFn, name: str, declared: list[str]) -> AttachmentWanted:
    """On networks that are declared, or one time in ten on any."""
    joined = draw(JOINED)
    if not draw(ONE_IN_TEN):
        joined = [network for network in joined if network in declared] or declared[:1]
    return AttachmentWanted(
        name=name,
        sandbox=SandboxRef(SandboxKind.NETNS, name),
        endpoints=tuple(draw(ENDPOINTS[network]) for network in joined),
    )


@st.composite
def wanted_states(draw: st.DrawFn) -> WantedState:
    declared = draw(DECLARED)
    return WantedState(
        networks=tuple(draw(NETWORKS[name]) for name in declared),
        attachments=tuple(draw(attachments(name, declared)) for name in draw(MEMBERS)),
        has_faults=draw(st.booleans()),
    )


def promises_after(state: DesiredState, before: Promises) -> Promises:
    """What the store holds when `state` was applied: units that failed, and all that needs them, keep their records."""
    made = [network_record(found) for found in state.networks]
    made += [endpoint_record(endpoint) for found in state.attachments for endpoint in found.endpoints]
    now, faults = decode_promises({record.path: record.value for record in made})
    assert faults == ()
    failed = {unit for unit, _ in state.failures}
    failed_attachments = {unit.attachment for unit in failed if unit.attachment}
    declared = {n.name for n in state.networks}
    kept_networks = {
        name: promise
        for name, promise in before.networks.items()
        if Unit(network=name) in failed or (state.has_faults and name not in declared)
    }
    attached = {found.name for found in state.attachments}
    kept_endpoints = {
        (network, attachment): promise
        for (network, attachment), promise in before.endpoints.items()
        if attachment in failed_attachments
        or Unit(network=network) in failed
        or (state.has_faults and attachment not in attached)
    }
    return Promises(networks={**kept_networks, **now.networks}, endpoints={**kept_endpoints, **now.endpoints})


def after_history(history: list[WantedState]) -> Promises:
    promises = Promises()
    for wanted in history:
        promises = promises_after(assign(wanted, HOST, promises), promises)
    return promises


def all_endpoints(state: DesiredState) -> list[DesiredEndpoint]:
    return [endpoint for found in state.attachments for endpoint in found.endpoints]


def told(state: DesiredState) -> list[tuple[Unit, str]]:
    return [(unit, str(error)) for unit, error in state.failures]


def left_out(state: DesiredState) -> set[str]:
    """Networks and attachments that cannot be had; one that fails twice may be told of once or twice."""
    return {
        f"attachment {unit.attachment}" if unit.attachment else f"network {unit.network}" for unit, _ in state.failures
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What was assigned, from what."""

    wanted: WantedState
    promises: Promises
    state: DesiredState


def addresses_are_unique_and_usable(case: Case) -> None:
    for network in case.state.networks:
        here = [endpoint for endpoint in all_endpoints(case.state) if endpoint.network == network.name]
        taken = [interface.ip for e in here for interface in (e.ipv4, e.ipv6) if interface]
        assert len(set(taken)) == len(taken)
        assert len({endpoint.mac for endpoint in here}) == len(here)
        for subnet in network.subnets:
            pool = subnet.subnet
            forbidden = {subnet.gateway, *(address for _, address in subnet.aux_addresses)}
            if pool.version == 6 or pool.prefixlen < 31:
                forbidden.add(pool.network_address)
            if pool.version == 4 and pool.prefixlen < 31:
                forbidden.add(pool.broadcast_address)
            assert not forbidden & set(taken)
        assert all(any(address in subnet.subnet for subnet in network.subnets) for address in taken)


def automatic_addresses_lie_in_the_range_and_statics_are_as_declared(case: Case) -> None:
    by_name = {network.name: network for network in case.state.networks}
    for endpoint in all_endpoints(case.state):
        spans = [subnet.ip_range or subnet.subnet for subnet in by_name[endpoint.network].subnets]
        if endpoint.wanted.ipv4_address is not None:
            assert endpoint.ipv4 is not None
            assert endpoint.ipv4.ip == endpoint.wanted.ipv4_address
        elif endpoint.ipv4 is not None:
            assert any(endpoint.ipv4.ip in span for span in spans)
        if endpoint.ipv6 is not None:
            assert any(endpoint.ipv6.ip in span for span in spans)


def every_endpoint_is_complete_or_its_attachment_is_left_out_with_a_reason(case: Case) -> None:
    failed = {unit.attachment for unit, _ in case.state.failures if unit.attachment}
    lost = {unit.network for unit, _ in case.state.failures if not unit.attachment}
    assert {a.name for a in case.wanted.attachments} == {a.name for a in case.state.attachments} | failed
    assert not failed & {a.name for a in case.state.attachments}
    assert {n.name for n in case.wanted.networks} == {n.name for n in case.state.networks} | lost
    for endpoint in all_endpoints(case.state):
        families = {s.subnet.version for n in case.state.networks if n.name == endpoint.network for s in n.subnets}
        assert families == {i.version for i in (endpoint.ipv4, endpoint.ipv6) if i}
        assert endpoint.mac
        assert endpoint.ifname


def pools_and_links_belong_to_one_network_each(case: Case) -> None:
    failed = {unit.network for unit, _ in case.state.failures if not unit.attachment}
    claims = [(n.name, s.subnet) for n in case.state.networks for s in n.subnets]
    claims += [(name, pool) for name, p in case.promises.networks.items() if name in failed for pool, _ in p.subnets]
    for index, (owner, pool) in enumerate(claims):
        assert not any(
            pool.overlaps(other) for name, other in claims[:index] if pool.version == other.version and name != owner
        )
    links = [n.link_name for n in case.state.networks] + [
        p.link_name for n, p in case.promises.networks.items() if n in failed
    ]
    assert len(set(links)) == len(links)


def interfaces_of_a_sandbox_have_names_of_their_own_and_one_default_route_per_family(case: Case) -> None:
    for attachment in case.state.attachments:
        names = [endpoint.ifname for endpoint in attachment.endpoints]
        assert len(set(names)) == len(names)
        assert "lo" not in names
        for family in ("ipv4", "ipv6"):
            offers = [e for e in attachment.endpoints if getattr(e, f"gateway_{family}")]
            assert (
                [getattr(e, f"is_default_{family}") for e in offers] == [True] + [False] * (len(offers) - 1)
                if offers
                else True
            )


def next_pass_over_the_same_specs_chooses_the_same(case: Case) -> None:
    again = assign(case.wanted, HOST, promises_after(case.state, case.promises))

    assert replace(again, failures=()) == replace(case.state, failures=())
    assert left_out(again) == left_out(case.state)


def order_of_the_input_is_irrelevant(case: Case, rng: random.Random) -> None:
    attachments = [
        replace(a, endpoints=tuple(rng.sample(a.endpoints, len(a.endpoints)))) for a in case.wanted.attachments
    ]
    shuffled = replace(
        case.wanted,
        networks=tuple(rng.sample(case.wanted.networks, len(case.wanted.networks))),
        attachments=tuple(rng.sample(attachments, len(attachments))),
    )
    turned = Promises(
        networks=dict(reversed(case.promises.networks.items())),
        endpoints=dict(reversed(case.promises.endpoints.items())),
    )

    one, other = case.state, assign(shuffled, HOST, turned)

    assert one.networks == other.networks
    assert all_endpoints(one) == all_endpoints(other)
    assert told(one) == told(other)


def held_addresses_are_given_to_nobody(case: Case) -> None:
    declared = {found.name for found in case.wanted.attachments}
    failed = {unit.attachment for unit, _ in case.state.failures if unit.attachment}
    for (network, attachment), promise in case.promises.endpoints.items():
        if attachment in failed or (case.wanted.has_faults and attachment not in declared):
            others = [e for e in all_endpoints(case.state) if e.network == network]
            assert promise.ipv4 is None or all(e.ipv4 is None or e.ipv4.ip != promise.ipv4.ip for e in others)


def records_read_back_as_written(case: Case) -> None:
    read = promises_after(case.state, Promises())

    for network in case.state.networks:
        found = read.networks[network.name]
        assert (found.id, found.created, found.link_name) == (network.id, network.created, network.link_name)
        assert found.subnets == tuple((s.subnet, s.gateway) for s in network.subnets)
    for endpoint in all_endpoints(case.state):
        kept = read.endpoints[endpoint.network, endpoint.attachment]
        for name in ("id", "ifname", "link_name", "ipv4", "ipv6", "mac"):
            assert getattr(kept, name) == getattr(endpoint, name)


LAWS = (
    addresses_are_unique_and_usable,
    automatic_addresses_lie_in_the_range_and_statics_are_as_declared,
    every_endpoint_is_complete_or_its_attachment_is_left_out_with_a_reason,
    pools_and_links_belong_to_one_network_each,
    interfaces_of_a_sandbox_have_names_of_their_own_and_one_default_route_per_family,
    next_pass_over_the_same_specs_chooses_the_same,
    held_addresses_are_given_to_nobody,
    records_read_back_as_written,
)


@settings(max_examples=2 * settings.default.max_examples)
@given(wanted_states(), st.lists(wanted_states(), max_size=2), st.integers())
def test_assigning_keeps_its_laws_after_any_history(wanted: WantedState, history: list[WantedState], seed: int) -> None:
    """All of them on each example: to draw one costs ten times what it takes to judge it."""
    promises = after_history(history)
    case = Case(wanted=wanted, promises=promises, state=assign(wanted, HOST, promises))

    for law in LAWS:
        law(case)
    order_of_the_input_is_irrelevant(case, random.Random(seed))


MEMBER_EDITS = st.sampled_from(ATTACHMENT_NAMES).flatmap(
    lambda name: st.one_of(
        st.just((name, None)), *(attachments(name, [*NETWORK_NAMES]).map(lambda a: (a.name, a)) for _ in range(3))
    )
)
NETWORK_EDITS = st.sampled_from(NETWORK_NAMES).flatmap(
    lambda name: st.one_of(st.just((name, None)), NETWORKS[name].map(lambda network: (network.name, network)))
)
RECORDS = st.sampled_from(["applied", "applied", "applied", "as before", "one lost", "two exchanged", "all lost"])


def with_records(what: str, before: Promises, after: Promises, rng: random.Random) -> Promises:
    """What the store may hold after a pass, or after somebody else was there."""
    endpoints = dict(after.endpoints)
    keys = sorted(endpoints)
    match what:
        case "as before":
            return before
        case "all lost":
            return Promises()
        case "one lost" if keys:
            del endpoints[rng.choice(keys)]
        case "two exchanged" if len(keys) > 1:
            one, other = rng.sample(keys, 2)
            endpoints[one] = replace(endpoints[one], ipv4=endpoints[other].ipv4, mac=endpoints[other].mac)
    return Promises(networks=after.networks, endpoints=endpoints)


@given(
    wanted_states(),
    st.lists(st.tuples(st.booleans(), MEMBER_EDITS, NETWORK_EDITS, ONE_IN_TEN, RECORDS), min_size=1, max_size=6),
    st.integers(),
)
def test_who_assigns_again_and_again_gives_what_a_first_time_gives(
    first: WantedState, edits: list[tuple[bool, tuple, tuple, bool, str]], seed: int
) -> None:
    kept, promises, rng = Assigner(), Promises(), random.Random(seed)
    networks = {network.name: network for network in first.networks}
    members = {attachment.name: attachment for attachment in first.attachments}
    for is_of_network, (member, attachment), (name, network), has_faults, records in [
        (False, (None, None), (None, None), first.has_faults, "applied"),
        *edits,
    ]:
        table, key, value = (networks, name, network) if is_of_network else (members, member, attachment)
        table.pop(key, None)
        if value is not None:
            table[key] = value
        wanted = WantedState(
            networks=tuple(networks.values()), attachments=tuple(members.values()), has_faults=has_faults
        )
        for what in ("applied", records):
            state, fresh = kept(wanted, HOST, promises), assign(wanted, HOST, promises)
            assert replace(state, failures=()) == replace(fresh, failures=())
            assert told(state) == told(fresh)
            assert kept(wanted, HOST, replace(promises)) is state
            promises = with_records(what, promises, promises_after(state, promises), rng)


_paths = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["network/a", "network/b", "endpoint/a/b", "sysctl//net/ipv4/ip_forward", "sysctl/netns%3Aa/net/x"]
    ),
)
_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["a" * 64, "10.0.0.0/24", "10.0.0.1", "fd00::1/64", "02:42:00:00:00:01", "2026-01-01T00:00:00Z", "eth0", ""]
    ),
)
_keys = st.sampled_from(
    ["id", "created", "link_name", "subnets", "subnet", "gateway", "ifname", "ipv4", "ipv6", "mac", "before"]
)
_documents = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=8),
    max_leaves=12,
)


@given(st.dictionaries(_paths, st.one_of(st.text(), _documents.map(json.dumps)), max_size=6))
def test_whatever_the_store_holds_is_read_without_raising(records: dict[str, str]) -> None:
    promises, faults = decode_promises(records)

    known = len(promises.networks) + len(promises.endpoints) + len(promises.sysctls)
    assert known + len(faults) <= len(records)


@given(wanted_states(), st.dictionaries(_paths, _documents.map(json.dumps), max_size=6))
def test_whatever_the_store_holds_assigning_gives_usable_addresses(
    wanted: WantedState, records: dict[str, str]
) -> None:
    promises, _ = decode_promises(records)

    state = assign(wanted, HOST, promises)

    for endpoint in all_endpoints(state):
        assert endpoint.ipv4 is None or endpoint.ipv4.ip != ip_address("0.0.0.0")
    assert assign(wanted, HOST, promises_after(state, promises)).attachments == state.attachments
