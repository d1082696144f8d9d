"""Broken situations that the specs explain: each names its cause, with its line."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from reconciler.explain.declared import DeclaredHosts, declared
from reconciler.explain.explain import explain
from reconciler.explain.target import NobodyMeant, read_target
from reconciler.explain.values import Explanation, Verdict
from reconciler.settings import Settings

SPECS = """\
networks:
  front: {ipam: {config: [{subnet: 172.30.1.0/24}]}}
  back: {internal: true, ipam: {config: [{subnet: 172.30.2.0/24}]}}
  vault: {internal: true, ipam: {config: [{subnet: 172.30.3.0/24}]}}
  apart:
    driver_opts: {com.docker.network.bridge.enable_icc: "false"}
    ipam: {config: [{subnet: 172.30.4.0/24}]}
  lan:
    driver: macvlan
    driver_opts: {parent: eth0}
    ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}
  sealed:
    driver: macvlan
    driver_opts: {parent: eth1, macvlan_mode: private}
    ipam: {config: [{subnet: 10.2.0.0/24, gateway: 10.2.0.1}]}
  astray:
    ipam: {config: [{subnet: 172.30.5.0/24, aux_addresses: {DefaultGatewayIPv4: 172.30.5.9}}]}
  shared: {driver: overlay, ipam: {config: [{subnet: 10.4.0.0/24}]}}
attachments:
  web: {networks: {front: {ipv4_address: 172.30.1.10}}, ports: ["8080:80", "127.0.0.1:8081:81"], expose: [90]}
  app: {networks: {front: {ipv4_address: 172.30.1.11}, back: {ipv4_address: 172.30.2.11}}}
  db: {networks: {back: {ipv4_address: 172.30.2.12, aliases: [database]}}}
  key: {networks: [vault]}
  a: {networks: [apart]}
  b: {networks: [apart]}
  dns: {networks: [front], ports: ["53:53"]}
  one: {networks: [lan]}
  s1: {networks: [sealed]}
  s2: {networks: [sealed]}
  lost: {networks: [astray], ports: ["9000:9000"]}
  here: {hosts: [alpha], networks: {shared: {ipv4_address: 10.4.0.10}}}
  there: {hosts: [beta], networks: {shared: {ipv4_address: 10.4.0.11}}}
  gone: {hosts: ["gamma*"], networks: [shared]}
  plain: {}
  other: {}
  shut: {networks: [vault], ports: ["7:7"]}
  bare: {network_mode: none}
"""


def of(folder: Path, specs: str) -> DeclaredHosts:
    (folder / "s.yaml").write_text(dedent(specs))
    return declared(Settings(host="alpha", specs_dir=folder))


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> DeclaredHosts:
    return of(tmp_path_factory.mktemp("specs"), SPECS)


def because(told: Explanation) -> list[str]:
    """Give the reasons, each with the number of its line."""
    return [f"{why.text} ({why.source.line if why.source else '-'})" for *_, why in told.reasons]


def line(text: str, specs: str = SPECS) -> int:
    return next(number for number, each in enumerate(dedent(specs).splitlines(), 1) if each.lstrip().startswith(text))


@pytest.mark.parametrize(
    ("client", "target", "cause", "at"),
    [
        pytest.param("a", "b", "enable_icc is off on apart", "driver_opts: {com", id="ICC off"),
        pytest.param("web", "db", "back is internal: nothing crosses its border", "back:", id="internal"),
        pytest.param("db", "outside", "db has no IPv4 default route", "db:", id="no way out"),
        pytest.param("lost", "outside", "the gateway 172.30.5.9 of astray is not the host", "astray:", id="gateway"),
        pytest.param("outside", "lost:9000", "lost answers by the gateway 172.30.5.9", "lost:", id="way back"),
        pytest.param("key", "db", "they share no network: key is on vault and db is on back", "key:", id="networks"),
        pytest.param("web", "database", "does not find the name database: it is known on back", "db:", id="name"),
        pytest.param("outside", "web:81", "is published at 127.0.0.1:8081 alone", "web:", id="another address"),
        pytest.param("outside", "dns:53/udp", "dns publishes 53 over tcp, not over udp", "dns:", id="udp"),
        pytest.param("outside", "web:90", "web exposes 90/tcp and does not publish it", "web:", id="expose"),
        pytest.param("outside", "web:8080", "8080 is the host's port that leads to web's 80", "web:", id="host's port"),
        pytest.param("outside", "app:22", "nobody from elsewhere reaches members of front", "front:", id="unpublished"),
        pytest.param(
            "outside", "shut:7", "none of its networks is a bridge that leads outside", "shut:", id="no bridge"
        ),
        pytest.param("web", "bare", "bare has no address: it is on none", "bare:", id="no address"),
        pytest.param("host", "one", "the kernel passes nothing between such a link and the host", "lan:", id="macvlan"),
        pytest.param(
            "one", "host", "the kernel passes nothing between such a link and the host", "lan:", id="its host"
        ),
        pytest.param(
            "s1", "s2", "mode private of sealed keeps its members apart", "driver_opts: {parent: eth1", id="private"
        ),
        pytest.param("web", "172.30.1.99", "nobody on front has 172.30.1.99", "front:", id="nobody there"),
        pytest.param("web", "there", "there on host beta", "web:", id="another host"),
        pytest.param("here", "gone", "no host that is known has it", "gone:", id="no host"),
    ],
)
def test_what_the_specs_keep_apart_is_told_with_its_line(
    specs: DeclaredHosts, client: str, target: str, cause: str, at: str
) -> None:
    told = explain(specs, client, target)

    found = because(told)
    assert told.verdict is Verdict.NO
    assert any(cause in each and each.endswith(f"({line(at)})") for each in found), found


@pytest.mark.parametrize(
    ("attachments", "target", "cause", "at", "mended"),
    [
        pytest.param(
            "x: {networks: {front: {ipv4_address: 10.9.0.5}}}",
            "x",
            "10.9.0.5",
            "x:",
            "attachments.x.networks.front.ipv4_address: 10.9.0.5 -> not set",
            id="wrong subnet",
        ),
        pytest.param(
            "x: {networks: {front: {ipv4_address: 172.30.1.7}}}\n  y: {networks: {front: {ipv4_address: 172.30.1.7}}}",
            "y",
            "Address already in use: 172.30.1.7",
            "y:",
            "attachments.y.networks.front.ipv4_address: 172.30.1.7 -> not set",
            id="address conflict",
        ),
        pytest.param(
            'x: {networks: [front], ports: ["80:80"]}\n  y: {networks: [front], ports: ["80:80"]}',
            "y:80",
            "Bind for 0.0.0.0:80 failed: port is already allocated",
            "y:",
            "attachments.y.ports: 80:80 -> 80",
            id="port taken",
        ),
        pytest.param(
            "x: {networks: [frunt]}",
            "x",
            "network 'frunt' not found",
            "x:",
            "attachments.x.networks: add front",
            id="no network",
        ),
        pytest.param(
            "x: {networks: [tiny]}\n  y: {networks: [tiny]}\n  z: {networks: [tiny]}",
            "z",
            "no available IPv4 addresses",
            "z:",
            "",
            id="network is full",
        ),
    ],
)
def test_who_is_on_no_host_is_told_of_by_what_is_wrong_with_it(
    tmp_path: Path, attachments: str, target: str, cause: str, at: str, mended: str
) -> None:
    text = (
        "networks:\n  front: {ipam: {config: [{subnet: 172.30.1.0/24}]}}\n  tiny: {ipam: {config: [{subnet: 172.30.8.0/29, "
        f"ip_range: 172.30.8.2/31}}]}}}}\nattachments:\n  ok: {{networks: [front]}}\n  {attachments}\n"
    )

    told = explain(of(tmp_path, text), "ok", target)

    assert told.verdict is Verdict.NO
    assert any(cause in each and f"({line(at, text)})" in each for each in because(told)), because(told)
    assert "; ".join(change.text for change in told.changes) == mended


@pytest.mark.parametrize(
    ("client", "target", "change"),
    [
        ("a", "b", "networks.apart.driver_opts.com.docker.network.bridge.enable_icc: false -> true"),
        ("web", "db", "attachments.web.networks: add back"),
        ("web", "database", "attachments.web.networks: add back"),
        ("db", "outside", "attachments.db.networks: add front"),
        ("lost", "outside", "networks.astray.ipam.config.aux_addresses.DefaultGatewayIPv4: 172.30.5.9 -> not set"),
        ("outside", "web:81", "attachments.web.ports: 127.0.0.1:8081:81 -> 8081:81"),
        ("outside", "web:90", "attachments.web.ports: add 90:90"),
        ("outside", "app:8080", "attachments.app.ports: add 8080"),
        ("outside", "dns:53/udp", "attachments.dns.ports: add 53:53/udp"),
        ("outside", "key:1", "attachments.key.ports: add 1:1; networks.vault.internal: true -> false"),
        ("host", "one", "attachments.one.networks: add front"),
        ("s1", "s2", "networks.sealed.driver_opts.macvlan_mode: private -> bridge"),
        ("here", "db", "attachments.here.networks: add back"),
        ("web", "there", "attachments.web.networks: add shared"),
        ("plain", "db", "attachments.plain.networks: add bridge, back"),
        ("outside", "web:8080", ""),
        ("web", "172.30.1.99", ""),
    ],
)
def test_the_shortest_change_that_makes_it_a_yes_was_tried(
    specs: DeclaredHosts, client: str, target: str, change: str
) -> None:
    told = explain(specs, client, target)

    assert "; ".join(each.text for each in told.changes) == change


def test_what_a_plugin_or_another_declares_is_not_known(tmp_path: Path) -> None:
    specs = of(
        tmp_path,
        """\
        networks:
          p: {driver: weave, ipam: {config: [{subnet: 10.5.0.0/24}]}}
          ext: {external: true}
        attachments:
          p1: {networks: [p]}
          p2: {networks: [p]}
          e: {networks: [ext]}
        """,
    )

    assert [explain(specs, *pair).verdict for pair in (("p1", "p2"), ("e", "outside"))] == [Verdict.UNKNOWN] * 2


def test_a_path_has_every_step_with_its_line(specs: DeclaredHosts) -> None:
    neighbours, published = explain(specs, "app", "web:80"), explain(specs, "outside", "web:80")
    far, out = explain(specs, "here", "there"), explain(specs, "app", "outside")

    told = [[f"{step.about}: {step.text}" for step in each.path] for each in (neighbours, published, far, out)]
    assert [each.verdict for each in (neighbours, published, far, out)] == [Verdict.YES] * 4
    bridge = next(network.link_name for network in specs.states["alpha"].networks if network.name == "front")
    assert told[0] == [
        "name: app finds web as 172.30.1.10, by the names of front",
        "interface: app sends by its interface eth1, as 172.30.1.11/24",
        f"network: both are on front: bridge {bridge}",
        "firewall: the firewall lets neighbours on it pass (map icc)",
        "interface: web gets it at port 80/tcp of 172.30.1.10, its interface eth0; it sees 172.30.1.11",
    ]
    assert told[1] == [
        "address: whoever is outside asks an address of the host, port 8080/tcp",
        "port: published: 0.0.0.0:8080/tcp leads to web",
        "firewall: the firewall leads it to 172.30.1.10:80 (maps published_any4, set published4)",
        "interface: web gets it at port 80/tcp of 172.30.1.10, its interface eth0",
    ]
    assert told[2][2] == "network: both are on shared: VXLAN to host beta"
    assert told[2][3].startswith("interface: there gets it at 10.4.0.11")
    assert [step.text for step in explain(specs, "host", "web").path][:2] == [
        "the host itself asks 172.30.1.10",
        "the host has an address on front",
    ]
    assert "route: by the default route, on front: its gateway is 172.30.1.1" in told[3]
    assert "firewall: with an address of the host (set masquerade4)" in told[3]
    lines = [step.source.line for step in neighbours.path if step.source is not None]
    assert lines == [line("web:"), line("app:"), line("front:"), line("front:"), line("web:")]


def test_what_hosts_choose_together_is_not_told_as_a_fact(tmp_path: Path) -> None:
    specs = of(
        tmp_path,
        """\
        networks: {wide: {driver: overlay, ipam: {config: [{subnet: 10.4.0.0/24}]}}}
        attachments: {here: {hosts: [alpha], networks: [wide]}, there: {hosts: [beta], networks: [wide]}}
        """,
    )

    assert [step.text for step in explain(specs, "here", "there").path] == [
        "here finds there as an address of 10.4.0.0/24, by the names of wide",
        "here sends by its interface eth0, as an address of 10.4.0.0/24",
        "both are on wide: VXLAN to host beta",
        "there gets it at an address of 10.4.0.0/24, its interface eth0",
    ]


def test_ports_of_the_host_lead_to_whom_they_are_published_for(specs: DeclaredHosts) -> None:
    told = explain(specs, "outside", "host:8080")

    assert "published: 0.0.0.0:8080/tcp leads to web" in [step.text for step in told.path]


def test_one_who_publishes_is_reached_there_alone(specs: DeclaredHosts) -> None:
    told = explain(specs, "outside", "web")

    assert [note.text for note in told.notes] == ["only what is published arrives: 80/tcp"]


def test_the_default_network_has_no_names(specs: DeclaredHosts) -> None:
    told = explain(specs, "plain", "other")

    assert told.verdict is Verdict.YES
    assert [note.text for note in told.notes] == [
        "plain does not find the name other: the default network has no names"
    ]


@pytest.mark.parametrize("text", ["", ":80", "db:0", "db:70000", "fd00::1:80:x", "[fd00::1", "db:80/http"])
def test_who_is_nobody_is_refused(specs: DeclaredHosts, text: str) -> None:
    with pytest.raises(NobodyMeant):
        explain(specs, "web", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db", ("db", 0, "", None)),
        ("db:53/udp", ("db", 53, "udp", None)),
        ("10.0.0.1:80", ("10.0.0.1", 80, "tcp", "10.0.0.1")),
        ("[fd00::1]:80", ("fd00::1", 80, "tcp", "fd00::1")),
        ("fd00::1", ("fd00::1", 0, "", "fd00::1")),
    ],
)
def test_targets_are_names_and_addresses_with_ports(text: str, expected: tuple[str, int, str, str | None]) -> None:
    found = read_target(text)

    address = None if found.address is None else str(found.address)
    assert (found.name, found.at.port, found.at.protocol, address) == expected


def test_the_command_answers_in_words_in_json_and_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(SPECS)
    common = ("explain", "--host", "alpha", "--specs", str(tmp_path), "--state-dir", str(tmp_path))

    assert main((*common, "a", "--to", "b")) == ExitCode.UNREACHED
    text = capsys.readouterr().out
    assert main((*common, "app", "--to", "db:5432", "--format", "json")) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)
    assert main((*common, "wbe", "--to", "db")) == ExitCode.USAGE

    assert text.startswith("no: a does not reach b\n  because enable_icc is off on apart: ")
    assert (told["answer"], told["from"], told["to"]) == ("yes", "app", "db:5432/tcp")
    assert told["path"][0]["source"] == {"file": str(tmp_path / "s.yaml"), "line": line("db:"), "column": 19}
    assert "attachment 'wbe' not found: did you mean 'web'?" in capsys.readouterr().err


def test_an_attachment_alone_is_told_with_all_that_it_has_and_whom_it_reaches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.yaml").write_text(SPECS)
    common = ("explain", "--host", "alpha", "--specs", str(tmp_path), "--state-dir", str(tmp_path))

    assert main((*common, "app")) == ExitCode.OK
    text = " ".join(capsys.readouterr().out.split())
    assert main((*common, "web", "--format", "json")) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)

    assert text.startswith("app on host alpha interface: eth1 on front, bridge br-")
    assert "172.30.1.11/24; its names there: app" in text
    assert "route: IPv4 default route by 172.30.1.1 on front" in text
    assert "reaches: outside, host, db, dns, lost, web does not reach: a, " in text
    assert [each["text"] for each in told["about"] if each["about"] == "port"] == [
        "80/tcp is published at 0.0.0.0:8080",
        "81/tcp is published at 127.0.0.1:8081",
    ]
    assert {"outside", "host", "app", "dns"} <= {*told["reaches"]}
    assert {"db", "key"} <= {*told["doesNotReach"]}


def test_the_guide_shows_what_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "explain.md").read_text()
    specs = guide.split("```yaml")[1].partition("```")[0]
    shown = guide.split("```console")[1].partition("```")[0]
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "all.yaml").write_text(specs.lstrip())
    monkeypatch.chdir(tmp_path)

    told = ""
    for command in [each for each in shown.splitlines() if each.startswith("$ ")]:
        main((*command.split()[2:], "--host", "alpha", "--state-dir", str(tmp_path)))
        told += f"{command}\n{capsys.readouterr().out}"

    assert shown.strip() == told.strip()
