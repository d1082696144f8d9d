"""Whatever happens to the bytes of the state database, it opens, is read and is written; nothing else is raised."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import StateNewer
from reconciler.ipam.promises import decode_promises
from reconciler.kv.protocol import Put
from reconciler.kv.sqlite import open_sqlite
from reconciler.plugin.records import decode_plugin_records
from reconciler.ports.promises import decode_ports

MEMORY = "/dev/shm"
USER_VERSION = slice(60, 64)
"""Where a database file has it (sqlite.org/fileformat2.html)."""

RECORDS = {f"endpoint/net{n % 3}/a{n}": b'{"address": "172.18.0.2", "mac": "02:42:ac:12:00:02"}' for n in range(60)}


@lru_cache(maxsize=1)
def sound() -> bytes:
    """Give a file of a few pages with three levels of what SQLite keeps: tables, rows, free pages."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder, "state.db")
        with closing(open_sqlite(path)) as store:
            records = list(RECORDS.items())
            for start in range(0, len(records), 30):
                store.transact((), [Put(key=key, value=value) for key, value in records[start : start + 30]])
            store.put("free/page", b"x" * 9000)
            store.delete("free/page")
        return path.read_bytes()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(sound())
    places = st.one_of(st.integers(0, 199), st.integers(0, len(content) - 1))
    for place, value in draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=20)):
        content[place] = value
    start, length = draw(st.tuples(st.integers(0, len(content)), st.sampled_from([0, 0, 1, 512, 4096, 9000])))
    content[start : start + length] = bytes(len(content[start : start + length]))
    return bytes(content[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])


def read_all(path: Path, *, read_only: bool) -> Sequence[str]:
    with closing(open_sqlite(path, read_only=read_only)) as store:
        texts = {entry.key: entry.value.decode(errors="replace") for entry in store.list("")}
        store.list("endpoint/net1/")
        store.get("endpoint/net1/a1")
    for decode in (decode_promises, decode_plugin_records, decode_ports):
        decode(texts)
    return tuple(texts)


@settings(max_examples=90, deadline=None)
@given(content=damaged(), journal=st.one_of(st.none(), st.binary(max_size=600)))
def test_a_damaged_file_is_read_and_written_all_the_same(content: bytes, journal: bytes | None) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder, "state.db")
        path.write_bytes(content)
        if journal is not None:
            path.with_name("state.db-journal").write_bytes(journal)

        try:
            read_all(path, read_only=True)
        except StateNewer:
            assert content[USER_VERSION] != sound()[USER_VERSION]
            return  # not to be told from what a later version of us wrote, which must not be lost
        read_all(path, read_only=False)
        with closing(open_sqlite(path)) as store:
            store.put("network/new", b"{}")
            store.put("endpoint/net1/a1", b"{}")
            store.delete("endpoint/net1/a4")
            assert store.list("network/")[0].value == b"{}"

        assert {"network/new", "endpoint/net1/a1"} <= set(read_all(path, read_only=False))


@settings(max_examples=40, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=5))
def test_damage_within_values_harms_no_other_row(flips: list[tuple[int, int]]) -> None:
    content = bytearray(sound())
    spots = [at for at in range(len(content)) if content[at : at + 8] == b'{"addres']
    struck = [(spots[where % len(spots)], value) for where, value in flips]
    for at, value in struck:
        content[at + 3] ^= value
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder, "state.db")
        path.write_bytes(content)

        kept = read_all(path, read_only=False)

    assert set(kept) == RECORDS.keys()
