"""Subnets of every length and both families, from a spec to the plan. What is usable is said here once more, by the RFCs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reconciler.compile import compile_objects
from reconciler.ipam.assign import assign
from reconciler.ipam.promises import Promises, decode_promises, endpoint_record, network_record
from reconciler.model.objects import Address, IPAddress, IPNetwork
from reconciler.plan.make_plan import Boundaries, make_plan
from reconciler.plan.ownership import owners
from reconciler.spec.load import load_specs
from tests.fakes.desired import host_facts

_MEMBERS = ("a", "b", "c")


@dataclass(frozen=True, kw_only=True)
class Case:
    subnet: IPNetwork
    ip_range: IPNetwork | None
    gateway: IPAddress | None
    aux: IPAddress | None
    static: IPAddress | None

    def text(self) -> str:
        family = "" if self.subnet.version == 4 else "enable_ipv4: false, enable_ipv6: true, "
        config = [f'subnet: "{self.subnet}"']
        config += [f'ip_range: "{self.ip_range}"'] if self.ip_range else []
        config += [f'gateway: "{self.gateway}"'] if self.gateway else []
        config += [f'aux_addresses: {{printer: "{self.aux}"}}'] if self.aux else []
        static = f'ipv{self.subnet.version}_address: "{self.static}"' if self.static else ""
        lines = [f"networks: {{n: {{{family}ipam: {{config: [{{{', '.join(config)}}}]}}}}}}", "attachments:"]
        lines += [f"  {name}: {{networks: {{n: {{}}}}}}" for name in _MEMBERS]
        lines += [f"  fixed: {{networks: {{n: {{{static}}}}}}}"] if static else []
        return "\n".join(lines) + "\n"


def is_usable(address: int, subnet: IPNetwork) -> bool:
    """RFC 3021 and RFC 6164: all of the last two lengths; else no network address, and no broadcast address in IPv4."""
    if subnet.max_prefixlen - subnet.prefixlen < 2:
        return True
    reserved = {int(subnet[0])} | ({int(subnet[-1])} if subnet.version == 4 else set())
    return address not in reserved


@st.composite
def cases(draw: st.DrawFn) -> Case:
    version = draw(st.sampled_from([4, 6]))
    make, base, longest = (IPv4Network, 10 << 24, 32) if version == 4 else (IPv6Network, 0xFD << 120, 128)
    length = draw(st.one_of(st.integers(longest - 4, longest), st.integers(9, longest)))
    subnet = make((base | draw(st.integers(0, min(255, (1 << (length - 8)) - 1))) << (longest - length), length))
    edges = st.one_of(st.integers(0, 4), st.integers(-4, -1), st.integers(0, subnet.num_addresses - 1))
    usable = edges.map(lambda n: int(subnet[n % subnet.num_addresses])).filter(lambda a: is_usable(a, subnet))
    chosen = draw(st.lists(usable, unique=True, max_size=3))
    gateway, aux, static = draw(st.permutations([*map(_address(subnet), chosen), *[None] * (3 - len(chosen))]))
    return Case(subnet=subnet, ip_range=draw(_ranges(subnet)), gateway=gateway, aux=aux, static=static)


def _address(subnet: IPNetwork):  # type: ignore[no-untyped-def]
    return lambda number: ip_address(int(number).to_bytes(subnet.max_prefixlen // 8, "big"))


@st.composite
def _ranges(draw: st.DrawFn, subnet: IPNetwork) -> IPNetwork | None:
    """None, or a part that is not only reserved."""
    length = draw(st.one_of(st.none(), st.integers(subnet.prefixlen, subnet.max_prefixlen)))
    if length is None:
        return None
    parts = 1 << (length - subnet.prefixlen)
    number = draw(st.one_of(st.sampled_from([0, parts - 1]), st.integers(0, parts - 1)))
    first = int(subnet[0]) + (number << (subnet.max_prefixlen - length))
    found = type(subnet)((first, length))
    return found if any(is_usable(int(address), subnet) for address in (found[0], found[-1])) else None


@given(cases())
def test_whatever_is_usable_is_taken_and_given(case: Case) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "n.yaml").write_text(case.text())
        loaded = load_specs(Path(folder), host="alpha", is_bridge_enabled=False)
    assert loaded.faults == ()
    host = host_facts()
    state = assign(loaded.wanted, host, Promises())
    network = next((found for found in state.networks if found.name == "n"), None)
    span = case.ip_range or case.subnet
    if network is None:  # nobody can say a gateway where every address of the subnet is an auxiliary one
        assert case.gateway is None
        assert case.subnet.num_addresses <= 4
        assert any("no room for a gateway" in str(error) for _, error in state.failures)
        return
    (subnet,) = network.subnets
    held = {subnet.gateway, case.aux}
    assert subnet.gateway is not None
    assert is_usable(int(subnet.gateway), case.subnet)
    members = {found.name: found.endpoints[0] for found in state.attachments}
    given_ = {name: endpoint.ipv4 or endpoint.ipv6 for name, endpoint in members.items()}
    taken = [interface.ip for interface in given_.values() if interface is not None]
    assert len(set(taken)) == len(taken)
    assert held.isdisjoint(taken)
    assert all(is_usable(int(address), case.subnet) for address in taken)
    if case.static is not None and case.static != subnet.gateway:
        assert case.static in taken
    few = min(span.num_addresses, 12)
    free = {span[n] for n in range(few) if is_usable(int(span[n]), case.subnet)} - held - {case.static}
    automatic = {name: interface.ip for name, interface in given_.items() if name in _MEMBERS and interface is not None}
    assert len(automatic) == min(len(_MEMBERS), len(free))
    assert all(address in span for address in automatic.values())
    _is_remembered_and_settles(state, members)


def _is_remembered_and_settles(state, members) -> None:  # type: ignore[no-untyped-def]
    records = [*map(network_record, state.networks), *map(endpoint_record, members.values())]
    promises, faults = decode_promises({record.path: record.value for record in records})
    assert faults == ()
    assert len(promises.endpoints) == len(members)
    objects = compile_objects(state, {})
    plan = make_plan(objects, {}, owners({}, {}, {}), Boundaries())
    assert plan.problems == ()
    assert len([each for each in objects.values() if isinstance(each, Address)]) == 1 + len(members)
