"""YAML 1.2 between brackets: what PyYAML and go-yaml take, and own cases after the specification's chapter on flow style.

Where these two and YAML 1.2 differ (`{a:, b}`, `[?a]`), YAML 1.2 is followed.
"""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.spec.document import Tree, parse_document
from reconciler.spec.indicators import marked

CASES = [
    # everyday Compose
    ("[8080:80]", ["8080:80"]),
    ("[22:22, 127.0.0.1:53:53/udp, 80]", ["22:22", "127.0.0.1:53:53/udp", 80]),
    ("{subnet: fd00:1::/64, gateway: fd00:1::1}", {"subnet": "fd00:1::/64", "gateway": "fd00:1::1"}),
    ("{mac_address: 02:42:ac:11:00:02}", {"mac_address": "02:42:ac:11:00:02"}),
    ("[db:database, cache]", ["db:database", "cache"]),
    ("[::1, '::', fe80::1, ::]", ["::1", "::", "fe80::1", {":": None}]),
    ("{host_ip: ::1, target: 80}", {"host_ip": "::1", "target": 80}),
    ("[http://user@example.org:80/a?b=c#d]", ["http://user@example.org:80/a?b=c#d"]),
    ("[gw:host-gateway, v6=::1]", ["gw:host-gateway", "v6=::1"]),
    ("[a?, b?c, what?: no]", ["a?", "b?c", {"what?": "no"}]),
    ("[a ? b, {c: d ? e}, ? f]", ["a ? b", {"c": "d ? e"}, {"f": None}]),
    # keys and values
    ("{a : b, c: d}", {"a": "b", "c": "d"}),
    ("{a: :b, c: ::d}", {"a": ":b", "c": "::d"}),
    ("{b :c}", {"b :c": None}),
    ("{b:c}", {"b:c": None}),
    ("{a:, b: 1}", {"a": None, "b": 1}),
    ("{a :, b: 1}", {"a": None, "b": 1}),
    ("{a:}", {"a": None}),
    ("{a::, b}", {"a:": None, "b": None}),
    ("{a, b: , c: ~}", {"a": None, "b": None, "c": None}),
    ("{? a : b, ? c, d: e}", {"a": "b", "c": None, "d": "e"}),
    ("{? a:, b: c}", {"a": None, "b": "c"}),
    ("{a: {b: c:d}, e: [f:g]}", {"a": {"b": "c:d"}, "e": ["f:g"]}),
    # pairs in lists
    ("[a: b, c:, d]", [{"a": "b"}, {"c": None}, "d"]),
    ("[a :]", [{"a": None}]),
    ("[? a : b]", [{"a": "b"}]),
    # keys that are quoted
    ('{"a":b, "c" :d, "e"::f}', {"a": "b", "c": "d", "e": ":f"}),
    ("{'a':b, 'c':, 'd': , 'e'}", {"a": "b", "c": None, "d": None, "e": None}),
    ('{"a":1,"b":[2,{"c":null}],"d":true}', {"a": 1, "b": [2, {"c": None}], "d": True}),
    ('["a":b, "c": d]', [{"a": "b"}, {"c": "d"}]),
    # what stands in quotes, comments and properties
    ("['a:b', \"c:d\", 'e: f', \":, ?\"]", ["a:b", "c:d", "e: f", ":, ?"]),
    ("[\"\\x3a:\\u003a\", 'it''s:']", [":::", "it's:"]),
    ('[a:b, # c:d, [ " ]\n e:f]', ["a:b", "e:f"]),
    ("[!!str 8080:80, ! 1:2, !<tag:yaml.org,2002:str> 3, &x y:z, *x ]", ["8080:80", "1:2", "3", "y:z", "y:z"]),
    # over several lines
    ("[a:b,\n  c\n  d:e,\n  f]", ["a:b", "c d:e", "f"]),
    ("{a: 1:2\n , b\n , c:d }", {"a": "1:2", "b": None, "c:d": None}),
    ("[\n\ta:b,\n\tc\n]", ["a:b", "c"]),
    # characters at the beginning of text
    ("[-1, -a, ?a, :a, a-b, a#b, a%b:c]", [-1, "-a", "?a", ":a", "a-b", "a#b", "a%b:c"]),
    ("{?a: b, -c: d}", {"?a": "b", "-c": "d"}),
    # no line breaks today
    ("[a\u2028b:c, d\u2029, \x85e]", ["a\u2028b:c", "d\u2029", "\x85e"]),
    # characters that stand for others on the way
    ("[\ue000:\ue001, \ue002?]", ["\ue000:\ue001", "\ue002?"]),
]
BLOCK_CASES = [
    ("a: b:c, d:]", {"a": "b:c, d:]"}),
    ("a: b:,\nc:}d: e", {"a": "b:,", "c:}d": "e"}),
    ("- a? b\n- ?c\n- ::d", ["a? b", "?c", "::d"]),
    ("? a?b\n: c:d", {"a?b": "c:d"}),
    ('a: |\n  b:c, [d:\n  e?,\nf: >-\n  "g":h', {"a": "b:c, [d:\ne?,\n", "f": '"g":h'}),
    ("a: b\n  [c:d,\n  e:]", {"a": "b [c:d, e:]"}),
    ("a: it's:b\nc: d's", {"a": "it's:b", "c": "d's"}),
    ("a:b:c: d:e # f:g", {"a:b:c": "d:e"}),
]


def parsed(text: str) -> Tree:
    document, faults = parse_document("a.yaml", text)
    assert not faults
    assert document is not None
    return document.data


@pytest.mark.parametrize(("text", "value"), CASES)
def test_flow_style_is_that_of_yaml_1_2(text: str, value: Tree) -> None:
    assert parsed(f"key: {text}\n") == {"key": value}
    assert parsed(text) == value
    assert parsed(f"- {text}\n- [{text}, {{x: {text}}}]") == [value, [value, {"x": value}]]


@pytest.mark.parametrize(("text", "value"), BLOCK_CASES)
def test_block_style_is_not_changed_by_it(text: str, value: Tree) -> None:
    assert parsed(text) == value


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("[8080:80, x: }]", 1, 14),
        ("{a: b:, c: d}", 1, 5),
        ("{a: [b:c,\n  d:e, }", 2, 8),
        ("[a:b, {c: d]", 1, 12),
        ("[{a: b}:c]", 1, 2),
        ("[a:[b]]", 1, 3),
        ("{a: 1, b: ::}", 1, 11),
    ],
)
def test_what_is_no_yaml_is_refused_at_its_place(text: str, line: int, column: int) -> None:
    document, faults = parse_document("a.yaml", text)

    assert document is None
    assert [(fault.line, fault.column) for fault in faults] == [(line, column)]


def test_places_count_the_characters_that_were_typed() -> None:
    document, _ = parse_document("a.yaml", "a: [8080:80, b:, {c: ::1, d: e}]\nf: {g:h:, i: 1:2}\n")

    assert document is not None
    assert str(document.source(("a", 1, "b"))) == "a.yaml:1:14"
    assert str(document.source(("a", 2, "d"))) == "a.yaml:1:30"
    assert str(document.source(("f", "i"))) == "a.yaml:2:14"


_WORDS = st.text(st.sampled_from(string.ascii_letters + string.digits + ":?-./#@"), min_size=1, max_size=12).filter(
    lambda text: text[0] not in "-?#@" and text[-1] != ":" and not text.lower().startswith("null")
)
_TREES = st.recursive(
    _WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4), max_leaves=12
)


def _flow(tree: Tree, *, is_quoted: bool) -> str:
    if isinstance(tree, list):
        return f"[{', '.join(_flow(item, is_quoted=is_quoted) for item in tree)}]"
    if isinstance(tree, dict):
        pairs = (f"{_flow(key, is_quoted=is_quoted)}: {_flow(item, is_quoted=is_quoted)}" for key, item in tree.items())
        return f"{{{', '.join(pairs)}}}"
    return json.dumps(tree) if is_quoted else str(tree)


def _block(tree: Tree, indent: str = "") -> str:
    if isinstance(tree, list) and tree:
        return "".join(f"\n{indent}- {_block(item, indent + '  ').lstrip()}" for item in tree)
    if isinstance(tree, dict) and tree:
        return "".join(f"\n{indent}{key}: {_block(item, indent + '  ')}" for key, item in tree.items())
    return _flow(tree, is_quoted=False)


@given(_TREES)
def test_a_value_is_the_same_quoted_and_plain_and_in_block_style(tree: Tree) -> None:
    quoted = parsed(f"a: {_flow(tree, is_quoted=True)}")
    plain = parsed(f"a: {_flow(tree, is_quoted=False)}")
    block = parsed(f"a: {_block(tree, '  ')}")

    assert plain == block
    assert _as_text(plain) == _as_text(quoted)


def _as_text(tree: Tree) -> Tree:
    if isinstance(tree, list):
        return [_as_text(item) for item in tree]
    return {key: _as_text(item) for key, item in tree.items()} if isinstance(tree, dict) else str(tree).lower()


@given(st.text(st.sampled_from("ab:?,[]{} \n\"'!<>&*#-|\u2028\ue000"), max_size=40))
def test_marks_take_one_character_each_and_are_read_back(text: str) -> None:
    found = marked(text)

    assert len(found.text) == len(text)
    assert found.read_back(found.text) == text


SUITE = Path(__file__).parent / "golden" / "yaml-test-suite-flow.json"
"""All cases with brackets of the YAML test suite (github.com/yaml/yaml-test-suite, MIT License, commit e5bb910f)."""

DIFFERENT = {
    "a key over more than one line, or its colon on the next: libyaml, and so PyYAML, refuses that too": (
        *("4MUZ", "4MUZ-1", "4MUZ-2", "5MUD", "9SA2", "K3WX", "NJ66", "VJP3-1"),
    ),
    "a tab at the beginning of the file": ("6CA3", "Q5MG"),
    "directives, and a tag that a comma ends": ("C4HZ", "WZ62"),
    "a number that is no plain integer stays as it was typed": ("YD5X", "ZF4X"),
    "no YAML, but libyaml takes it, and it says nothing else": ("9C9N", "9JBA", "CVW2", "G5U8", "Y79Y-3", "YJV2"),
}


def test_cases_of_the_yaml_test_suite_are_read_but_for_those_that_differ_on_purpose() -> None:
    cases = json.loads(SUITE.read_text())
    different = []
    for case in cases:
        document, faults = parse_document("a.yaml", case["yaml"])
        assert (document is None) == bool(faults)
        is_refused_rightly = document is None and case.get("fail", False)
        is_read_rightly = document is not None and "value" in case and document.data == case["value"]
        if ("fail" in case or "value" in case) and not is_refused_rightly and not is_read_rightly:
            different.append(case["id"])

    assert sorted(different) == sorted(name for names in DIFFERENT.values() for name in names)
    assert len(cases) == 91
