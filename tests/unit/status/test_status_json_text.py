"""The quick renderer gives the standard library's bytes, but for what could steer a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.status.json_text import json_text

SAFE = st.text(
    st.characters(min_codepoint=0, max_codepoint=0x7E) | st.characters(min_codepoint=0xA1, max_codepoint=0x17F)
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | SAFE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SAFE, inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_text_is_that_of_the_standard_library(tree: object) -> None:
    assert json_text(tree) == json.dumps(tree, indent=4, ensure_ascii=False) + "\n"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "character", ["\x1b", "\x7f", "\x9b", "\u061c", "\u200f", "\u202e", "\u2028", "\ud800"], ids=ascii
)
def test_character_that_could_harm_a_terminal_is_escaped(character: str) -> None:
    text = json_text({"label": f"a{character}b"})

    assert character not in text
    assert json.loads(text) == {"label": f"a{character}b"}
