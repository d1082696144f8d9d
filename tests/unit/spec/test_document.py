import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.spec.document import ALIASES_MAX, EVENTS_MAX, Tree, parse_document


def parsed(text: str) -> Tree:
    document, faults = parse_document("a.yaml", text)
    assert not faults
    assert document is not None
    return document.data


def refusal(text: str) -> str:
    document, faults = parse_document("a.yaml", text)
    assert document is None
    return str(faults[-1])


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("1400", 1400),
        ("-3", -3),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("1.10", "1.10"),
        ("1e3", "1e3"),
        ("22:22", "22:22"),
        ("02:42:ac:11:00:02", "02:42:ac:11:00:02"),
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("! 1", "1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_what_was_typed(typed: str, value: Tree) -> None:
    assert parsed(f"a: {typed}") == {"a": value}


def test_places_are_those_of_keys_and_values() -> None:
    document, _ = parse_document("a.yaml", "networks:\n  front: {driver: x, list: [a, {b: c}]}\n")

    assert document is not None
    assert str(document.source(("networks", "front"), at_key=True)) == "a.yaml:2:3"
    assert str(document.source(("networks", "front", "driver"))) == "a.yaml:2:19"
    assert str(document.source(("networks", "front", "list", 1, "b"))) == "a.yaml:2:36"
    assert str(document.source(("networks", "front", "list", "a"))) == "a.yaml:2:29"
    assert str(document.source(("networks", "front", "absent"))) == "a.yaml:2:10"
    assert str(document.source(())) == "a.yaml:1:1"


def test_merge_keys_give_way_to_own_keys_and_keep_their_place() -> None:
    document, faults = parse_document("a.yaml", "x-a: &a {p: 1, q: 2}\nb:\n  <<: [*a, {q: 3, r: 4}]\n  p: 0\n")

    assert not faults
    assert document is not None
    assert document.data == {"x-a": {"p": 1, "q": 2}, "b": {"p": 0, "q": 2, "r": 4}}
    assert str(document.source(("b", "q"))) == "a.yaml:1:19"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("[" * 200_000, "nested deeper than 32 levels", id="deep-flow"),
        pytest.param("a: " + "{a: " * 200_000, "nested deeper than 32 levels", id="deep-mapping"),
        pytest.param("- " * 2_000 + "a", "nested deeper than 32 levels", id="deep-block"),
        pytest.param(
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "aliases expanded",
            id="billion-laughs",
        ),
    ],
)
def test_bombs_are_refused_before_they_go_off(text: str, said: str) -> None:
    assert said in refusal(text)


def test_too_many_values_are_refused() -> None:
    assert f"more than {EVENTS_MAX}" in refusal("[" + "a," * EVENTS_MAX + "]")


def test_too_many_aliases_are_refused() -> None:
    assert f"more than {ALIASES_MAX} aliases" in refusal("[&a x," + "*a," * (ALIASES_MAX + 1) + "]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n\tb: c\n", "a.yaml:2:1: bad YAML: a tab stands where only spaces can"),
        ("a:\n  b: c\n  \td: e\n", "a.yaml:3:3: bad YAML: a tab stands where only spaces can"),
        ("a:\n  - x\n\t- y\n", "a.yaml:3:1: bad YAML: a tab stands where only spaces can"),
        ("a: |\n\tb\n", "a.yaml:2:1: bad YAML: a tab stands where only spaces can"),
        ("a: @b", "a.yaml:1:4: bad YAML: text cannot begin with '@': quote it"),
        ("a: [b:[c]]", "a.yaml:1:6: bad YAML: found unexpected ':': put a space after it"),
        ("a: {{ b }}", "a.yaml:1:5: a key must be plain text: {{ }} is filled in only in spec files called *.yaml.j2"),
    ],
)
def test_a_slip_is_called_by_its_name(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


def test_lone_surrogates_are_a_fault() -> None:
    assert "bad YAML" in refusal("a: \ud800")


@given(st.text(alphabet=st.sampled_from("ab:- \n\t{}[]&*!|>'\"%#?,<~1\x00é\U0001f600"), max_size=80))
def test_any_text_gives_a_document_or_a_fault(text: str) -> None:
    document, faults = parse_document("a.yaml", text)

    assert document is not None or faults
    assert all(fault.line >= 0 and fault.column >= 0 for fault in faults)
