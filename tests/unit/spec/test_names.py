"""Names that DNS cannot say are faults, at the place where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.dns.wire import encode_name
from reconciler.spec.load import LoadedSpecs, load_specs

LABEL = "a" * 63
LONG = f"{LABEL}.{LABEL}"
"""The longest name there is but for one character: 127 of 128."""


def loaded(folder: Path, text: str) -> LoadedSpecs:
    (folder / "a.yaml").write_text(text)
    return load_specs(folder, host="alpha")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (f"networks: {{{LABEL}: }}\nattachments: {{{LABEL}: {{networks: [{LABEL}]}}}}", None),
        (f"attachments: {{a{LABEL}: {{}}}}", "1:15"),
        (f"networks: {{x: , a{LABEL}: }}", "1:17"),
        (f"networks: {{x: {{name: a{LABEL}}}}}", "1:22"),
        (f"networks: {{x: {{external: {{name: a{LABEL}}}}}}}", "1:26"),
        ("networks: {a..b: }", "1:12"),
        ("attachments: {web.: {}}", "1:15"),
        (f"networks: {{{LONG}: }}\nattachments: {{{LABEL}.{'b' * 61}: {{networks: [{LONG}]}}}}", None),
        (f"networks: {{{LONG}: }}\nattachments: {{{LONG}: {{networks: [{LONG}]}}}}", "2:156"),
        (f"networks: {{{LONG}: }}\nattachments: {{web: {{networks: {{{LONG}: {{aliases: [x, {LONG}]}}}}}}}}", "2:175"),
        (f"networks: {{{LONG}: }}\nattachments: {{web: {{hostname: {LONG}, networks: [{LONG}]}}}}", "2:31"),
        (f"attachments: {{web: {{hostname: {LONG}.{LONG[:125]}}}}}", None),
    ],
)
def test_name_that_could_never_be_found_is_a_fault(text: str, place: str | None, tmp_path: Path) -> None:
    specs = loaded(tmp_path, text)

    assert [f"{fault.line}:{fault.column}" for fault in specs.faults] == ([place] if place else [])


def test_every_name_that_is_taken_can_be_said_in_a_question(tmp_path: Path) -> None:
    specs = loaded(tmp_path, f"networks: {{{LONG}: }}\nattachments: {{{LABEL}.{'b' * 61}: {{networks: [{LONG}]}}}}")

    (attachment,) = specs.wanted.attachments
    assert encode_name(f"{attachment.name}.{attachment.endpoints[0].network}") is not None


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("[b=10.0.0.2, a=10.0.0.1, b=10.0.0.1, b=10.0.0.2]", ["b 10.0.0.2", "a 10.0.0.1", "b 10.0.0.1"]),
        ("{b: [10.0.0.2, 10.0.0.1], a: 10.0.0.1}", ["a 10.0.0.1", "b 10.0.0.2", "b 10.0.0.1"]),
    ],
)
def test_extra_hosts_stay_in_the_order_of_their_list(typed: str, expected: list[str], tmp_path: Path) -> None:
    specs = loaded(tmp_path, f"attachments: {{web: {{extra_hosts: {typed}}}}}")

    assert [" ".join(pair) for pair in specs.wanted.attachments[0].extra_hosts] == expected
