"""The constant text: its golden copy, and what inspection makes of a listing of it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import FirewallError
from reconciler.firewall.inspection import DAMAGED, inspect_table
from reconciler.firewall.ruleset import TABLE, TABLES, SetSpec, TableSpec, rules

GOLDEN = Path(__file__).with_name("ruleset.nft")
INET = TABLES["inet"]
SET = re.compile(r"@[a-z_]+[46]?")


def test_text_is_the_golden_copy() -> None:
    """A change here changes every host's rules: read the difference, then copy the text over."""
    assert "".join(spec.text for spec in TABLES.values()) == GOLDEN.read_text()


def test_digest_is_of_the_text() -> None:
    other = TableSpec(INET.family, INET.sets, INET.chains[:-1])

    assert rules("inet").digest == INET.digest != other.digest


def test_every_set_is_used_by_a_rule_and_every_used_one_declared() -> None:
    for spec in TABLES.values():
        used = {
            word[1:] for chain in spec.chains for rule in chain.rules for word in rule.split() if SET.fullmatch(word)
        }
        assert used == set(spec.sets_by_name)


def listing(spec: TableSpec) -> list[dict[str, Any]]:
    """Give what nft lists of the table just made, with one element."""
    found: list[dict[str, Any]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"table": {"family": spec.family, "name": TABLE}},
    ]
    found += [_listed_set(item) for item in spec.sets]
    number = 0
    for chain in spec.chains:
        hooked = {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": "accept"}
        found.append({"chain": {"name": chain.name, **(hooked if chain.hook else {})}})
        for _ in chain.rules:
            found.append({"rule": {"chain": chain.name, "comment": f"{spec.digest} {number}", "expr": []}})
            number += 1
    return found


def _listed_set(spec: SetSpec) -> dict[str, Any]:
    body: dict[str, Any] = {"name": spec.name, "type": list(spec.key) if len(spec.key) > 1 else spec.key[0]}
    if spec.value:
        body["map"] = " . ".join(spec.value)
    if spec.is_interval:
        body["flags"] = ["interval"]
    if spec.learned_max:
        body["size"] = spec.learned_max
        body["elem"] = [{"concat": ["docker1"] * len(spec.key)}]
    if spec.name == "bridges":
        body["elem"] = [{"elem": {"val": "docker0", "comment": "bridge"}}]
    return {"map" if spec.value else "set": body}


def body_of(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(dict_[kind] for dict_ in found if dict_.get(kind, {}).get("name") == name)


def swap_first_rules(found: list[dict[str, Any]]) -> None:
    first, second = [item["rule"] for item in found if "rule" in item][:2]
    first["comment"], second["comment"] = second["comment"], first["comment"]


@pytest.mark.parametrize("family", TABLES)
def test_table_just_made_is_sound(family: str) -> None:
    state = inspect_table(TABLES[family], listing(TABLES[family]), {})

    assert (state.is_ours, state.digest) == (True, TABLES[family].digest)


def test_flags_are_read_as_any_nft_prints_them() -> None:
    found = listing(INET)
    body_of(found, "set", "own4").update(flags="interval")
    body_of(found, "set", "same_bridge").update(flags=["dynamic"])
    body_of(found, "set", "transit_dropped").update(flags="dynamic")
    assert inspect_table(INET, found, {}).digest == INET.digest

    for flags in ("interval", ["dynamic", "timeout"]):
        body_of(found, "set", "same_bridge").update(flags=flags)
        assert inspect_table(INET, found, {}).digest == DAMAGED


DAMAGES: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "rule gone": lambda found: found.pop(),
    "rule without comment": lambda found: found[-1]["rule"].pop("comment"),
    "rule twice": lambda found: found.append(copy.deepcopy(found[-1])),
    "rules swapped": swap_first_rules,
    "policy": lambda found: body_of(found, "chain", "forward").update(policy="drop"),
    "priority": lambda found: body_of(found, "chain", "forward").update(prio=1),
    "hook": lambda found: body_of(found, "chain", "inside").update(hook="input"),
    "chain more": lambda found: found.append({"chain": {"name": "mine"}}),
    "set more": lambda found: found.append({"set": {"name": "mine", "type": "mark"}}),
    "counter": lambda found: found.append({"counter": {"name": "mine"}}),
    "dormant": lambda found: found[1]["table"].update(flags="dormant"),
    "set of another type": lambda found: body_of(found, "set", "own4").update(type="ipv4_addr"),
    "set with a timeout": lambda found: body_of(found, "set", "own4").update(timeout=60),
    "map of other values": lambda found: body_of(found, "map", "icc").update(map="mark"),
    "set without flags": lambda found: body_of(found, "set", "own4").pop("flags"),
    "two bridges that are one": lambda found: body_of(found, "set", "same_bridge")["elem"].append(
        {"concat": ["a", "b"]}
    ),
    "learned set of another size": lambda found: body_of(found, "set", "transit_dropped").update(size=1),
    "strange element": lambda found: body_of(found, "set", "bridges")["elem"].append("eth*"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_sound_sets_are_still_read(damage: Callable[[list[dict[str, Any]]], object]) -> None:
    found = listing(INET)
    damage(found)

    state = inspect_table(INET, found, {})

    assert (state.is_ours, state.digest) == (True, DAMAGED)
    assert [element.element for element in state.elements] == [("docker0",)]


def test_elements_of_an_unsound_set_are_left_out() -> None:
    found = listing(INET)
    body_of(found, "set", "bridges")["size"] = 10

    assert inspect_table(INET, found, {}).elements == ()


def test_text_of_another_version_is_known_by_its_digest() -> None:
    found = listing(INET)
    for item in found:
        if "rule" in item:
            item["rule"]["comment"] = "0123456789ab 0"

    assert inspect_table(INET, found, {}).digest == "0123456789ab"


@pytest.mark.parametrize(
    ("found", "is_ours"),
    [
        ([{"table": {}}], True),
        ([{"table": {}}, {"chain": {"name": "forward"}}], False),
        ([{"table": {}}, {"chain": {"name": "x"}}, {"rule": {"chain": "x", "comment": "hello"}}], False),
        ([{"table": {}}, {"chain": {"name": "x"}}, {"rule": {"chain": "x", "comment": f"{INET.digest} 0"}}], True),
        ([{"table": {}}, {"set": {"name": "bridges", "type": "ifname"}}], True),
        ([{"table": {}}, {"set": {"name": "bridges", "type": "mark"}}], False),
    ],
    ids=["empty", "foreign chain", "foreign rule", "our rule", "our set", "foreign set of our name"],
)
def test_table_is_ours_by_its_marks(found: list[dict[str, Any]], is_ours: bool) -> None:
    assert inspect_table(INET, found, {}).is_ours is is_ours


@pytest.mark.parametrize(
    "item",
    [
        {"set": {"name": []}},
        {"set": {}},
        {"chain": {}},
        {"rule": {"chain": "none"}},
        {"rule": []},
        {"set": {"name": "bridges", "elem": 7}},
    ],
    ids=repr,
)
def test_a_listing_of_another_form_is_an_error_of_ours(item: dict[str, Any]) -> None:
    found = [each for each in listing(INET) if each.get("set", {}).get("name") != "bridges"]
    if "elem" in item.get("set", {}):
        (bridges,) = (each for each in listing(INET) if each.get("set", {}).get("name") == "bridges")
        item = {"set": {**bridges["set"], "elem": 7}}

    with pytest.raises(FirewallError, match="nft lists table inet reconciler in a form that is not known"):
        inspect_table(INET, [*found, item], {})
