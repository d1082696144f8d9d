"""The object that the server is reconciled by, and what of it stays when not everything is known."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from reconciler.dns.tables import NameCompiler, kept_tables
from reconciler.dns.zones import zones_digest
from reconciler.model.containers import Container
from reconciler.model.desired import DesiredAttachment, DesiredNetwork, DesiredState
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import HOST_UNIT, NAMES_UNIT, NameTables, Unit
from reconciler.model.observed import SandboxFact
from reconciler.model.wanted import NetworkMode
from tests.fakes.zones import Zones, parse_zones
from tests.unit.dns.test_zones import HOST, attachment, network

DECLARED = frozenset({Unit(attachment="web"), Unit(network="front")})


def tables(
    *attachments: DesiredAttachment, resolv_conf: str = "", facts: Mapping[NsRef, SandboxFact] | None = None
) -> NameTables | None:
    names = {endpoint.network for each in attachments for endpoint in each.endpoints}
    networks: tuple[DesiredNetwork, ...] = tuple(map(network, sorted(names)))
    state = DesiredState(host=replace(HOST, resolv_conf=resolv_conf), networks=networks, attachments=attachments)
    return NameCompiler()(state, facts or {})


def zones(found: NameTables | None) -> Zones:
    return parse_zones(found.text) if found else Zones()


def names(found: NameTables | None) -> dict[str, list[str]]:
    return {zone.name: [endpoint.name for endpoint in zone.endpoints] for zone in zones(found).networks}


def sandboxes(found: NameTables | None) -> dict[str, tuple[str, ...]]:
    return {zone.name: zone.networks for zone in zones(found).sandboxes}


def kept(
    wanted: NameTables | None, before: NameTables | None, *failed: Unit, declared: frozenset[Unit] | None = None
) -> NameTables | None:
    return kept_tables(wanted, before.text if before else "", frozenset(failed), declared)


def test_digest_is_that_of_the_text() -> None:
    found = tables(attachment("web", "front"))

    assert found is not None
    assert found.digest == zones_digest(found.text)
    assert found.unit == NAMES_UNIT


def test_plan_shows_the_digest_and_not_the_text() -> None:
    found = tables(attachment("web", "front"))

    assert found is not None
    assert found.attributes() == {"digest": found.digest}
    assert found == replace(found, text="")


@pytest.mark.parametrize(
    "unserved",
    [(), (attachment("c1", "bridge"),), (attachment("c1", "front", mode=NetworkMode.HOST),)],
    ids=["nobody", "default bridge", "the host's stack"],
)
def test_there_are_no_tables_where_nobody_is_served(unserved: tuple[DesiredAttachment, ...]) -> None:
    assert tables(*unserved) is None


def test_servers_are_those_of_the_hosts_own_file_where_they_are_addresses() -> None:
    found = tables(
        attachment("web", "front"), resolv_conf="nameserver 127.0.0.53\nnameserver x\nnameserver fe80::1%e0\n"
    )

    assert list(map(str, zones(found).host_servers)) == ["127.0.0.53", "fe80::1%e0"]


def test_everything_is_as_wanted_when_nothing_failed() -> None:
    new, old = tables(attachment("web", "front")), tables(attachment("db", "front"), attachment("web", "back"))

    assert kept(new, old) == new


@pytest.mark.parametrize("failed", [Unit(attachment="db"), Unit(network="front", attachment="db")], ids=str)
def test_names_of_an_attachment_that_failed_stay(failed: Unit) -> None:
    new = tables(attachment("web", "front"))
    old = tables(attachment("db", "back", "front"), attachment("gone", "front"))

    found = kept(new, old, failed)

    assert names(found) == {"back": ["db"], "front": ["db", "web"]}
    assert sandboxes(found) == {"db": ("back", "front"), "web": ("front",)}


def test_new_names_of_an_attachment_that_failed_wait() -> None:
    new, old = (
        tables(attachment("web", "front", aliases=("new",))),
        tables(attachment("web", "front", aliases=("old",))),
    )

    assert kept(new, old, Unit(attachment="web")) == old
    assert kept(new, None, Unit(attachment="web")) is None


def test_names_of_a_network_that_failed_stay_for_all_on_it() -> None:
    new = tables(attachment("db", "back", number=9), attachment("web", "back"))
    old = tables(attachment("db", "back", number=3), attachment("web", "back", "front", number=4))

    found = kept(new, old, Unit(network="front"))

    assert names(found) == {"back": ["db", "web"], "front": ["web"]}
    assert sandboxes(found) == {"db": ("back",), "web": ("back", "front")}


def test_names_of_networks_stay_when_the_host_failed() -> None:
    old = tables(attachment("db", "front"))

    assert kept(None, old, HOST_UNIT) == old


def test_names_that_an_unreadable_spec_may_declare_stay() -> None:
    new, old = tables(attachment("web", "front")), tables(attachment("db", "front"))

    found = kept(new, old, declared=DECLARED)

    assert names(found) == {"front": ["db", "web"]}
    assert sandboxes(found) == {"db": ("front",), "web": ("front",)}


def test_names_of_a_declared_attachment_go_with_its_network_although_a_spec_cannot_be_read() -> None:
    assert kept(None, tables(attachment("web", "front")), declared=DECLARED) is None


def test_what_is_in_force_and_cannot_be_read_does_not_stay() -> None:
    new = tables(attachment("web", "front"))

    assert kept_tables(new, "{nonsense", frozenset({Unit(attachment="db")}), None) == new


def test_name_service_needs_nothing_and_is_no_network() -> None:
    assert NAMES_UNIT.parents() == ()
    assert str(NAMES_UNIT) == "name service"


def test_server_is_told_the_process_of_a_container_that_runs_and_the_reference_of_others() -> None:
    web, db = attachment("web", "front"), attachment("db", "front")
    container = Container(id="c1", process=NsRef("pid:7@99"))
    facts = {web.ns: SandboxFact(inode=1, container=container), db.ns: SandboxFact(inode=2)}

    served = {zone.name: zone.ns for zone in zones(tables(web, db, facts=facts)).sandboxes}

    assert served == {"web": "pid:7@99", "db": db.ns}
