"""Host ports that two attachments want, found while reading; and what one attachment may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.spec import conflicts
from reconciler.spec.load import NOTHING, LoadedSpecs, load_specs

NETWORKS = """\
networks:
  inside: {internal: true}
  routed: {driver_opts: {com.docker.network.bridge.gateway_mode_ipv4: routed}}
  bound: {driver_opts: {com.docker.network.bridge.host_binding_ipv4: "127.0.0.1"}}
  front: {}
attachments:
"""


def loaded(folder: Path, *attachments: str, previous: LoadedSpecs = NOTHING) -> LoadedSpecs:
    (folder / "a.yaml").write_text(NETWORKS + "".join(f"  {text}\n" for text in attachments))
    return load_specs(folder, host="alpha", previous=previous)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{ports: ['8080:80']}", "{ports: ['8080:81']}"),
        ("{ports: ['8080:80']}", "{ports: ['192.0.2.1:8080:81']}"),
        ("{ports: ['192.0.2.1:8080:80']}", "{ports: ['8080:81']}"),
        ("{ports: ['192.0.2.1:8080:80']}", "{ports: ['192.0.2.1:8080:81']}"),
        ("{ports: ['8000-8100:8000-8100']}", "{ports: ['8050-8060:80-90']}"),
        ("{ports: [{target: 80, published: 8080}]}", "{networks: [front], ports: ['0.0.0.0:8080:80']}"),
        ("{ports: ['8080:80/udp']}", "{ports: ['8080:80/udp']}"),
    ],
    ids=["all", "all and one", "one and all", "one", "ranges", "forms and networks", "udp"],
)
def test_second_of_two_is_told_where_the_first_is_and_neither_is_taken(tmp_path: Path, first: str, second: str) -> None:
    found = loaded(tmp_path, f"one: {first}", f"two: {second}", "three: {}")

    (fault,) = found.faults
    assert fault.line == 8
    assert "failed: port is already allocated by attachment 'one' at " in fault.message
    assert fault.message.endswith("a.yaml:7:3")
    assert [attachment.name for attachment in found.wanted.attachments] == ["three"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{ports: ['8080:80']}", "{ports: ['8080:80/udp']}"),
        ("{ports: ['192.0.2.1:8080:80']}", "{ports: ['192.0.2.2:8080:80']}"),
        ("{ports: ['8080:80']}", "{ports: ['8081:80']}"),
        ("{ports: ['80']}", "{ports: ['80']}"),
        ("{ports: ['8080:80']}", "{ports: ['8080-8090:80']}"),
        ("{ports: ['8080:80']}", "{networks: [inside], ports: ['8080:80']}"),
        ("{ports: ['8080:80']}", "{networks: [routed], ports: ['8080:80']}"),
        ("{ports: ['192.0.2.1:8080:80']}", "{networks: [bound], ports: ['8080:80']}"),
        ("{ports: ['8080:80']}", "{network_mode: host, ports: ['8080:80']}"),
        ("{hosts: [beta], ports: ['8080:80']}", "{hosts: [gamma], ports: ['8080:80']}"),
        ("{ports: ['8080:80']}", "{ports: ['[::1]:8080:80']}"),
    ],
    ids=[
        "protocols",
        "addresses",
        "ports",
        "ephemeral",
        "choice",
        "internal",
        "routed",
        "network's address",
        "host mode",
        "hosts",
        "families",
    ],
)
def test_no_fault_where_there_is_or_may_be_no_conflict(tmp_path: Path, first: str, second: str) -> None:
    assert loaded(tmp_path, f"one: {first}", f"two: {second}").faults == ()


def test_one_fault_for_a_whole_range(tmp_path: Path) -> None:
    found = loaded(tmp_path, "one: {ports: ['8000-8999:8000-8999']}", "two: {ports: ['8000-8999:8000-8999']}")

    assert len(found.faults) == 1


@pytest.mark.parametrize("field", ["ports", "expose"])
def test_more_ports_than_an_attachment_may_have_are_a_fault(tmp_path: Path, field: str) -> None:
    found = loaded(tmp_path, f"one: {{{field}: ['1-65535', '1-65535/udp']}}")

    (fault,) = found.faults
    assert fault.message == "131070 ports are more than one attachment may have: at most 65536"


def test_comparing_stops_when_it_would_cost_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "PORT_CLAIMS_MAX", 2)
    entries = [f"{name}: {{ports: ['{port}:80']}}" for name, port in (("a", 1), ("b", 2), ("c", 3), ("d", 3))]

    assert loaded(tmp_path, *entries).faults == ()


def test_too_many_ports_are_not_kept_by_themselves_and_edits_are_seen_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 200 kB can name 200 million of them, which took 18 MB for each range of 65,535."""
    monkeypatch.setattr(conflicts, "PORT_CLAIMS_MAX", 4)

    few = loaded(tmp_path, "a: {ports: ['1-2:1-2']}", "b: {ports: ['3-4:3-4']}")
    many = loaded(tmp_path, "a: {ports: ['1-2:1-2']}", "b: {ports: ['3-5:3-5']}", previous=few)
    other = loaded(tmp_path, "a: {ports: ['1-2:1-2']}", "b: {ports: ['2-4:2-4']}", previous=many)
    again = loaded(tmp_path, "a: {ports: ['1-2:1-2']}", "b: {ports: ['2:2']}", previous=other)

    assert [len(each.faults) for each in (few, many, other, again)] == [0, 0, 1, 1]
    assert [kept(each) for each in (few, many, other, again)] == [4, 0, 0, 3]


def kept(specs: LoadedSpecs) -> int:
    """Count the ports that are kept by themselves, for the next load."""
    claims = [claim for each in specs.known.attachments.checked.values() for claim in each.claims]
    return sum(isinstance(claim, tuple) and claim[0] == "port" and claim[-1] == "all" for claim in claims)


@pytest.mark.parametrize("mode", ["host", "none"])
def test_links_need_a_network(tmp_path: Path, mode: str) -> None:
    found = loaded(tmp_path, f"one: {{network_mode: {mode}, links: [two]}}")

    assert [fault.message for fault in found.faults] == [
        f"conflicting options: {mode} type networking can't be used with links"
    ]
