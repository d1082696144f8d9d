"""What a reviewer is told of who reaches whom, before and after."""

from __future__ import annotations

from reconciler.cli.review_words import flow_counts, flow_lines
from reconciler.reach.stand_ins import with_stand_ins
from reconciler.review.flows import BETWEEN, flow_changes
from reconciler.review.values import NO_CHANGES, FlowChanges
from tests.fakes.reach import walk_of

SPECS = """\
networks:
  front: {%(front)s ipam: {config: [{subnet: 172.30.1.0/24}]}}
  back: {ipam: {config: [{subnet: 172.30.2.0/24}]}}
attachments:
  web: {networks: [front]%(web)s}
  job: {networks: [back]}
  db: {networks: [%(db)s]}
"""
PLAIN = {"front": "", "web": "", "db": "back"}
ROUTED = "driver_opts: {com.docker.network.bridge.gateway_mode_ipv4: routed},"


def changes(before: str, after: str, hosts: tuple[str, ...] = ("alpha",), host: str = "alpha") -> FlowChanges:
    walks = (with_stand_ins(walk_of(specs, hosts)) for specs in (before, after))
    return flow_changes(*walks).get(host, NO_CHANGES)


def said(found: FlowChanges) -> dict[str, list[str]]:
    return {
        name: list(flow_lines(flows))
        for name, flows in (("gained", found.gained), ("lost", found.lost), ("altered", found.altered))
        if flows
    }


def test_a_published_port_shows_for_attachments_of_other_networks_too() -> None:
    found = changes(SPECS % PLAIN, SPECS % {**PLAIN, "web": ', ports: ["8080:80"]'})

    line = "outside, db, job → web:80/tcp (published at 8080, IPv4)"
    assert said(found) == {"gained": [line]}, "the host reaches it already"
    assert flow_counts([found]) == "reachability: 3 gained, 0 lost"
    there = changes(SPECS % {**PLAIN, "web": ', ports: ["8080:80"]'}, SPECS % {**PLAIN, "web": ', ports: ["8081:80"]'})
    assert said(there) == {"gained": [line.replace("8080", "8081")], "lost": [line]}
    at = changes(SPECS % PLAIN, SPECS % {**PLAIN, "web": ', ports: ["192.0.2.7:8080:80"]'})
    assert said(at) == {"gained": ["outside, db, job → web:80/tcp (published at 192.0.2.7:8080, IPv4)"]}


def test_what_is_no_longer_masqueraded_goes_on_in_another_way() -> None:
    found = changes(SPECS % PLAIN, SPECS % {**PLAIN, "front": ROUTED})

    assert said(found) == {
        "gained": [
            "db, job → web (pings, as the network's gateway, IPv4)",
            "outside → web (pings, at its own address, IPv4)",
        ],
        "altered": ["web → outside (masqueraded -> with its own address, IPv4)"],
    }
    assert flow_counts([found]).endswith(" 0 lost, 1 in another way")


def test_who_joins_a_network_has_neighbours_by_its_name() -> None:
    found = changes(SPECS % PLAIN, SPECS % {**PLAIN, "db": "back, front"})

    assert said(found) == {"gained": ["db → web (on front, IPv4)", "web → db (on front, IPv4)"]}
    assert said(changes(SPECS % PLAIN, SPECS % PLAIN)) == {}


def test_what_a_plugin_decides_is_told_as_not_known() -> None:
    plugin = "driver: weave,"
    found = said(changes(SPECS % PLAIN, SPECS % {**PLAIN, "front": plugin}))

    assert "web → outside (masqueraded, IPv4)" in found["lost"]
    assert any(line.startswith("web → ") and "not known: a plugin decides" in line for line in found["gained"])


LINKED = """\
networks:
  apart: {driver_opts: {com.docker.network.bridge.enable_icc: "false"}}
attachments:
  db: {networks: [bridge], expose: ["5432"]}
  web: {networks: [bridge]%s}
"""


def test_links_and_isolation_are_told() -> None:
    found = said(changes(LINKED % "", (LINKED % ', links: ["db"]').replace("networks:\n  apart", "networks:\n  other")))

    assert found.get("lost") is None
    isolated = 'networks:\n  bridge: {driver_opts: {com.docker.network.bridge.enable_icc: "false"}}\n  apart:'
    closed = (LINKED % ', links: ["db"]').replace("networks:\n  apart:", isolated)
    apart = said(changes(LINKED % ', links: ["db"]', closed))
    assert "db, web → db, web (on bridge, IPv4)" in apart["lost"]
    assert said(changes(closed.replace(', links: ["db"]', ""), closed)) == {
        "gained": ["web → db:5432/tcp (linked, IPv4)"],
    }


SHARED = """\
networks:
  wide: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.9.0.0/24}]}}
attachments:
  here: {hosts: [alpha], networks: {wide: {ipv4_address: 10.9.0.10}}}
  there: {hosts: [beta], networks: %s}
"""


def test_what_concerns_two_hosts_stands_between_them() -> None:
    before, after = SHARED % "{wide: {ipv4_address: 10.9.0.11}}", SHARED % "[]"

    assert said(changes(before, after, ("alpha", "beta"), BETWEEN)) == {
        "lost": ["here on alpha, there on beta → here on alpha, there on beta (on wide, IPv4)"],
    }
    assert said(changes(before, after, ("alpha", "beta"))) == {}
