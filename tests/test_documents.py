"""Documents lead where they say: README to all of them, and every link to something that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
