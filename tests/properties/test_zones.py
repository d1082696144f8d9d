"""What is kept of names, by the engine and by its server, is what both make from nothing; a message leads from one to the next."""

from __future__ import annotations

import random
from contextlib import suppress
from ipaddress import IPv4Interface, ip_address

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.dns import control
from reconciler.dns.changes import zone_changes
from reconciler.dns.in_force import ZonesInForce
from reconciler.dns.tables import NameCompiler
from reconciler.dns.zones import ZonesUnreadable
from reconciler.model.containers import Container
from reconciler.model.desired import DesiredAttachment, DesiredNetwork, DesiredState, RemoteEndpoint
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import NameTables
from reconciler.model.observed import SandboxFact
from reconciler.model.zone_rows import ZoneRows
from tests.fakes.desired import attachment, endpoint, host_facts, network

NETWORKS = ("back", "bridge", "front")
ATTACHMENTS = tuple(f"a{number}" for number in range(5))


class Host:
    """Changes by chance from pass to pass."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._networks: dict[str, DesiredNetwork] = {name: network(name, "10.0.0.0/8") for name in NETWORKS}
        self._attachments: dict[str, DesiredAttachment] = {}
        self._host = host_facts()
        self.sandboxes: dict[NsRef, SandboxFact] = {}

    def change(self) -> None:
        chance = self._chance
        name, net = chance.choice(ATTACHMENTS), chance.choice(NETWORKS)
        match chance.choice(("attachment", "attachment", "end", "inside", "elsewhere", "resolv.conf", "process")):
            case "attachment":
                on = chance.sample(NETWORKS, chance.choice((0, 1, 2)))
                aliases = chance.choice(((), ("db",), ("db", "web")))
                place = f"10.0.0.{chance.randint(1, 9)}/8"
                self._attachments[name] = attachment(
                    name, [endpoint(name, each, place, aliases=aliases) for each in on]
                )
            case "end":
                self._attachments.pop(name, None)
            case "inside":
                wanted = replace(self._networks[net].wanted, is_internal=chance.random() < 0.5)
                self._networks[net] = replace(self._networks[net], wanted=wanted)
            case "elsewhere":
                far = tuple(_elsewhere(net, number) for number in range(4) if chance.random() < 0.5)
                self._networks[net] = replace(self._networks[net], remote_endpoints=far)
            case "resolv.conf":
                text = chance.choice(("nameserver 192.0.2.1\n", "nameserver 192.0.2.2\noptions ndots:2\n"))
                self._host = host_facts(resolv_conf=text)
            case "process":
                ns, process = NsRef(f"netns:{name}"), NsRef(f"pid:{chance.randint(1, 3)}")
                container = Container(id=name, process=process)
                self.sandboxes = {**self.sandboxes, ns: SandboxFact(inode=1, container=container)}

    def desired(self) -> DesiredState:
        attachments = tuple(each for _, each in sorted(self._attachments.items()))
        return DesiredState(host=self._host, networks=tuple(self._networks.values()), attachments=attachments)


def _elsewhere(net: str, number: int) -> RemoteEndpoint:
    name = f"far{number % 2}"
    return RemoteEndpoint(
        network=net,
        id=str(number) * 64,
        name=name,
        host="beta",
        vtep=ip_address("192.0.2.1"),
        mac="02:42:00:00:00:09",
        ipv4=IPv4Interface(f"10.0.1.{number}/8"),
        names=(name,),
    )


def seen_by(zones: ZonesInForce) -> object:
    tables = {name: (table.by_name, table.by_pointer, table.zone) for name, table in zones.views.tables.items()}
    views = {name: zones.views.of(name) for name in zones.sandboxes}
    shown = {name: ([t.name for t in v.tables], v.links, v.ready_max, v.network_names) for name, v in views.items()}
    return zones.digest, zones.sandboxes, zones.host_servers, tables, shown


@given(st.randoms(use_true_random=False), st.integers(1, 20))
def test_names_that_are_kept_are_those_made_from_nothing(chance: random.Random, passes: int) -> None:
    host, compiler, served = Host(chance), NameCompiler(), ZonesInForce()
    before = NameTables(digest="")

    for _ in range(passes):
        host.change()
        kept, fresh = (compile_(host.desired(), host.sandboxes) for compile_ in (compiler, NameCompiler()))

        assert kept == fresh
        if kept is None or fresh is None:
            continue
        assert kept.text == fresh.text
        changes = zone_changes(before.rows, before.digest, kept.rows, kept.digest)
        assert served.change(control.decode(control.encode(changes))) is not None
        anew = ZonesInForce()
        anew.put(fresh.text)
        assert seen_by(served) == seen_by(anew)
        before = kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("front", "a0", "x")), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.fixed_dictionaries(dict.fromkeys(("host_servers", "networks", "sandboxes"), JSON)))
def test_message_of_any_kind_is_refused_or_read(message: dict[str, object]) -> None:
    served, rows = ZonesInForce(), ZoneRows(networks={"front": ('["a0",["a0"],[],[]]',)})
    served.put(rows.text())
    before = seen_by(served)

    with suppress(ZonesUnreadable):
        assert served.change({**message, "from": served.digest, "to": "another"}) is None

    assert seen_by(served) == before


@given(st.randoms(use_true_random=False))
def test_message_about_other_zones_changes_nothing(chance: random.Random) -> None:
    host, served = Host(chance), ZonesInForce()
    for _ in range(8):
        host.change()
    tables = NameCompiler()(host.desired(), host.sandboxes)
    if tables is None:
        return
    message = zone_changes(tables.rows, "another", tables.rows, tables.digest)

    assert served.change(message) is None
    assert served.change({**message, "from": "", "to": "another"}) is None

    assert seen_by(served) == seen_by(ZonesInForce())
