"""Documents lead where they say: README to all of them, and every link to something that is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from reconciler import errors
from reconciler.cli import main
from reconciler.cli.manual_page import FILES
from reconciler.cli.root import reconcile
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.status.reasons import MEANINGS, error_meanings
from reconciler.status.verdict import REASONS
from tests import reference
from tests.test_layers import LAYERS

ROOT = Path(__file__).parent.parent
NO_FILES_OF_OURS = {"docker.sock", "podman.sock"}
CONDITIONS = {"Ready", "Reconciling", "Stalled", "True", "False", "Unknown"}
DOCUMENTS = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
]


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return what `#…` may name in a document, as GitHub makes it from headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(document.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> list[tuple[Path, str]]:
    """Return the files that a document links to, each with the heading it names."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text()))
    own = [target.partition("#") for target in targets if "://" not in target]
    return [((document.parent / path).resolve() if path else document, anchor) for path, _, anchor in own]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_to_what_is_there(document: Path) -> None:
    broken = [
        (str(target), anchor)
        for target, anchor in links(document)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]

    assert broken == []


def test_what_sources_cite_is_in_the_repository() -> None:
    """A file of docs/ and a heading in it; what a reader cannot open is no reason for anything."""
    sources = [path for folder in ("reconciler", "tests") for path in (ROOT / folder).rglob("*.py")]
    cited = {
        cite
        for path in sources
        for cite in re.findall(r"(?<![/:])\b(docs/[\w/-]+\.md)(?:#([\w-]+))?", path.read_text())
    }

    missing = {
        cite for cite in cited if not (ROOT / cite[0]).is_file() or (cite[1] and cite[1] not in anchors(ROOT / cite[0]))
    }
    assert len(cited) > 20
    assert missing == set()


def test_every_document_is_reached_from_the_readme() -> None:
    readme = ROOT / "README.md"
    reached, ahead = {readme}, [readme]
    while ahead:
        new = {target for target, _ in links(ahead.pop()) if target.suffix == ".md"} - reached
        reached |= new
        ahead += new

    assert set((ROOT / "docs").rglob("*.md")) - reached == set()


def test_the_readme_is_short_and_begins_with_what_to_type() -> None:
    text = (ROOT / "README.md").read_text()
    first_screen = text.splitlines()[:24]

    assert len(text.encode()) <= 7_000
    assert [line for line in first_screen if line.startswith("$ make demo ")] != []
    assert [line for line in first_screen if line.startswith("$ make test ")] != []


@pytest.mark.parametrize("page", reference.pages(), ids=name)
def test_references_are_current(page: Path) -> None:
    assert page.read_text() == reference.current(page.read_text()), "`make reference` makes it so"


def test_every_reference_is_in_one_page() -> None:
    regions = [region for page in reference.pages() for region in re.findall("<!-- begin (.*) -->", page.read_text())]

    assert sorted(regions) == sorted(reference.REGIONS)


def test_every_error_has_a_meaning() -> None:
    kinds = {
        kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ReconcilerError)
    }

    assert set(error_meanings()) == kinds - {"ReconcilerError"}


def test_every_reason_of_an_error_has_a_meaning() -> None:
    assert {reason for _, reason in REASONS} <= MEANINGS.keys()


def test_reasons_that_no_error_has_are_told_too() -> None:
    page = (reference.PAGES / "status-reasons.md").read_text()
    sources = [
        (ROOT / "reconciler" / file).read_text()
        for file in ("status/summary.py", "status/verdict.py", "watch/journal.py")
    ]
    reasons = {reason for text in sources for reason in re.findall(r'"([A-Z][a-zA-Z]+[a-z])"', text)} - CONDITIONS

    assert {reason for reason in reasons if f"`{reason}`" not in page} == set()


def commands_in(text: str) -> Iterator[str]:
    """Return what documents show of `reconcile`, in blocks and in prose, up to a comment, pipe or next command."""
    blocks = re.findall(r"^(?:[#$] )+(?:\S+=\S+ )?(reconcile\b.*)$", text, flags=re.MULTILINE)
    for command in (*blocks, *re.findall(r"(?<!`)`(reconcile(?: [^`]*)?)`(?!`)", text.replace("\n", " "))):
        yield re.split(r" +# |\\?\||[;&>]", command)[0]


def unknown_words(line: str) -> list[str]:
    """Return the commands and options that `reconcile` does not have."""
    command: click.Command = reconcile
    context = click.Context(command)
    unknown = []
    words = iter(re.sub(r"[][]", "", line).split()[1:])
    for word in words:
        flag, _, value = word.partition("=")
        if word == "--":
            break
        if word.startswith("-"):
            option = next((option for option in command.params if flag in option.opts), None)
            if isinstance(option, click.Option):
                if not (option.is_flag or option.count or value):
                    next(words, None)
            elif flag not in ("--help", "--version"):
                unknown.append(word)
        elif isinstance(command, click.Group) and re.fullmatch("[a-z]+", word):
            found = command.get_command(context, word)
            unknown += [] if found else [word]
            command = found or command
    return unknown


def test_a_command_that_is_not_there_is_found_out() -> None:
    assert unknown_words("reconcile [--state-dir DIR] --dry-run network list --filtre name=x") == ["list", "--filtre"]
    assert unknown_words("reconcile exec web -- env --no-such-option") == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_that_are_shown_exist(document: Path) -> None:
    found = {line: unknown_words(line) for line in commands_in(document.read_text())}

    assert {line: words for line, words in found.items() if words} == {}


def test_every_field_of_the_specs_is_described() -> None:
    rows = [line for line in (reference.PAGES / "specs.md").read_text().splitlines() if line.startswith("| `")]

    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_file_of_the_state_and_run_folders_is_listed() -> None:
    """By the names that stand in the sources."""
    sources = [path.read_text() for path in (ROOT / "reconciler").rglob("*.py")]
    names = {name for text in sources for name in re.findall(r'"([a-z-]+\.(?:json|ndjson|db|log|sock))"', text)}
    listed = " ".join((*FILES, *FILES.values()))

    assert {"state.db", "trial.log", "retry.json"} <= names
    assert {name for name in names if name not in listed} == NO_FILES_OF_OURS & names


def specs_in(document: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", document.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if specs_in(document)], ids=name)
def test_specs_that_are_shown_are_valid(document: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, text in enumerate(specs_in(document)):
        specs = tmp_path / str(number)
        specs.mkdir()
        (specs / "shown.yaml").write_text(text)

        assert main(["--specs", str(specs), "--host", "alpha", "validate"]) == ExitCode.OK, capsys.readouterr().err


def test_the_architecture_draws_the_layers_that_are_enforced() -> None:
    page = (ROOT / "docs" / "design" / "architecture.md").read_text()
    drawing = page.partition("```\nerrors <")[2].partition("```")[0]
    layers = [{part.strip() for part in layer.split(",")} for layer in f"errors <{drawing}".split("<")]

    assert [*layers, {"__main__"}] == [set(layer) for layer in LAYERS]


def test_the_architecture_says_what_each_package_holds() -> None:
    page = (ROOT / "docs" / "design" / "architecture.md").read_text()
    described = set(re.findall(r"`([a-z_]+)(?:/|\.py)`", page.partition("The folders above")[0]))
    packages = {path.stem for path in (ROOT / "reconciler").iterdir() if not path.name.startswith(("_", "."))}

    assert packages - described == set()


def test_every_claim_of_the_threat_model_has_tests_that_exist() -> None:
    """And a module that is there."""
    text = (ROOT / "docs" / "design" / "security.md").read_text()
    claims = [
        [cell.strip() for cell in line.split(" | ")]
        for line in text.splitlines()
        if re.match(r"\| (?!claim|---)", line)
    ]
    tests = [set(re.findall(r"`([\w/]+\.py)::(\w+)`", claim[-1])) for claim in claims]
    defined = {
        file: {
            node.name
            for node in ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
            if isinstance(node, ast.FunctionDef)
        }
        for file in {file for named in tests for file, _ in named}
    }
    kept_by = {module for claim in claims for module in re.findall(r"`([\w/]+(?:\.py|/))`", claim[1])}

    assert len(claims) > 60
    assert [claim[0] for claim, named in zip(claims, tests, strict=True) if len(claim) != 3 or not named] == []
    assert [each for named in tests for each in named if each[1] not in defined[each[0]]] == []
    assert {module for module in kept_by if not (ROOT / "reconciler" / module).exists()} == set()
