"""Docstrings say "Return", "Yield" or what is done; in the packages that have come so far a class name is one class."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "reconciler"
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
ONE_CLASS_EACH = ("dns", "firewall", "http", "ipam", "ports", "records", "sandbox", "status")
KNOWN_TWINS = {"http": {"Request", "Response"}}
"""A client's and a server's: each side imports its own."""

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


@pytest.mark.parametrize("package", ONE_CLASS_EACH)
def test_names_of_public_classes_are_one_class_in_a_package(package: str) -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / package).rglob("*.py")]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))

    assert {name for name, count in names.items() if count > 1} == KNOWN_TWINS.get(package, set())
