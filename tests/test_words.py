"""Docstrings say "Return", "Yield" or what is done; a class name is one class in a package, and nearly always in all of them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "reconciler"
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
KNOWN_TWINS = {
    "Asked",
    "Check",
    "Connection",
    "Found",
    "Lines",
    "Link",
    "Mark",
    "Match",
    "Member",
    "Members",
    "Network",
    "NetworkTable",
    "Node",
    "Parties",
    "Place",
    "Pool",
    "Row",
    "Service",
}
"""Classes of packages that have nothing to do with each other; who adds one to the list has thought of who reads both."""

VAGUE = re.compile(r"(Give|Say|Tell) (?!up\b)")


def functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def vague(source: str) -> list[str]:
    """Return the docstrings of functions with a result that do not say that they return it."""
    found = [(node, ast.get_docstring(node) or "") for node in functions(source)]
    return [
        text.partition("\n")[0]
        for node, text in found
        if VAGUE.match(text) and node.returns is not None and ast.unparse(node.returns) != "None"
    ]


@pytest.mark.parametrize("package", [*PACKAGES, "."])
def test_docstrings_say_what_is_returned(package: str) -> None:
    paths = (ROOT / package).rglob("*.py") if package != "." else ROOT.glob("*.py")
    found = {path.name: vague(path.read_text()) for path in paths}

    assert {name: texts for name, texts in found.items() if texts} == {}


def test_a_vague_docstring_is_found_out() -> None:
    assert vague('def f() -> int:\n    """Give the number."""') == ["Give the number."]
    assert vague('def f() -> int:\n    """Return the number."""') == []
    assert vague('def f() -> None:\n    """Give up every right."""') == []


def classes(folder: Path) -> Counter[str]:
    trees = [ast.parse(path.read_text()) for path in folder.rglob("*.py")]
    return Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


@pytest.mark.parametrize("package", PACKAGES)
def test_names_of_classes_are_one_class_in_a_package(package: str) -> None:
    assert {name for name, count in classes(ROOT / package).items() if count > 1} == set()


def test_names_of_public_classes_are_one_class_but_for_those_that_are_known() -> None:
    found = {name for name, count in classes(ROOT).items() if count > 1 and not name.startswith("_")}

    assert found == KNOWN_TWINS
