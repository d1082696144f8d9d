"""`reconcile graph`: what is drawn of hosts and of a change, in each form; and that no name breaks out of one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from reconciler.graph.dot import dot
from reconciler.graph.make_topology import port_texts
from reconciler.graph.mermaid import mermaid
from reconciler.graph.svg import svg
from reconciler.graph.text import COLUMNS, text
from reconciler.graph.topology import Attachment, Host, Link, Mark, Network, Place, Port, Topology
from reconciler.model.desired import PortBinding
from tests.unit.review.repository import AFTER, BEFORE, make_repository

GOLDEN = Path(__file__).parent / "golden"

SPECS = """\
    networks:
      frontend: {ipam: {config: [{subnet: 172.21.0.0/16, gateway: 172.21.0.1}]}}
      backend: {internal: true, ipam: {config: [{subnet: 172.22.0.0/16}]}}
      corp: {driver: overlay, ipam: {config: [{subnet: 10.9.0.0/24}]}}
      lan:
        driver: macvlan
        driver_opts: {parent: eth0}
        ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}
      apart: {driver_opts: {com.docker.network.bridge.enable_icc: "false"}}
    attachments:
      web:
        hosts: [alpha]
        networks: {frontend: {ipv4_address: 172.21.0.10, aliases: [www]}, backend: , corp: }
        ports: ["8080:80", "127.0.0.1:8443:443", "9000-9010:9000-9010"]
      db: {hosts: [alpha], networks: [backend]}
      job: {hosts: [alpha], network_mode: none}
      agent: {hosts: [alpha], network_mode: host}
      old: {hosts: [alpha], links: ["cache:redis"]}
      cache: {hosts: [alpha]}
      far: {hosts: [beta], networks: [corp]}
      probe: {hosts: [beta], networks: [lan]}
    """

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def run_(*arguments: str, code: ExitCode = ExitCode.OK) -> str:
        assert main(["graph", "--state-dir", str(tmp_path / "state"), *arguments]) == code
        return capsys.readouterr().out

    return run_


def check(shown: str, file: str) -> None:
    if os.environ.get("GOLDEN"):
        (GOLDEN / file).write_text(shown)
    assert shown == (GOLDEN / file).read_text()


def test_each_form_tells_of_hosts_networks_places_ports_links_and_spans(run: Run, tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "all.yaml").write_text(dedent(SPECS))

    check(run("--host", "alpha"), "host.txt")
    check(run("--host", "all"), "hosts.txt")
    check(run("--host", "all", "--format", "mermaid"), "hosts.mmd")
    check(run("--host", "all", "--format", "dot"), "hosts.dot")
    check(run("--host", "alpha", "--format", "svg"), "host.svg")
    assert "spans alpha, beta" in run("--host", "al*,beta")
    assert run("--host", "al*") != run("--host", "alpha"), (
        "addresses that no spec names are left out of what is foreseen"
    )


def test_a_change_shows_what_comes_goes_moves_and_becomes_another(run: Run, tmp_path: Path) -> None:
    make_repository(tmp_path, BEFORE, AFTER)

    against = ("--plan", "--against", "git:HEAD~1")
    check(run("--host", "all", *against), "change.txt")
    check(run("--host", "all", *against, "--format", "mermaid"), "change.mmd")
    check(run("--host", "all", *against, "--format", "dot"), "change.dot")
    alone = run("--host", "alpha", *against)
    assert "- │  ├─ db" in alone
    assert "host beta" not in alone

    first = run("--host", "alpha", "--plan")
    assert all(line.startswith(("+", " ")) for line in first.splitlines()), "no pass was made yet: all of it comes"


def test_what_cannot_be_drawn_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.yaml").write_text(
        "networks: {good: , bad: {nonsense: 3}}\nattachments: {x: {networks: [good]}}"
    )

    assert "good" in run("--host", "alpha", code=ExitCode.BAD_SPECS), "what has no fault is drawn"
    run("--against", "empty", code=ExitCode.USAGE)
    run("--host", "all", "--plan", code=ExitCode.USAGE)
    run("--plan", "--against", "snapshot:x", code=ExitCode.USAGE)


def test_ports_of_both_families_stand_once_and_those_in_a_row_as_a_range() -> None:
    def bound(host_ip: str, host_port: int, target: int, protocol: str = "tcp") -> PortBinding:
        return PortBinding(protocol, ip_address(host_ip), host_port, target)

    ports = [bound(ip, 8000 + n, 80 + n) for ip in ("0.0.0.0", "::") for n in range(3)]
    ports += [bound("127.0.0.1", 9000, 90), bound("::1", 9000, 90), bound("0.0.0.0", 8003, 53, "udp")]
    ports += [bound("0.0.0.0", 0, 70), bound("0.0.0.0", 0, 71)]

    assert sorted(port_texts(ports)) == sorted(
        ["8000-8002→80-82/tcp", "127.0.0.1:9000→90/tcp", "[::1]:9000→90/tcp", "8003→53/udp", "70-71/tcp"]
    )


def topology(name: str) -> Topology:
    place = Place(network=name, addresses=(name,), aliases=(name,), ports=(Port(text=name),), mark=Mark.ADDED)
    attachment = Attachment(host=name, name=name, places=(place,), links=(Link(target=name, alias=name),), note=name)
    network = Network(host=name, name=name, driver=name, traits=(name,), declared=name)
    return Topology(hosts=(Host(name=name, networks=(network,), attachments=(attachment,)),), is_change=True)


@given(st.text(max_size=40))
def test_no_name_breaks_out_of_a_form(name: str) -> None:
    drawn = topology(name)

    quoted = re.compile(r'"(?:[^"\\\n]|\\.)*"')
    assert re.fullmatch(r"[\w\s{}\[\]=,.#;-]*", quoted.sub("", dot(drawn))), "all that comes from names is in strings"
    assert re.fullmatch(r"[\w\s{}()\[\]=,.#;:<>|-]*", re.sub(r'"[^"\n]*"', "", mermaid(drawn)))
    assert {"<br/>"} >= set(re.findall("<[^>]*>", "".join(re.findall(r'"[^"\n]*"', mermaid(drawn)))))
    assert text(drawn)
    assert ElementTree.fromstring(svg(drawn).encode(errors="replace")).tag.endswith("svg")


@given(st.lists(st.from_regex(r"[a-z][a-z0-9.-]{0,30}", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_the_tree_fits_a_terminal(names: list[str]) -> None:
    places = tuple(Place(network=name, addresses=("172.21.0.10", "fd00::1"), aliases=tuple(names)) for name in names)
    networks = tuple(Network(host="h", name=name, driver="bridge", traits=tuple(names)) for name in names)
    attachments = tuple(Attachment(host="h", name=name, places=places) for name in names)
    drawn = Topology(hosts=(Host(name="h", networks=networks, attachments=attachments),))

    assert max(map(len, text(drawn).splitlines())) <= COLUMNS
