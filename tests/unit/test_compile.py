"""What the compiler remembers: of many endpoints on other hosts a change touches few."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Interface, ip_address, ip_network

from msgspec.structs import replace

from reconciler.compile import Compiler, PartName, compile_objects
from reconciler.incremental import Union
from reconciler.model.desired import DesiredNetwork, DesiredState, RemoteEndpoint
from reconciler.model.identifiers import NsRef, link_local
from reconciler.model.objects import Address, FdbEntry, FirewallElement, Key, Object, Sysctl, Unit, objects_differ
from reconciler.model.observed import SandboxFact
from reconciler.ports.remarks import ipv6_remarks
from tests.fakes.desired import attachment, endpoint, host_facts, network
from tests.unit.drivers.test_overlay import overlay


def far(number: int, vtep: str = "198.51.100.2") -> RemoteEndpoint:
    return RemoteEndpoint(
        network="zone",
        id=f"{number:064x}",
        name=f"far{number}",
        host="beta",
        vtep=ip_address(vtep),
        mac=f"02:42:0a:09:00:{number:02x}",
        ipv4=IPv4Interface(f"10.9.0.{number}/24"),
    )


def state(network: DesiredNetwork, address: str = "10.9.0.2/24") -> DesiredState:
    web = attachment("web", [endpoint("web", "zone", address)])
    return DesiredState(
        host=replace(host_facts(), vtep=ip_address("198.51.100.1")), networks=(network,), attachments=(web,)
    )


def zone(remote: Sequence[RemoteEndpoint]) -> DesiredNetwork:
    return overlay(("10.9.0.0/24", 300), remote=tuple(remote))


def entries(objects: dict[Key, Object]) -> dict[str, FdbEntry]:
    return {each.mac: each for each in objects.values() if isinstance(each, FdbEntry)}


def kept_compiler() -> Callable[[DesiredState, Mapping[NsRef, SandboxFact]], dict[Key, Object]]:
    compiler, union = Compiler(), Union[PartName, Key, Object](objects_differ)

    def compiled(desired: DesiredState, sandboxes: Mapping[NsRef, SandboxFact]) -> dict[Key, Object]:
        parts, names = compiler(desired, sandboxes)
        return {**union(parts), **names}

    return compiled


def test_an_endpoint_elsewhere_that_stays_is_not_compiled_again() -> None:
    compiler = kept_compiler()

    before = entries(compiler(state(zone([far(3), far(4)])), {}))
    after = entries(compiler(state(zone([far(4), far(5)])), {}))

    assert set(after) == {far(4).mac, far(5).mac}
    assert after[far(4).mac] is before[far(4).mac]


def test_what_is_remembered_is_what_would_be_compiled_anew() -> None:
    compiler = kept_compiler()
    looks = (
        state(zone([far(3), far(4)])),
        state(zone([far(3), far(4, vtep="198.51.100.9"), far(5)])),
        state(zone([far(3), far(5)]), address="10.9.0.5/24"),
        state(replace(zone([far(3), far(5)]), ns=NsRef("netns:other"))),
        replace(state(zone([far(3)])), attachments=()),
        state(zone([])),
        state(zone([far(3)])),
    )

    for look in looks:
        assert compiler(look, {}) == compile_objects(look, {})


def test_a_kernel_without_ipv6_gets_all_of_a_network_but_that() -> None:
    lan = network("lan", "172.18.0.0/16", "fd00::/64")
    web = attachment("web", [endpoint("web", "lan", "172.18.0.2/16", "fd00::2/64", gateway="172.18.0.1")])
    desired = DesiredState(host=host_facts(has_ipv6=False), networks=(lan,), attachments=(web,))

    found = compile_objects(desired, {}).values()

    addresses = sorted(str(each.interface) for each in found if isinstance(each, Address))
    assert addresses == ["172.18.0.1/16", "172.18.0.2/16"]
    assert not [each for each in found if isinstance(each, Sysctl) and "ipv6" in each.name]
    ((unit, text),) = ipv6_remarks(desired)
    assert unit == Unit(network="lan")
    assert "no IPv6" in text


def test_the_hosts_routes_are_compared_once_not_for_each_member() -> None:
    compared = []

    class Told(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            compared.append(self)
            return str.__eq__(self, other)

    def desired(count: int) -> DesiredState:
        members = [attachment(f"m{n}", [endpoint(f"m{n}", "lan", f"172.18.0.{n + 2}/16")]) for n in range(count)]
        routes = ((ip_network((0x0A000000, 8)), Told("vpn0")),)
        host = replace(host_facts(), routes=routes)
        return DesiredState(host=host, networks=(network("lan", "172.18.0.0/16"),), attachments=tuple(members))

    compiler = kept_compiler()
    compiler(desired(20), {})
    compared.clear()

    assert compiler(desired(19), {}) == compile_objects(desired(19), {})
    assert len(compared) == 1


def test_what_all_links_of_a_sandbox_shall_heed_its_own_links_do() -> None:
    web = attachment(
        "web", [endpoint("web", "lan", "172.18.0.2/16", "fd00::2/64"), endpoint("web", "four", "10.0.0.2/8")]
    )
    asking = replace(web, wanted=replace(web.wanted, sysctls=(("net.ipv6.conf.all.accept_ra", "2"),)))
    networks = (network("four", "10.0.0.0/8"), network("lan", "172.18.0.0/16", "fd00::/64"))

    values = []
    for each in (web, asking):
        desired = DesiredState(host=host_facts(), networks=networks, attachments=(each,))
        found = compile_objects(desired, {}).values()
        values.append([s.value for s in found if isinstance(s, Sysctl) and s.name == "net/ipv6/conf/eth0/accept_ra"])

    assert values == [["0"], ["2"]]


def test_a_member_that_is_held_goes_on_sending_where_the_network_has_its_addresses() -> None:
    lan = network("lan", "172.18.0.0/16", "fd00::/64")
    stays = attachment("stays", [endpoint("stays", "lan", "172.18.0.3/16", "fd00::3/64")])
    strays = attachment("strays", [endpoint("strays", "lan", "172.19.0.4/16")])
    new = attachment("new", [endpoint("new", "lan", "172.18.0.2/16")])
    desired = DesiredState(host=host_facts(), networks=(lan,), attachments=(new,), held=(stays, strays))
    (held,) = stays.endpoints

    found = compile_objects(desired, {}).values()

    sources = [each for each in found if isinstance(each, FirewallElement) and each.element[0] == held.link_name]
    own = {
        ("macs", (held.link_name, held.mac)),
        ("sources4", (held.link_name, held.mac, "172.18.0.3")),
        ("sources6", (held.link_name, held.mac, "fd00::3")),
        ("sources6", (held.link_name, held.mac, str(link_local(held.mac)))),
    }
    assert own <= {(each.set_name, each.element) for each in sources if each.family == "bridge"}
    assert {each.unit for each in sources if (each.set_name, each.element) in own} == {lan.unit}
    assert not [each for each in found if each.unit.attachment in ("stays", "strays")]
    (stray,) = strays.endpoints
    assert not [each for each in found if isinstance(each, FirewallElement) and stray.link_name in each.element]


def test_of_two_endpoints_elsewhere_with_one_mac_the_other_stays_when_one_goes() -> None:
    compiler = kept_compiler()
    twin = replace(far(9), mac=far(3).mac)

    for remote in ([far(3), twin], [twin], [far(3)], [far(3), twin], [far(3)]):
        assert compiler(state(zone(remote)), {}) == compile_objects(state(zone(remote)), {})
        assert set(entries(compiler(state(zone(remote)), {}))) == {far(3).mac}
