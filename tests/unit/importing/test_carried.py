from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.errors import ReconcilerError
from reconciler.importing.carried import carried
from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork


def network(name: str, **body: object) -> ImportedNetwork:
    return ImportedNetwork(name=name, body=body, source=f"network {name}")


def attachment(name: str, **body: object) -> ImportedAttachment:
    return ImportedAttachment(name=name, body=body, source=f"container {name}")


def told(imported: Imported) -> list[str]:
    return [f"{each.where}: {each.what}" for each in imported.all_not_carried()]


def test_what_specs_take_stays_as_it_is() -> None:
    imported = Imported(networks=(network("front"),), attachments=(attachment("web", networks={"front": {}}),))

    assert carried(imported, "host") is imported


def test_the_least_that_is_refused_is_left_out_and_named() -> None:
    imported = Imported(
        networks=(
            network("front", driver_opts={"com.docker.network.driver.mtu": "many", "com.example": "x"}),
            network("inner", driver_opts={"com.docker.network.bridge.enable_icc": "perhaps"}),
        ),
        attachments=(
            attachment(
                "web",
                networks={"front": {"ipv4_address": "10.0.0.300", "aliases": ["good", "b d"]}},
                ports=["8080:80", "99999:80", "1:2:3:4"],
                sysctls={"net.ipv4.ip_forward": 1, "kernel.shmmax": 1},
                unheard_of="x",
            ),
            attachment("db", networks={"front": {}}),
        ),
    )

    kept = carried(imported, "host")

    assert [each.name for each in kept.networks] == ["front"]
    assert kept.networks[0].body == {"driver_opts": {"com.example": "x"}}
    assert kept.attachments[0].body == {
        "networks": {"front": {"aliases": ["good"]}},
        "ports": ["8080:80"],
        "sysctls": {"net.ipv4.ip_forward": 1},
    }
    assert kept.attachments[1] is imported.attachments[1]
    assert sorted(told(kept)) == [
        "container web: networks.front.aliases b d",
        "container web: networks.front.ipv4_address 10.0.0.300",
        "container web: ports 1:2:3:4",
        "container web: ports 99999:80",
        "container web: sysctls.kernel.shmmax 1",
        "container web: unheard_of x",
        "network front: driver_opts.com.docker.network.driver.mtu many",
        "network inner: network inner",
    ]


def test_a_network_that_cannot_be_as_closed_as_it_was_goes_with_those_who_are_on_nothing_else() -> None:
    imported = Imported(
        networks=(network("inner", internal="perhaps"), network("front")),
        attachments=(attachment("web", networks=["front", "inner"]), attachment("db", networks=["inner"])),
    )

    kept = carried(imported, "host")

    assert [each.name for each in kept.networks] == ["front"]
    assert [(each.name, each.body) for each in kept.attachments] == [("web", {"networks": ["front"]})]
    assert told(kept) == [
        "network inner: network inner",
        "container db: attachment db",
        "container web: networks.inner",
    ]


def test_an_entry_that_specs_refuse_as_a_whole_goes_alone() -> None:
    imported = Imported(
        networks=(network("n" * 70), network("front", unheard_of={})),
        attachments=(attachment("_x", hostname="x"), attachment("web", network_mode="host", sandbox={"netns": "x"})),
    )

    kept = carried(imported, "host")

    assert kept.networks == kept.attachments == ()
    assert [each.what for each in kept.all_not_carried()] == [
        f"network {'n' * 70}",
        "network front",
        "attachment _x",
        "attachment web",
    ]


def test_any_number_of_faults_is_left_out() -> None:
    ports = [f"{number}:80" for number in range(65536, 65836)]

    kept = carried(Imported(attachments=(attachment("web", ports=[*ports, "80:80"]),)), "host")

    assert kept.attachments[0].body == {"ports": ["80:80"]}
    assert len(kept.all_not_carried()) == 300


def test_what_is_in_the_way_is_named_by_where_it_came_from() -> None:
    imported = Imported(attachments=(attachment("web", ports=["8080:80"]), attachment("shop", ports=["8080:81"])))

    (told,) = carried(imported, "host").all_not_carried()

    assert told.where == "container shop"
    assert told.why.endswith("port is already allocated by attachment 'web' at container web")


def test_more_than_specs_can_hold_is_an_error() -> None:
    many = attachment("web", dns=["10.0.0.1"] * 200_000)

    with pytest.raises(ReconcilerError, match="more than specs can hold"):
        carried(Imported(attachments=(many,)), "host")


def test_what_has_the_name_of_another_is_left_out_and_named() -> None:
    """A source that names two things alike gave specs with a key twice, which do not load."""
    second = replace(attachment("web"), source="container web of a liar")

    imported = carried(Imported(networks=(network("a"), network("a")), attachments=(attachment("web"), second)), "host")

    assert [each.name for each in (*imported.networks, *imported.attachments)] == ["a", "web"]
    assert told(imported) == ["network a: a", "container web of a liar: web"]
