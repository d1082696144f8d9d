"""Variables of Compose, with the values that Docker Compose 2.26.1 gave for the same text."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import SpecError
from reconciler.importing.compose.dotenv import variables
from reconciler.importing.compose.interpolation import BadVariable, filled

VALUES = {"A": "plain", "B": "two words", "E": ""}
FORMS = {
    "$A ${A}": "plain plain",
    "$$A $${A} $ $1 a$": "$A ${A} $ $1 a$",
    "${A:-x} ${NO:-x} ${E:-x}": "plain x x",
    "${A-x} ${NO-x}[${E-x}]": "plain x[]",
    "${A:+x}[${NO:+x}][${E:+x}]": "x[][]",
    "${A+x}[${NO+x}]${E+x}": "x[]x",
    "${A:?x} ${A?x}[${E?x}]": "plain plain[]",
    "${NO:-${NO2:-deep}} ${NO:-$A and ${B}}": "deep plain and two words",
    "${NO:-a}b} ${NO:-{a}} ${NO-a:-b} [${NO:-}]": "ab} {a} a:-b []",
    "x${NO:+${A}}y$NO_$A-$A_b": "xyplain-",
}


@pytest.mark.parametrize(("text", "expected"), FORMS.items(), ids=FORMS)
def test_forms_are_filled_in(text: str, expected: str) -> None:
    assert filled(text, VALUES, lambda name: None) == expected


def test_only_those_without_value_and_default_are_told() -> None:
    told: list[str] = []

    filled("$A $NO ${NO2} ${NO3:-x} ${E}", VALUES, told.append)

    assert told == ["NO", "NO2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO:?set $A}", "variable NO is required: set $A: set it in the environment or .env"),
        ("${NO:?two\nlines}", "variable NO is required: two lines: set it in the environment or .env"),
        ("${A\n:xx}", "'${A:xx…}' is no form of Compose's"),
        ("${E:?}", "variable E is required: set it in the environment or .env"),
        ("${A", "`${` has no `}`"),
        ("${}", "not followed by the name of a variable"),
        ("${A/x/y}", "no form of Compose's"),
    ],
)
def test_what_is_no_variable_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadVariable) as refused:
        filled(text, VALUES, lambda name: None)

    assert message in str(refused.value)


@given(st.text("$${}:-+?AE_ a", max_size=40))
def test_any_text_is_filled_in_or_refused(text: str) -> None:
    with contextlib.suppress(BadVariable):
        filled(text, VALUES, lambda name: None)


def test_env_file_is_read_as_compose_reads_it() -> None:
    content = r"""# remark
A=plain
  B = spaced value   # remark
export C='single $A \n'
D="double $A \n tab\t \"q\" \$A $$A end"
E=
F:colon
G="multi
line" # after
H=a#b
J="${A:-x} ${NO-def} ${NO:+y}"
INHERIT
NOT_INHERITED
K=va"lu"e
L="\\\\ \x41 \060 \0101"
M=${A}${B}
N='a\'b'
P.Q-R=dotted
OUTER=${OUTER}d"""

    assert variables(".env", content, {"INHERIT": "outer", "OUTER": "won"}) == {
        "A": "plain",
        "B": "spaced value",
        "C": r"single $A \n",
        "D": 'double plain \n tab\t "q" $A $A end',
        "E": "",
        "F": "colon",
        "G": "multi\nline",
        "H": "a#b",
        "INHERIT": "outer",
        "J": "plain def ",
        "K": 'va"lu"e',
        "L": r"\\ \x41 \60 A",
        "M": "plainspaced value",
        "N": "a'b",
        "OUTER": "wond",
        "P.Q-R": "dotted",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A=1\n&B=2", ".env:2:1: expected NAME=value"),
        ("A=1\nB='2", ".env:2:3: a quoted value is not closed"),
        ("A=1\n\n  B=${C:?secret}", ".env:3:5: variable C is required: secret"),
    ],
)
def test_fault_of_an_env_file_is_named_by_its_place(content: str, message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("$", r"\$")):
        variables(".env", content, {})


@given(st.text("AB=:'\"\\\n #$0x", max_size=60))
def test_any_env_file_is_read_or_refused(content: str) -> None:
    with contextlib.suppress(SpecError):
        variables(".env", content, {})
