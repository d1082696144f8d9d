"""What the specs expect of themselves: checked from the specs alone, for all hosts that they name."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from reconciler.guard.expected import unmet_expectations
from reconciler.settings import Settings
from reconciler.spec.load import load_specs
from tests.unit.review.repository import make_repository

NETWORKS = """\
networks:
  front: {labels: {team: web}}
  back: {internal: true}
  wide: {driver: overlay, internal: true, ipam: {config: [{subnet: 10.9.0.0/24}]}}
"""


def faults(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(dedent(text))
    loaded = load_specs(folder, host="alpha")
    found = loaded.faults or unmet_expectations(loaded, Settings(host="alpha", specs_dir=folder))
    return [str(fault).removeprefix(f"{folder}/").replace(f"{folder}/", "") for fault in found]


def expecting(folder: Path, attachments: str, *expectations: str) -> list[str]:
    listed = "".join(f"  - {{{each}}}\n" for each in expectations)
    return faults(folder, a=NETWORKS, b=f"attachments:\n{attachments}", c=f"expect:\n{listed}")


DB = "  db: {hosts: [alpha], networks: [front]}\n"
WEB = "  web: {hosts: [alpha, beta], networks: [front, back]}\n"
JOB = "  job: {hosts: [beta], networks: [back]}\n"
FAR = "  far: {hosts: [beta], networks: [wide]}\n  near: {hosts: [alpha], networks: [wide]}\n"


@pytest.mark.parametrize(
    "expectation",
    [
        "from: outside, to: db, reach: false",
        "from: db, to: outside, reach: true",
        "from: job, to: outside, reach: false",
        "from: {network: wide}, to: {labels: {team: web}}, port: 80, protocol: udp, reach: false",
        "from: job, to: w*, reach: true",
        "from: near, to: far, port: 22, protocol: tcp, reach: true",
        "from: wide, to: outside, reach: false",
        "from: outside, to: host, reach: true",
        "from: db, to: job, reach: false",
        "from: db, to: front, reach: true",
    ],
)
def test_expectations_that_are_met_say_nothing_and_their_contrary_says_why(tmp_path: Path, expectation: str) -> None:
    contrary = (
        expectation.replace("reach: true", "reach: x").replace("reach: false", "reach: true").replace("x", "false")
    )
    attachments = DB + WEB + JOB + FAR

    found = expecting(tmp_path, attachments, expectation)
    against = expecting(tmp_path, attachments, contrary)

    assert found == []
    assert len(against) == 1
    assert against[0].startswith("c.yaml:2:5: ")
    assert " reach" in against[0]


def test_a_later_file_that_publishes_the_port_is_named_beside_the_expectation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {
        "specs/a.yaml": f"{NETWORKS}expect:\n  - {{from: outside, to: db, reach: false, why: it is ours alone}}\n",
        "specs/b.yaml": f"attachments:\n{DB}",
    }
    published = 'attachments:\n  db:\n    hosts: [alpha]\n    networks: [front]\n    ports:\n      - "80:80"\n      - "5432:5432"\n'
    monkeypatch.chdir(make_repository(tmp_path / "r", before, {"specs/b.yaml": published}))
    said = (
        "specs/a.yaml:6:5: outside of alpha reaches db (on alpha): published: 0.0.0.0:80/tcp leads to db "
        "(specs/b.yaml:6:9) (it is ours alone)"
    )

    for command in (
        ("validate", "--host", "beta"),
        ("--dry-run", "--against", "git:HEAD~1"),
        ("--dry-run", "--against", "empty", "--state-dir", str(tmp_path)),
    ):
        assert main(command) == ExitCode.BAD_SPECS
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ("from: wbe, to: db, reach: true", "c.yaml:2:12: attachment or network 'wbe' not found: did you mean 'web'?"),
        ("from: web, to: {network: fornt}, reach: true", "network 'fornt' not found: did you mean 'front'?"),
        ("from: web, to: {labels: {team: db}}, reach: true", "no network has the labels team=db"),
        ("from: 'x*', to: db, reach: true", "attachment or network 'x*' not found"),
        ("from: web, to: db, raech: true", "unknown key 'raech': did you mean 'reach'?"),
        ("from: web, to: db", "'reach' is missing"),
        ("form: web, to: db, reach: true", "unknown key 'form': did you mean 'from'?"),
        ("from: web, to: db, reach: true, port: 70000", "70000 is out of range: less than 65536 is expected"),
        ("from: web, to: {}, reach: true", "expected a name, or one of 'name', 'network' and 'labels'"),
        ("from: web, to: {netwrk: a}, reach: true", "unknown key 'netwrk': did you mean 'network'?"),
        ("from: web, to: db, reach: true, protocol: http", "'http' is no protocol: expected tcp, udp, sctp"),
    ],
)
def test_what_an_expectation_has_wrong_is_said_at_its_place(tmp_path: Path, expectation: str, said: str) -> None:
    found = expecting(tmp_path, DB + WEB, expectation)

    assert any(said in fault for fault in found), found


def test_expect_is_a_list(tmp_path: Path) -> None:
    assert faults(tmp_path, a="expect: {from: a}\n") == ["a.yaml:1:9: expected a list, got a mapping"]
    assert faults(tmp_path, a="expect:\n  - \n") != []
    assert faults(tmp_path, a="expect:\n") == []


PLUGIN = """\
networks:
  front: {}
  p: {driver: weave, ipam: {config: [{subnet: 10.5.0.0/24}]}}
  far: {driver: weave, ipam: {driver: weave-ipam}}
  bare: {driver: weave, ipam: {driver: "null"}}
  lan: {driver: macvlan, driver_opts: {parent: eth0}, ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1}]}}
  sealed: {driver: macvlan, internal: true, ipam: {config: [{subnet: 10.2.0.0/24}]}}
  routed:
    driver_opts: {com.docker.network.bridge.gateway_mode_ipv4: routed}
    ipam: {config: [{subnet: 10.3.0.0/24}]}
  wide: {external: true}
  back: {internal: true}
attachments:
  p1: {networks: [p]}
  p2: {networks: [p]}
  both: {networks: [p, front], ports: ["8080:80"]}
  web: {networks: [front]}
  waits: {networks: [far]}
  bare1: {networks: [bare]}
  bare2: {networks: [bare]}
  lan1: {networks: [lan]}
  seal1: {networks: [sealed]}
  r: {networks: [routed], ports: ["90"]}
  w1: {networks: [wide]}
  w2: {networks: [wide]}
  db: {networks: [back]}
  agent: {network_mode: host}
  elsewhere: {hosts: ["gpu-*"], networks: [front]}
  p3: {hosts: [alpha], networks: [p]}
  behind: {hosts: [beta], networks: [back]}
"""


@pytest.mark.parametrize(
    ("parties", "because"),
    [
        ("from: p1, to: p2", "p is its plugin's, which no spec tells of (a.yaml:3:3)"),
        ("from: p1, to: outside", "p is its plugin's"),
        ("from: outside, to: 'p[12]'", "p is its plugin's"),
        (
            "from: web, to: waits",
            "waits (on alpha) is reached by web: attachment waits: stays as it is until network far has its pools",
        ),
        ("from: waits, to: outside", "waits (on alpha) reaches outside: "),
        ("from: bare1, to: bare2", "bare2 has no address on bare, a plugin's network, that a spec tells of (a.yaml:"),
        ("from: web, to: bare1", "bare1 has no address on bare"),
        ("from: w1, to: outside", "wide is declared elsewhere: it may be internal (a.yaml:11:3)"),
        ("from: outside, to: elsewhere", "no host that is known has it (a.yaml:28:3)"),
        ("from: {network: far}, to: web", "waits (on alpha) reaches web: "),
    ],
)
def test_what_is_not_known_proves_neither(tmp_path: Path, parties: str, because: str) -> None:
    found = [faults(tmp_path, a=PLUGIN, c=f"expect:\n  - {{{parties}, reach: {each}}}\n") for each in ("false", "true")]

    assert found[0] == found[1]
    assert len(found[0]) == 1
    assert found[0][0].startswith("c.yaml:2:5: it is not known whether ")
    assert because in found[0][0]


@pytest.mark.parametrize(
    ("parties", "is_reached"),
    [
        ("from: both, to: web", True),
        ("from: w1, to: w2", True),
        ("from: outside, to: lan1", True),
        ("from: outside, to: seal1", False),
        ("from: lan1, to: db", False),
        ("from: outside, to: r, protocol: tcp", True),
        ("from: outside, to: r, protocol: udp", False),
        ("from: db, to: host", True),
        ("from: outside, to: agent, port: 22", True),
        ("from: db, to: agent", True),
        ("from: p3, to: behind", False),
    ],
)
def test_what_is_known_is_proved(tmp_path: Path, parties: str, is_reached: bool) -> None:
    expected = faults(tmp_path, a=PLUGIN, c=f"expect:\n  - {{{parties}, reach: {str(is_reached).lower()}}}\n")
    contrary = faults(tmp_path, a=PLUGIN, c=f"expect:\n  - {{{parties}, reach: {str(not is_reached).lower()}}}\n")

    assert expected == []
    assert len(contrary) == 1
    assert "not known" not in contrary[0]


def test_one_that_is_wrong_says_more_than_one_that_is_not_known(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        a=PLUGIN,
        c="expect:\n  - {from: p1, to: '[pw]*', reach: false}\n  - {from: web, to: 'b*', reach: false}\n",
    )

    assert "not known" in found[0]
    assert "web (on alpha) reaches both (on alpha): " in found[1]


def test_a_review_of_some_hosts_asks_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"specs/a.yaml": f"{NETWORKS}attachments:\n{DB}expect:\n  - {{from: outside, to: db, reach: %s}}\n"}
    before, after = ({name: text % reach for name, text in files.items()} for reach in ("false", "true"))
    monkeypatch.chdir(make_repository(tmp_path / "r", before, after))

    assert main(("--dry-run", "--against", "git:HEAD~1", "--host", "beta")) == ExitCode.BAD_SPECS
    assert "outside of alpha does not reach db (on alpha): " in capsys.readouterr().err
