"""Unit files are read as systemd and quadlet read them."""

from __future__ import annotations

import pytest

from reconciler.importing.unit_files import UnitFault, drop_in_folders, expanded, parse_unit, split_words


def test_lines_go_on_after_a_backslash_and_remarks_between_are_left_out() -> None:
    unit = parse_unit(
        "a.container", "[Container]\nExec=one \\\n  ; remark\n\n  two\\\nthree\nDNS = 192.0.2.1 \nHostName=last\\"
    )

    assert unit.last("Container", "Exec") == "one twothree"
    assert unit.last("Container", "DNS") == "192.0.2.1"
    assert unit.last("Container", "HostName") == "last"


def test_an_empty_value_forgets_the_ones_before_and_the_last_one_counts() -> None:
    unit = parse_unit(
        "a.container", '[Container]\nDNS=a\nDNS=\nDNS=b\nDNS=c\nHostName=one\n[X]\nDNS=x\n[Container]\nHostName="two"'
    )

    assert unit.all("Container", "DNS") == ["b", "c"]
    assert unit.last("Container", "HostName") == "two"
    assert unit.with_drop_in("[Container]\nDNS=").all("Container", "DNS") == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a  b\tc", ["a", "b", "c"], id="blanks"),
        pytest.param("\"a b\" 'c \"d' e'f g'h", ["a b", 'c "d', "ef gh"], id="quotes"),
        pytest.param(r"a\x20b \u00e9 \101 c\sd \"e \\", ["a b", "é", "A", "c d", '"e', "\\"], id="escapes"),
        pytest.param("'' \"open end", ["", "open end"], id="empty-and-open"),
        pytest.param(r"\UFFFFFFFF trailing\ ".rstrip(), ["\ufffd", "trailing"], id="no-character"),
    ],
)
def test_words_are_parted_outside_quotes(text: str, words: list[str]) -> None:
    assert split_words(text, is_unescaped=True) == words


def test_a_backslash_can_be_one() -> None:
    assert split_words(r"a\x20b", is_unescaped=False) == [r"a\x20b"]


def test_specifiers_stand_for_something_or_are_named() -> None:
    assert expanded("%p-%i 100%%", {"p": "web", "i": "one"}) == "web-one 100%"
    with pytest.raises(ValueError, match="%h"):
        expanded("%h/x", {})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("Image=x", 1, id="no-section"),
        pytest.param("[Container]\n\nImage", 3, id="no-value"),
        pytest.param("[Container]\nImage=x \\\n y\n[Broken", 4, id="no-section-end"),
    ],
)
def test_faults_name_their_line(text: str, line: int) -> None:
    with pytest.raises(UnitFault) as fault:
        parse_unit("a.container", text)
    assert fault.value.line == line


def test_drop_ins_lie_in_folders_of_the_unit_its_prefixes_its_template_and_its_kind() -> None:
    assert drop_in_folders("a-b@c.container") == [
        "a-b@c.container.d",
        "a-b@.container.d",
        "a-@.container.d",
        "a-.container.d",
        "container.d",
    ]
