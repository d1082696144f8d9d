from __future__ import annotations

import json
import re
from collections.abc import Callable
from ipaddress import IPv4Interface, ip_address, ip_network

import pytest

from reconciler.records.document import DEPTH_MAX, Misfit, json_object, json_value
from reconciler.records.fields import Fields
from reconciler.records.lenient import number_of

SECRET = "s3cret"


def nested(depth: int) -> str:
    return '{"a":' * (depth // 2) + "[" * (depth - depth // 2) + "]" * (depth - depth // 2) + "}" * (depth // 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ('{"a": 1', "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ('{"a": -Infinity}', "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("1" * 10_000, "not JSON"),
        ('{"a": 1e999}', "not JSON"),
        (nested(DEPTH_MAX + 1), "levels deep"),
        (" " * 20_001, "longer than 20000 characters"),
        (b" " * 20_001, "longer than 20000 bytes"),
    ],
    ids=[
        "empty",
        "cut",
        "NaN",
        "infinity",
        "UTF-16",
        "endless",
        "huge number",
        "too large a number",
        "deep",
        "long",
        "long bytes",
    ],
)
def test_text_that_is_no_bounded_json_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(Misfit, match=reason):
        json_value(text, 200_000 if text[:1] in ("[", b"[") else 20_000)


def test_the_deepest_and_longest_that_is_allowed_is_read_from_a_deep_stack_too() -> None:
    text = nested(DEPTH_MAX)

    def below(frames: int) -> object:
        return below(frames - 1) if frames else json_value(text, len(text))

    assert below(300) == json.loads(text)


@pytest.mark.parametrize("text", ["[]", "1", '"a"', "null"])
def test_what_is_json_but_no_object_is_no_record(text: str) -> None:
    with pytest.raises(Misfit, match="not a JSON object"):
        json_object(text, 100)


MISFITS: dict[str, tuple[Callable[[Fields], object], object, str]] = {
    "text": (lambda f: f.text("k"), 1, "k is not a string"),
    "pattern": (lambda f: f.matching("k", re.compile("a")), SECRET, "k is malformed"),
    "flag": (lambda f: f.flag("k"), 1, "k is neither true nor false"),
    "number": (lambda f: f.number("k", 5), 6, "k is out of range"),
    "zero": (lambda f: f.number("k", 5), 0, "k is out of range"),
    "true as number": (lambda f: f.number("k", 5), True, "k is out of range"),
    "float": (lambda f: f.number("k", 5), 1.0, "k is out of range"),
    "id": (lambda f: f.id("k"), "A" * 64, "k is malformed"),
    "name": (lambda f: f.name("k"), f"-{SECRET}", "not a name"),
    "long name": (lambda f: f.name("k"), "a" * 129, "not a name"),
    "link name": (lambda f: f.link_name("k"), f"{SECRET}/a", "k is not a link name"),
    "multicast mac": (lambda f: f.mac("k"), "01:00:5e:00:00:01", "k is malformed"),
    "zero mac": (lambda f: f.mac("k"), "00:00:00:00:00:00", "k is all zero"),
    "moment": (lambda f: f.moment("k"), "2026-02-31T00:00:00Z", "k is malformed"),
    "moment without zone": (lambda f: f.moment("k"), "2026-02-01T00:00:00", "k is malformed"),
    "address": (lambda f: f.address("k"), SECRET, "k is malformed"),
    "scope": (lambda f: f.address("k"), f"fe80::1%{SECRET}", "k has a scope"),
    "long address": (lambda f: f.address("k"), "1" * 65, "malformed"),
    "family": (lambda f: f.interface("k", IPv4Interface), "fd00::1/64", "wrong family"),
    "loopback": (lambda f: f.interface("k", IPv4Interface), "127.0.0.1/8", "not an endpoint's address"),
    "host bits": (lambda f: f.pool("k"), "10.0.0.1/8", "k is malformed"),
    "multicast pool": (lambda f: f.pool("k"), "224.0.0.0/8", "k is not a pool"),
    "long list": (lambda f: f.items("k", 2), [1, 2, 3], "k is not a short list"),
    "list of texts": (lambda f: f.objects("k", 2), [SECRET], "k holds what is not an object"),
    "large mapping": (lambda f: f.mapping("k", 1), {"a": 1, "b": 2}, "k has more than 1 members"),
}


@pytest.mark.parametrize(("read", "value", "reason"), MISFITS.values(), ids=MISFITS.keys())
def test_member_that_does_not_fit_is_named_and_never_repeated(
    read: Callable[[Fields], object], value: object, reason: str
) -> None:
    for fields in (Fields({"k": value}), Fields({"k": object()})):
        with pytest.raises(Misfit) as told:
            read(fields)
        assert SECRET not in str(told.value)
    with pytest.raises(Misfit, match=re.escape(reason)):
        read(Fields({"k": value}))


def test_members_that_fit_are_read_as_what_they_are() -> None:
    fields = Fields.of(
        '{"id": "%s", "name": "web-1", "link": "", "mac": "02:42:00:00:00:01", "at": "2026-11-29T08:00:00.123456789Z", '
        '"ip": "10.0.0.2/24", "none": null, "pool": "10.0.0.0/24", "rows": [{"vni": 7}], "aux": {"r": "10.0.0.9"}}'
        % ("a" * 64),
        10_000,
    )

    assert fields.id("id") == "a" * 64
    assert (fields.name("name"), fields.link_name("link"), fields.mac("mac")) == ("web-1", "", "02:42:00:00:00:01")
    assert fields.moment("at") == "2026-11-29T08:00:00.123456789Z"
    assert fields.interface("ip", IPv4Interface) == IPv4Interface("10.0.0.2/24")
    assert fields.interface("none", IPv4Interface) is fields.interface("absent", IPv4Interface) is None
    assert fields.pool("pool") == ip_network("10.0.0.0/24")
    assert [row.number("vni", 7) for row in fields.objects("rows", 1)] == [7]
    assert [fields.mapping("aux", 1).address(name) for name in fields.mapping("aux", 1)] == [ip_address("10.0.0.9")]


def test_number_with_more_digits_than_machines_have_is_none() -> None:
    assert number_of({"a": 10**400}, "a") == 0
    assert number_of({"a": 10**300}, "a") == 1e300
