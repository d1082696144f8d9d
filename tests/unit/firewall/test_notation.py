"""Elements as nft's parser takes them and as its JSON gives them back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.firewall.notation import (
    COMMENT_MAX,
    VALUE_SEPARATOR,
    NotationError,
    comment_unit,
    digested,
    element_text,
    key_text,
    read_element,
    unit_comment,
)
from reconciler.firewall.ruleset import TABLE, TABLES, SetSpec
from reconciler.model.objects import HOST_UNIT, FirewallElement, Unit

INET = TABLES["inet"].sets_by_name

NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}", fullmatch=True)
UNITS = st.builds(Unit, network=NAMES | st.just(""), attachment=NAMES | st.just(""))


def element(set_name: str, *parts: str, value: str = "", unit: Unit = HOST_UNIT) -> FirewallElement:
    return FirewallElement(unit=unit, family="inet", table=TABLE, set_name=set_name, element=parts, value=value)


CASES = [
    ("bridges", ("br-1.2",), "", '"br-1.2"', "br-1.2"),
    (
        "own4",
        ("10.0.0.0/8", "x"),
        "",
        '10.0.0.0/8 . "x"',
        {"concat": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "x"]},
    ),
    ("own6", ("fd00::/64", "x"), "", 'fd00::/64 . "x"', {"concat": [{"prefix": {"addr": "fd00::", "len": 64}}, "x"]}),
    ("masquerade4", ("10.0.0.1/32",), "", "10.0.0.1/32", "10.0.0.1"),
    ("routed", ("ipv6", "x"), "", 'ipv6 . "x"', {"concat": ["ipv6", "x"]}),
    ("published4", ("10.0.0.1", "udp", "53"), "", "10.0.0.1 . 17 . 53", {"concat": ["10.0.0.1", 17, 53]}),
    ("published4", ("10.0.0.1", "udp", "53"), "", "10.0.0.1 . 17 . 53", {"concat": ["10.0.0.1", "udp", 53]}),
    ("icc", ("x", "x"), "drop", '"x" . "x" : drop', [{"concat": ["x", "x"]}, {"drop": None}]),
    (
        "snat4",
        ("10.0.0.0/8",),
        "1.2.3.4",
        "10.0.0.0/8 : 1.2.3.4",
        [{"prefix": {"addr": "10.0.0.0", "len": 8}}, "1.2.3.4"],
    ),
    (
        "published_any4",
        ("tcp", "80"),
        "10.0.0.1 . 8080",
        "6 . 80 : 10.0.0.1 . 8080",
        [{"concat": [6, 80]}, {"concat": ["10.0.0.1", 8080]}],
    ),
]


@pytest.mark.parametrize(("set_name", "parts", "value", "text", "listed"), CASES, ids=[case[3] for case in CASES])
def test_element_is_written_and_read_back(
    set_name: str, parts: tuple[str, ...], value: str, text: str, listed: Any
) -> None:
    made = element(set_name, *parts, value=value)

    assert element_text(INET[set_name], made) == text
    assert key_text(INET[set_name], made) == text.partition(" : ")[0]
    assert read_element(INET[set_name], listed) == (parts, value, "")


@pytest.mark.parametrize("set_name", ["bridges", "icc"], ids=["set", "map"])
def test_comment_tells_the_unit(set_name: str) -> None:
    spec = INET[set_name]
    parts, value, data = (("x",), "", None) if set_name == "bridges" else (("x", "x"), "accept", {"accept": None})
    key: Any = {"elem": {"val": "x" if data is None else {"concat": ["x", "x"]}, "comment": "net/web"}}

    assert ' comment "net/web"' in element_text(spec, element(set_name, *parts, value=value, unit=Unit("net", "web")))
    assert read_element(spec, key if data is None else [key, data]) == (parts, value, "net/web")


@pytest.mark.parametrize(
    ("spec", "listed"),
    [
        (INET["bridges"], "not a name"),
        (INET["bridges"], "eth*"),
        (INET["bridges"], 'a"b'),
        (INET["bridges"], {"elem": {"val": "x", "timeout": 60}}),
        (INET["masquerade4"], {"range": ["10.0.0.1", "10.0.0.9"]}),
        (INET["published4"], {"concat": ["10.0.0.1", "icmp", 0]}),
        (INET["published4"], {"concat": ["10.0.0.1", "tcp", {"range": [1, 2]}]}),
        (INET["published4"], {"concat": ["10.0.0.1", "tcp"]}),
        (INET["icc"], [{"concat": ["x", "y"]}, {"jump": {"target": "inside"}}]),
    ],
    ids=["spaces", "wildcard", "quote", "timeout", "range", "protocol", "port range", "too short", "jump"],
)
def test_element_that_is_not_ours_is_not_read(spec: SetSpec, listed: Any) -> None:
    with pytest.raises(NotationError):
        read_element(spec, listed)


SETS = [spec for table in TABLES.values() for spec in table.sets]
ENDS = (" ", " . ", ";", "{", "}", ",", '"', "\\", "\n", "*", "#", "$x", "@own4", "/", " comment ", " : drop")
"""What ends a word, a part, an element or a line for nft's parser, or is more than itself."""


def written_in_their_place(spec: SetSpec, parts: list[str]) -> bool:
    """Return whether parts of a key and value are refused, or written so that nft takes each for one: names of links in quotes."""
    key, value = parts[: len(spec.key)], parts[len(spec.key) :]
    try:
        text = element_text(spec, element(spec.name, *key, value=VALUE_SEPARATOR.join(value)))
    except NotationError:
        return True
    words, kinds = re.split(r" (?:\.|:) ", text), (*spec.key, *spec.value)
    name, other = re.compile(r'"[^"\s\\*]{1,15}"'), re.compile(r"[0-9a-fx./:]+|[a-z0-9]+")
    return len(words) == len(kinds) and all(
        (name if kind == "ifname" else other).fullmatch(word) for word, kind in zip(words, kinds, strict=True)
    )


@pytest.mark.parametrize("spec", SETS, ids=lambda spec: spec.name)
def test_what_ends_a_part_is_in_none(spec: SetSpec) -> None:
    kinds = (*spec.key, *spec.value)
    fitting = [FITTING[kind][-1 if spec.is_interval else 0] for kind in kinds]
    assert written_in_their_place(spec, fitting)
    for number, part in enumerate(fitting):
        for end in ENDS:
            for at in (0, 1, len(part)):
                spoilt = [*fitting[:number], part[:at] + end + part[at:], *fitting[number + 1 :]]
                assert written_in_their_place(spec, spoilt), spoilt


@given(spec=st.sampled_from(SETS), data=st.data())
def test_written_parts_never_leave_their_place(spec: SetSpec, data: st.DataObject) -> None:
    parts = [data.draw(st.sampled_from(FITTING[kind]) | st.text(max_size=20)) for kind in (*spec.key, *spec.value)]

    assert written_in_their_place(spec, parts), parts


FITTING = {
    "ifname": ["eth0"],
    "ether_addr": ["02:42:ac:11:00:02"],
    "ipv4_addr": ["10.0.0.1", "10.0.0.0/8"],
    "ipv6_addr": ["fd00::1", "fd00::/8"],
    "integer": ["fd00::1"],
    "inet_proto": ["tcp"],
    "inet_service": ["80"],
    "nf_proto": ["ipv4"],
    "verdict": ["drop"],
}


@given(unit=UNITS)
def test_unit_is_read_back_from_its_comment(unit: Unit) -> None:
    comment = unit_comment(unit)

    assert len(comment) <= COMMENT_MAX
    assert comment_unit(comment, digested([unit])) == unit


@given(unit=UNITS)
def test_comment_of_an_unknown_unit_is_written_again_as_it_was(unit: Unit) -> None:
    comment = unit_comment(unit)

    assert unit_comment(comment_unit(comment, {})) == comment


@given(comment=st.text(max_size=COMMENT_MAX))
def test_any_comment_gives_a_unit_that_may_be_written(comment: str) -> None:
    text = element_text(INET["bridges"], element("bridges", "x", unit=comment_unit(comment, {})))

    assert text.count('"') in (2, 4)
    assert not set(text) & set("{};,\n\\")
