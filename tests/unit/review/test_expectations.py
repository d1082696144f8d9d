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
