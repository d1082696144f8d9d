"""Compose projects of different style, each with the specs that they become: `compose/NAME/expected.yaml`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.cli import main
from reconciler.importing.carried import carried
from reconciler.importing.compose.read import Asked, read_compose
from reconciler.importing.compose.tree import TAGS
from reconciler.importing.write import stream_text
from reconciler.spec.document import Tagged, parse_document
from reconciler.spec.files import SpecText
from reconciler.spec.load import load_texts

CASES = sorted((Path(__file__).parent / "compose").iterdir())
PLAIN = "services:\n  web: {image: x}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder to write a project into, from which the command line is run with an empty environment."""
    folder = tmp_path / "proj"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME", "COMPOSE_DISABLE_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_project_becomes_the_specs_that_are_expected(
    case: Path, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = (case / "expected.yaml").read_text()
    command = expected.split("`")[1]
    monkeypatch.chdir(case)

    assert main(shlex.split(command)[1:]) == 0

    shown, told = capsys.readouterr()
    assert shown == expected
    loaded = load_texts([SpecText("expected.yaml", shown)], host="here", digest="")
    assert loaded.faults == ()
    remarks = " ".join(line.strip(" #") for line in shown.splitlines() if line.strip().startswith("#"))
    for warning in told.splitlines()[:-1]:
        assert warning.split(": not carried: ")[1].rpartition(": ")[2] in remarks


def imported(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["import", "compose", *arguments])
    return int(code), *capsys.readouterr()


FAULTS = {
    "no yaml": ("services: {web: [}\n", "compose.yaml:1:18: bad YAML"),
    "no mapping": ("- a\n", "compose.yaml:1:1: a Compose file is a mapping"),
    "services": ("services: [web]\n", "compose.yaml:1:11: services: expected a mapping, got a list"),
    "service": ("services:\n  web: nginx\n", "compose.yaml:2:8: services.web: expected a mapping, got text ('nginx')"),
    "list": (
        "services:\n  web:\n    ports: 80\n",
        "compose.yaml:3:12: services.web.ports: expected a list, got a number ('80')",
    ),
    "text": (
        "services:\n  web:\n    hostname: [a]\n",
        "compose.yaml:3:15: services.web.hostname: expected text, got a list",
    ),
    "network": (
        "services:\n  web: {networks: [frnt]}\nnetworks: {front: {}}\n",
        "compose.yaml:2:20: service web is on network 'frnt', which nobody declares: did you mean 'front'?",
    ),
    "both": (
        "services:\n  web: {networks: [a], network_mode: host}\nnetworks: {a: {}}\n",
        "compose.yaml:2:38: services.web: 'network_mode' and 'networks' exclude each other",
    ),
    "required": (
        "services:\n  web:\n    hostname: ${NAME:?give it a $WORD}\n",
        "compose.yaml:3:15: variable NAME is required: give it a $WORD: set it in the environment or .env",
    ),
    "unclosed": ("services: {web: {hostname: '${NAME'}}\n", "compose.yaml:1:28: `${` has no `}`"),
    "form": ("services: {web: {hostname: '${A/b/c}'}}\n", "compose.yaml:1:28: '${A/b/c…}' is no form of Compose's"),
    "nested": (f"services: {{web: {{hostname: '{'${A-' * 40}{'}' * 40}'}}}}\n", "variables are nested deeper than 16"),
    "scale": (
        "services: {web: {scale: many}}\n",
        "compose.yaml:1:25: services.web.scale: expected a number up to 1000",
    ),
    "scales": (
        "services: {web: {scale: 2, deploy: {replicas: 3}}}\n",
        "'scale' says 2 and 'deploy.replicas' 3: remove one",
    ),
    "one name": ("services: {web: {scale: 2, container_name: a}}\n", "compose.yaml:1:44: service web has 2 replicas"),
    "boolean": (
        "services: {web: {}}\nnetworks: {default: {internal: maybe}}\n",
        "compose.yaml:2:32: networks.default.internal: expected true or false",
    ),
    "extends nobody": (
        "services: {web: {extends: base}}\n",
        "compose.yaml:1:27: there is no service 'base' to extend in compose.yaml",
    ),
    "extends in a circle": (
        "services:\n  a: {extends: b}\n  b: {extends: {service: a}}\n",
        "compose.yaml:3:16: this goes round in a circle: a extends b extends a",
    ),
    "extends no file": (
        "services: {web: {extends: {service: a, file: no.yaml}}}\n",
        "compose.yaml:1:46: there is no file 'no.yaml'",
    ),
    "includes no file": ("include: [no.yaml]\n", "compose.yaml:1:11: there is no file 'no.yaml'"),
    "includes itself": ("include: [compose.yaml]\n", "compose.yaml:1:11: this goes round in a circle"),
    "twice": ("services: {web: {}, web: {}}\n", "compose.yaml:1:21: 'web' is given twice, first at compose.yaml:1:12"),
    "tag": (
        "services: {web: !!python/object:os.system {}}\n",
        "compose.yaml:1:17: tag 'tag:yaml.org,2002:python/object:os.system'",
    ),
    "bomb": (
        "x-a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"x-{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "compose.yaml:6:",
    ),
    "deep": ("services: " + "[" * 5000, "nested deeper than 32 levels"),
    "huge": ("x-a: " + "a" * (1 << 20) + "\n", "larger than 1 MiB"),
    "no text": ("services: {a: {}}\n\udcff", "compose.yaml:2:1: not UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_named_by_its_place_and_nothing_is_written(
    text: str, message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "compose.yaml").write_bytes(text.encode(errors="surrogateescape"))

    code, shown, told = imported(capsys, "--output", "specs")

    assert (code, shown) == (65, "")
    assert message in told
    assert [path.name for path in project.iterdir()] == ["compose.yaml"]


def test_faults_of_all_files_are_told_at_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "a.yaml").write_text(PLAIN)
    (project / "b.yaml").write_text("services: {web: {dns: {}, hostname: '${X:?}'}, db: 1}\n")

    code, _, told = imported(capsys, "a.yaml", "b.yaml", "c.yaml")

    assert code == 65
    assert [line.split(": ")[0] for line in told.splitlines()] == [
        "b.yaml:1:52",
        "b.yaml:1:37",
        "c.yaml:0:0",
    ]


def test_files_that_include_each_other_again_and_again_are_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        (project / f"{number}.yaml").write_text(f"include: [{number + 1}.yaml, {number + 1}.yaml]\n")
    (project / "20.yaml").write_text(PLAIN)

    code, _, told = imported(capsys, "0.yaml")

    assert code == 65
    assert "the project has more than 200 files, or includes some again and again" in told


def test_variables_that_grow_without_end_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grown = "".join(f'V{number}="{f"$V{number - 1}" * 10}"\n' for number in range(1, 9))
    (project / ".env").write_text(f"V0=0123456789\n{grown}")
    (project / "compose.yaml").write_text("services: {web: {hostname: $V8}}\n")

    code, _, told = imported(capsys)

    assert code == 65
    assert told.startswith(".env:5:4: with its variables filled in the text is longer than 65536 characters")


def test_environment_wins_over_env_files_and_no_secret_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NAME", "outer")
    (project / "one.env").write_text("NAME=inner\nSECRET=swordfish\nDOMAIN=one.test\n")
    (project / "two.env").write_text("DOMAIN=two.$NAME\n")
    (project / "compose.yaml").write_text(
        "services: {web: {hostname: $NAME, domainname: $DOMAIN, environment: {A: $SECRET, B: $NOWHERE}}}\n"
    )

    code, shown, told = imported(capsys, "--env-file", "one.env", "--env-file", "two.env")

    assert code == 0
    assert "    hostname: outer\n    domainname: two.outer\n" in shown
    assert "swordfish" not in shown + told
    assert "NOWHERE" not in shown + told


@pytest.mark.parametrize(
    ("arguments", "environment", "network"),
    [
        ((), {}, "proj_default"),
        (("-p", "other"), {"COMPOSE_PROJECT_NAME": "env"}, "other_default"),
        ((), {"COMPOSE_PROJECT_NAME": "Env!"}, "env_default"),
        (("named.yaml",), {}, "named-proj_default"),
        (("--project-directory", "Sub Dir"), {}, "subdir_default"),
        ((), {"COMPOSE_FILE": "compose.yaml:named.yaml"}, "named-proj_default"),
    ],
    ids=["folder", "option", "environment", "file", "project directory", "COMPOSE_FILE"],
)
def test_project_is_called_as_compose_calls_it(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    network: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "Sub Dir").mkdir()
    for folder in (project, project / "Sub Dir"):
        (folder / "compose.yaml").write_text(PLAIN)
    (project / "named.yaml").write_text(f"name: Named-${{PART:-Proj}}\n{PLAIN}")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    code, shown, _ = imported(capsys, *arguments)

    assert code == 0
    assert f"  {network}: {{}}\n" in shown


def test_files_are_found_by_their_names_with_the_override(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, told = imported(capsys)
    assert code == 78
    assert "no Compose file in .: name it" in told

    (project / "docker-compose.yml").write_text(PLAIN)
    (project / "compose.override.yml").write_text("services: {web: {hostname: over}}\n")

    code, shown, _ = imported(capsys)
    assert code == 0
    assert "hostname: over" in shown


def test_attachments_may_be_called_as_containers_and_be_for_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "compose.yaml").write_text("services: {web: {scale: 2}, in-host: {network_mode: host}}\n")

    code, shown, _ = imported(capsys, "--long-names", "--containers")

    assert code == 0
    assert shown.startswith("# Written by `reconcile import compose --long-names --containers`;")
    assert (
        "  proj-web-2:\n    sandbox: {container: proj-web-2}\n    networks:\n      proj_default: {aliases: [web]}\n"
        in shown
    )
    assert "  proj-in-host-1:\n    network_mode: host\n" in shown


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["${A:-b}", "$", "1:2", "web", "default"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60)
@given(st.sampled_from(CASES), st.data())
def test_whatever_stands_in_a_project_comes_to_specs_that_load_or_to_faults(case: Path, data: st.DataObject) -> None:
    texts = {path.name: path.read_text() for path in case.iterdir() if path.is_file() and path.name != "expected.yaml"}
    files = [name for name in texts if name.endswith((".yaml", ".yml", ".json"))]
    changed = data.draw(st.sampled_from(files))
    document, _ = parse_document(changed, texts[changed], tags=TAGS)
    assert document is not None
    root: Any = {"": untagged(document.data)}
    node, step = root, ""
    while isinstance(node[step], dict | list) and node[step] and data.draw(st.integers(0, 4)):
        node = node[step]
        step = data.draw(st.sampled_from(list(node) if isinstance(node, dict) else list(range(len(node)))))
    node[step] = data.draw(ANYTHING)
    texts[changed] = json.dumps(root[""])

    found = read_compose(Asked(files=tuple(files), environment={}, called="p"), texts.get, lambda: None)

    assert (found.imported is None) == bool(found.faults)
    if found.imported is not None:
        text = stream_text(carried(found.imported, "here"), "test")
        assert load_texts([SpecText("specs.yaml", text)], host="here", digest="").faults == ()


def untagged(data: Any) -> Any:
    """Return data that JSON can say, nothing of it twice."""
    data = data.value if isinstance(data, Tagged) else data
    if isinstance(data, dict):
        return {name: untagged(inner) for name, inner in data.items()}
    return [untagged(inner) for inner in data] if isinstance(data, list) else data


DOCKER = """#!/bin/sh
[ "$*" = "compose version --short" ] && exit {has_compose}
[ "$*" = "compose --file compose.yaml --profile p config --format json" ] || exit 9
cat {answer}
exit {code}
"""


def docker(project: Path, answer: str, *, code: int = 0, has_compose: int = 0) -> None:
    """Put a `docker` into the PATH that says this."""
    program = project.parent / "bin" / "docker"
    program.parent.mkdir()
    (project.parent / "answer").write_text(answer)
    program.write_text(
        DOCKER.format(answer=project.parent / "answer", code=code, has_compose=has_compose).replace("cat", "/bin/cat")
    )
    program.chmod(0o755)


def test_what_compose_itself_says_is_preferred(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "compose.yaml").write_text("services:\n  db: {image: x, hostname: ours}\n  web: {ports: ['80:80']}\n")
    docker(
        project,
        json.dumps(
            {
                "name": "theirs",
                "networks": {"default": {"name": "theirs_default", "ipam": {}, "labels": {"$$a": "b$$$$"}}},
                "services": {
                    "web": {
                        "networks": {"default": None},
                        "ports": [{"mode": "ingress", "target": 80, "published": "81", "protocol": "tcp"}],
                    },
                    "db": {"networks": {"default": {"aliases": ["a b", "c"]}}, "cpus": 0.5, "hostname": "theirs"},
                },
            }
        ),
    )

    code, shown, _ = imported(capsys, "--profile", "p")

    assert code == 0
    assert shown[shown.index("networks:") :] == (
        "networks:\n"
        "  # compose.yaml, network default\n"
        "  theirs_default:\n"
        '    labels: {"$a": "b$$"}\n'
        "\n"
        "attachments:\n"
        "  # compose.yaml:2:3, service db\n"
        "  # not carried: networks.theirs_default.aliases a b (compose.yaml): 'a b' is no name that can be looked up: letters,\n"
        "  #   digits, '-' and '_' are expected, at most 63 between dots and 253 in all\n"
        "  db:\n"
        "    hostname: theirs\n"
        "    networks:\n"
        "      theirs_default: {aliases: [theirs-db-1, c]}\n"
        "\n"
        "  # compose.yaml:3:3, service web\n"
        "  web:\n"
        "    networks:\n"
        "      theirs_default: {aliases: [theirs-web-1]}\n"
        '    ports: ["81:80"]\n'
    )
    code, shown, _ = imported(capsys, "--profile", "p", "--without-docker")
    assert "hostname: ours" in shown


@pytest.mark.parametrize(
    ("answer", "code", "has_compose", "told_is"),
    [
        ("", 0, 1, ""),
        ("{}{", 0, 0, "what it printed is no JSON"),
        ("", 15, 0, "it failed"),
    ],
    ids=["no plugin", "no JSON", "failure"],
)
def test_files_are_merged_here_where_compose_does_not_answer(
    answer: str, code: int, has_compose: int, told_is: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "compose.yaml").write_text(PLAIN)
    docker(project, answer, code=code, has_compose=has_compose)

    result, shown, told = imported(capsys, "--profile", "p")

    assert result == 0
    assert "proj_default: {}" in shown
    assert ("does not answer, so the files are merged here: " + told_is in told) == bool(told_is)


def test_result_is_a_folder_that_a_dry_run_takes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "compose.yaml").write_text(PLAIN)

    code, shown, told = imported(capsys, "--output", "specs")

    assert (code, shown) == (0, "")
    assert "1 network and 1 attachment written to specs: try `reconcile --specs specs --dry-run`" in told
    assert main(["--specs", "specs", "--state-dir", "state", "--dry-run", "--against", "empty"]) == 0
    assert "attachment web" in capsys.readouterr().out
