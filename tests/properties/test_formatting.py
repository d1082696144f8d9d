"""Spec files in one form, whatever they looked like."""

from __future__ import annotations

import random
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.spec.document import parse_document
from reconciler.spec.formatting import formatted

SPECS: dict[str, Any] = {
    "x-own": {"b": "1", "a": "2"},
    "networks": {
        "front": {
            "driver": "bridge",
            "driver_opts": {"z": "1", "a": "2"},
            "ipam": {"driver": "default", "config": [{"subnet": "10.0.0.0/24", "gateway": "10.0.0.1"}]},
            "internal": "false",
            "x-why": "none",
        },
        "back": "",
    },
    "attachments": {
        "web": {
            "sandbox": {"netns": "web"},
            "hosts": ["a", "b"],
            "networks": {"front": {"ipv4_address": "10.0.0.9", "aliases": ["www"], "priority": "1"}, "back": ""},
            "ports": [{"target": "80", "published": "8080"}, '"81:81"'],
            "labels": {"z": "|\n# no comment  \ntext", "a": "'it''s'"},
        },
        "db": {"network_mode": "host"},
    },
    "expect": [{"from": "outside", "to": {"labels": {"a": "b"}, "name": "db"}, "reach": "false", "why": "ours: alone"}],
}
SPECS["expect"][0]["why"] = '"ours: alone"'


class Writer:
    """Writes the same data in any order and style, with remarks that are told apart by their numbers."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.remarks = chance, 0

    def block(self, value: Any, margin: int) -> list[str]:
        lines: list[str] = []
        for name, item in self.shuffled(value):
            lines += self.aside(margin)
            head = " " * margin + ("-" if name is None else f"{name}:")
            lines += self.entry(head, item, margin)
        return lines

    def entry(self, head: str, item: Any, margin: int) -> list[str]:
        if isinstance(item, str):
            text, *more = item.split("\n")
            eol = self.remark() if not more and self.chance.random() < 0.2 else ""
            return [f"{head} {text}{eol}".rstrip() + self.blanks(), *(" " * (margin + 2) + line for line in more)]
        if self.chance.random() < 0.4 and "|" not in str(item):
            return [f"{head} {self.flow(item)}{self.remark() if self.chance.random() < 0.3 else ''}"]
        inner = self.block(item, margin + self.chance.choice((2, 4)))
        return [head if head.endswith("-") else head + self.blanks(), *inner]

    def flow(self, item: Any) -> str:
        if isinstance(item, str):
            return item
        parts = [self.flow(one) if name is None else f"{name}: {self.flow(one)}" for name, one in self.shuffled(item)]
        return f"[{', '.join(parts)}]" if isinstance(item, list) else f"{{{', '.join(parts)}}}"

    def shuffled(self, value: Any) -> list[tuple[str | None, Any]]:
        if isinstance(value, list):
            return [(None, one) for one in value]
        found = list(value.items())
        self.chance.shuffle(found)
        return found

    def aside(self, margin: int) -> list[str]:
        return self.chance.choice(
            (
                [],
                [],
                [],
                [""],
                [" " * margin + self.remark().strip()],
                ["", " " * self.chance.randrange(9) + self.remark().strip()],
            )
        )

    def blanks(self) -> str:
        return self.chance.choice(("", "", "", "  ", "\t"))

    def remark(self) -> str:
        self.remarks += 1
        return f"  # remark {self.remarks}"


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.sampled_from(("", "../reconciler.schema.json")))
def test_formatting_changes_nothing_that_is_said_and_is_done_once(seed: int, schema: str) -> None:
    text = "\n".join(Writer(random.Random(seed)).block(SPECS, 0)) + "\n"
    before, faults = parse_document("a.yaml", text)
    assert before is not None, (text, faults)

    found, said = formatted("a.yaml", text, schema)

    after, _ = parse_document("a.yaml", found)
    assert said == []
    assert after is not None
    assert after.data == before.data
    remarks = re.compile(r"# remark \d+")
    assert sorted(remarks.findall(found)) == sorted(remarks.findall(text)), "remarks stay"
    assert [*_keys(after.data)] == [*_keys(_ordered(after.data))], "in one order"
    assert formatted("a.yaml", found, schema) == (found, [])
    assert found.startswith("# yaml-language-server: $schema=../r") == bool(schema)


def _keys(data: Any) -> list[list[str]]:
    """Give the keys where their order is canonical."""
    front, web = data["networks"]["front"], data["attachments"]["web"]
    places = (
        data,
        front,
        front["ipam"],
        *front["ipam"]["config"],
        web,
        web["networks"]["front"],
        web["ports"][0],
        *data["expect"],
    )
    return [[*place] for place in places]


def _ordered(data: Any) -> Any:
    """Give the same in the order of SPECS, which is the canonical one."""

    def like(value: Any, shape: Any) -> Any:
        if isinstance(value, dict):
            return {key: like(value[key], shape[key]) for key in shape}
        return [like(*pair) for pair in zip(value, shape, strict=True)] if isinstance(value, list) else value

    return like(data, SPECS)
