"""Tables that know what changed: every version stays what it was, and what is kept is what one would make anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from reconciler.incremental import By, Each, Kept, Made, Table, Union, changed_keys

keys = st.integers(0, 5)
entries = st.dictionaries(keys, st.integers(0, 3))
edits = st.lists(st.tuples(st.integers(0, 9), entries, st.sets(keys)), max_size=9)


def _parity(key: int, value: int) -> Iterable[object]:
    return (value % 2, "big") if value > 1 else (value % 2,)


def _differing(one: Mapping[int, int], other: Mapping[int, int]) -> set[int]:
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


@given(entries, edits)
def test_every_version_of_a_table_stays_what_it_was(
    first: dict[int, int], edits: list[tuple[int, dict[int, int], set[int]]]
) -> None:
    versions: list[tuple[Table[int, int], dict[int, int]]] = [(Table(first), first)]
    for place, put, drop in edits:
        table, model = versions[-1 - place % len(versions)]
        table.index(_parity)
        after = {key: value for key, value in model.items() if key not in drop} | put
        versions.append((table.updated(put, drop), after))

    for table, model in versions:
        assert (dict(table.items()), len(table), set(table)) == (model, len(model), set(model))
        assert {key: table.get(key) for key in range(6)} == {key: model.get(key) for key in range(6)}
        assert [key in table for key in range(6)] == [key in model for key in range(6)]
        index = {found: set(keys) for found, keys in table.index(_parity).items()}
        assert index == {found: set(keys) for found, keys in Table(model).index(_parity).items()}
        for other, other_model in versions:
            assert set(table.changed_since(other)) == _differing(model, other_model)
            assert (
                set(changed_keys(other_model, table))
                == set(changed_keys(other, model))
                == _differing(model, other_model)
            )


@given(entries, entries)
def test_what_is_equal_stays_the_same_value(first: dict[int, int], put: dict[int, int]) -> None:
    table = Table({key: (value,) for key, value in first.items()})
    before = dict(table)

    after = table.updated({key: (value,) for key, value in put.items()})

    assert all(after[key] is before[key] for key in first if put.get(key, first[key]) == first[key])
    assert (after is table) == (first | put == first)


parts = st.dictionaries(st.tuples(st.integers(0, 3)), entries.map(dict), max_size=4)


@given(st.lists(parts, max_size=6))
def test_union_gives_what_its_last_part_has_whatever_came_before(
    rounds: list[dict[tuple[int], dict[int, int]]],
) -> None:
    union: Union[tuple[int], int, int] = Union()
    for parts in rounds:
        wanted: dict[int, int] = {}
        for name in sorted(parts):
            wanted |= parts[name]
        found = union(parts)
        assert found == wanted
        assert union({name: dict(part) for name, part in parts.items()}) is found


def test_value_is_made_again_only_for_other_inputs() -> None:
    asked = []

    def double(text: str) -> str:
        asked.append(text)
        return text * 2

    made: Made[str, str] = Made(double)
    first = made({"a": ("x",), "b": ("y",)})
    second = made({"a": ("z",), "b": ("y",)})
    made({})
    assert (first, second) == ({"a": "xx", "b": "yy"}, {"a": "zz", "b": "yy"})
    assert second["b"] is first["b"]
    assert made({"b": ("y",)}) == {"b": "yy"}
    assert asked == ["x", "y", "z", "y"]


def test_values_are_told_apart_as_the_table_is_told() -> None:
    def differ(one: object, other: object) -> bool:
        return type(one) is not type(other) or one != other

    table = Table({"a": 1, "b": 1}, differ)
    after = table.updated({"a": True, "b": 1})

    assert after["a"] is True
    assert set(after.changed_since(table)) == {"a"}
    union: Union[tuple[int], str, int] = Union(differ)
    union({(0,): {"a": 1}})
    assert union({(0,): {"a": True}})["a"] is True


def test_a_function_is_asked_again_only_for_something_else() -> None:
    asked = []

    def double(text: str) -> str:
        asked.append(text)
        return text * 2

    kept = Kept()
    answers = [kept(double, "x"), kept(double, text="x"), kept(len, "x"), kept(double, text="x"), kept(double, "y")]
    assert answers == ["xx", "xx", 1, "xx", "yy"]
    assert asked == ["x", "x", "y"]


class Named(NamedTuple):
    name: str
    value: int


SEQUENCES = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 2)).map(
    lambda found: tuple(Named(name, found[name]) for name in sorted(found))
)


@given(st.lists(st.tuples(SEQUENCES, st.integers(0, 1), st.sets(st.sampled_from("abc"))), max_size=8))
def test_what_each_value_gives_is_made_again_only_where_something_is_otherwise(
    looks: list[tuple[tuple[Named, ...], int, set[str]]],
) -> None:
    each: Each[str, Named, tuple[int, int]] = Each(attrgetter("name"))
    by: By[str, Named] = By(attrgetter("name"))
    before: dict[str, Named] = {}
    for values, factor, again in looks:
        made = each(values, lambda value, factor=factor: (value.value, factor), (factor,), again)
        gone, come = by(values)
        now = {value.name: value for value in values}

        assert dict(made) == {name: (value.value, factor) for name, value in now.items()}
        assert by.values == now
        assert gone == {name: value for name, value in before.items() if now.get(name) != value}
        assert come == {name: value for name, value in now.items() if before.get(name) != value}
        same = each(values, lambda value: (value.value, -1), (factor,))
        assert same is made
        before = now


def test_one_change_in_a_long_sequence_makes_one_value() -> None:
    each: Each[str, Named, int] = Each(attrgetter("name"))
    values = tuple(Named(f"{number:04}", number) for number in range(2000))
    made = []

    def make(value: Named) -> int:
        made.append(value.name)
        return value.value

    each(values, make)
    made.clear()
    after = each((*values[:700], Named("0699x", 1), *values[701:]), make)

    assert made == ["0699x"]
    assert len(after) == 2000


@given(
    st.dictionaries(st.text("ab", max_size=2), st.integers(0, 2)),
    st.dictionaries(st.text("ab", max_size=2), st.integers(0, 2)),
)
def test_versions_of_a_table_are_equal_when_their_entries_are(one: dict[str, int], other: dict[str, int]) -> None:
    before = Table(one)
    after = before.updated(other, one.keys() - other.keys())

    assert (before == after) == (one == other)
    assert after == Table(other)
    assert before == Table(one)
