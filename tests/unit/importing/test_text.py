from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.importing.text import head_text, section_text
from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork, NotCarried
from reconciler.spec.document import parse_document

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    [
        "no",
        "Null",
        "~",
        "1e3",
        "0x1f",
        "010",
        "-1",
        "22:22",
        "10.0.0.1",
        "fd00::1",
        "a: b",
        "#",
        "- a",
        "{",
        "*a",
        "<<",
        "x\n",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@example({"\ue000\U00010001\\u": {}}, "")
@given(st.dictionaries(TEXTS, st.dictionaries(TEXTS, VALUES, max_size=4), max_size=3), TEXTS)
def test_what_is_written_is_read_as_it_was(bodies: dict[str, dict[str, object]], source: str) -> None:
    told = (NotCarried(where=source, what=source, why=source),)
    entries = tuple(
        ImportedAttachment(name=name, body=body, source=source, not_carried=told) for name, body in bodies.items()
    )

    document, faults = parse_document("x.yaml", section_text("attachments", entries))

    assert faults == []
    assert document is not None
    assert document.data == ({"attachments": bodies} if bodies else None)


def test_entries_stand_as_people_write_them_with_where_they_came_from() -> None:
    network = ImportedNetwork(
        name="front",
        body={
            "driver": "bridge",
            "ipam": {"config": [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}]},
            "internal": True,
        },
        source="compose.yaml:2:3, network front",
        not_carried=(
            NotCarried(where="compose.yaml:4:5", what="driver option com.example", why="no driver of ours knows it"),
        ),
    )
    attachment = ImportedAttachment(
        name="web",
        body={"networks": {"front": {"aliases": ["www"]}}, "ports": ["8080:80", "53:53/udp"]},
        source="compose.yaml:9:3, service web",
    )

    text = section_text("networks", (network,)) + section_text("attachments", (attachment,))

    assert text == (
        "networks:\n"
        "  # compose.yaml:2:3, network front\n"
        "  # not carried: driver option com.example (compose.yaml:4:5): no driver of ours knows it\n"
        "  front:\n"
        "    driver: bridge\n"
        "    ipam:\n"
        "      config:\n"
        "        - {subnet: 10.9.0.0/24, gateway: 10.9.0.1}\n"
        "    internal: true\n"
        "attachments:\n"
        "  # compose.yaml:9:3, service web\n"
        "  web:\n"
        "    networks:\n"
        "      front: {aliases: [www]}\n"
        '    ports: ["8080:80", "53:53/udp"]\n'
    )


def test_a_remark_is_never_more_than_a_remark() -> None:
    imported = Imported(not_carried=(NotCarried(where="a\nnetworks: {}", what="b\u2028c", why="d " * 100),))

    assert all(line.startswith("# ") for line in head_text(imported).splitlines())
