"""`reconcile fmt`: spec files in one form."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from reconciler.spec.formatting import formatted

TYPED = """\
# who made it

attachments:
  web:
    # where it listens
    ports: [{published: 8080, target: 80}]   # for all
    networks: [front]
networks:
  front:
    labels: &own {b: "1", a: "2"}
    driver: bridge\t
  back: {labels: *own, internal: true}
"""
CANONICAL = """\
# who made it

networks:
  front:
    driver: bridge
    labels: &own {b: "1", a: "2"}
  back: {labels: *own, internal: true}

attachments:
  web:
    networks: [front]
    # where it listens
    ports: [{target: 80, published: 8080}]   # for all
"""

Fmt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fmt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fmt:
    (tmp_path / "specs").mkdir()
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["fmt", *arguments])
        return (code, *capsys.readouterr())

    return run


def test_files_come_into_one_form_and_stay_in_it(fmt: Fmt) -> None:
    file, template, variables = Path("specs/a.yaml"), Path("specs/t.yaml.j2"), Path("specs/vars.yaml")
    for path in (file, template, variables):
        path.write_text(TYPED)
    file.chmod(0o640)
    os.symlink(file.resolve(), "link.yaml")

    assert fmt("--check") == (ExitCode.FAILED, "specs/a.yaml\n", "")
    assert file.read_text() == TYPED
    code, out, err = fmt("link.yaml", "specs/t.yaml.j2")
    assert (code, out, err) == (ExitCode.OK, "", "link.yaml: formatted\n")
    assert file.read_text() == CANONICAL
    assert file.stat().st_mode & 0o777 == 0o640
    assert Path("link.yaml").is_symlink()
    assert {template.read_text(), variables.read_text()} == {TYPED}, "templates and their variables are left alone"
    assert fmt() == (ExitCode.OK, "", "")
    assert fmt("--check") == (ExitCode.OK, "", "")
    assert sorted(path.name for path in Path("specs").iterdir()) == ["a.yaml", "t.yaml.j2", "vars.yaml"]


def test_modeline_names_the_schema_of_the_repository(fmt: Fmt) -> None:
    Path(".git").mkdir()
    Path("schemas").mkdir()
    main(["schema", "--output", "schemas"])
    file = Path("specs/a.yaml")
    file.write_text("networks: {}\n")

    fmt()
    assert file.read_text() == "# yaml-language-server: $schema=../schemas/reconciler.schema.json\nnetworks: {}\n"
    file.write_text("networks: {}\n# yaml-language-server: $schema=other.json\n")
    fmt("--schema", "mine.json")
    assert file.read_text() == "# yaml-language-server: $schema=other.json\nnetworks: {}\n", "its author's stays"


def test_what_has_faults_stays_as_it_is(fmt: Fmt) -> None:
    bad, good = Path("specs/a.yaml"), Path("specs/b.yaml")
    bad.write_text("networks: {a: 1, a: 2}\n")
    good.write_text(TYPED)

    code, _, err = fmt()

    assert code == ExitCode.BAD_SPECS
    assert err.startswith("specs/a.yaml:1:18: ")
    assert (bad.read_text(), good.read_text()) == ("networks: {a: 1, a: 2}\n", CANONICAL)
    code, _, err = fmt("missing.yaml")
    assert (code, err) == (ExitCode.BAD_SPECS, "missing.yaml:0:0: cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    "text",
    [
        "networks: {a: {labels: {k: 1}, driver: bridge,\n  internal: true}}\n",
        "networks:\n  a:\n    labels: &l {a: b}\n    x-l: *l\n  ? b\n  : {}\n",
        "networks:\n  a: {labels: &l {a: b}, driver_opts: *l}\n",
        "networks:\n  a:\n    labels: &l {a: b}\n    driver_opts: *l\n",
        "networks:\n  a: {labels: [a:, b]}\n",
        "networks:\n  a:\n    labels:\n      text: |+\n        kept  \n\n\n",
        "services: {}\nnetworks: {}\nattachments: {}\n",
        "networks:\n  a: {labels: {k: v\u2028w}}\n  b:\n    # own\n    internal: true\n    driver: bridge\n",
        "",
        "# nothing\n",
    ],
    ids=[
        "braces over lines",
        "key with a question mark",
        "anchor after",
        "anchor below",
        "colons",
        "kept blanks",
        "compose",
        "another line break",
        "empty",
        "remark",
    ],
)
def test_what_would_say_something_else_stays_as_it_is(text: str) -> None:
    assert formatted("a.yaml", text) == (text, [])


def test_examples_are_in_that_form() -> None:
    files = [path for path in Path(__file__).parents[3].glob("examples/**/*.yaml") if path.name != "vars.yaml"]

    assert len(files) > 10
    assert [path.name for path in files if formatted(path.name, path.read_text())[0] != path.read_text()] == []


@pytest.mark.parametrize(
    "text", ["\r", "a: b\r", "networks:\r\r\n  a: {}\r", "\r\n\r ", "a: b\r \t\r \n", "\r" * 300_000 + "a: b\r"]
)
def test_a_carriage_return_at_the_end_of_a_line_goes_at_once(text: str) -> None:
    """It went a step each time, so that `fmt --check` found the file that `fmt` had written."""
    found, faults = formatted("a.yaml", text, "s.json")

    assert not faults
    assert formatted("a.yaml", found, "s.json") == (found, [])
