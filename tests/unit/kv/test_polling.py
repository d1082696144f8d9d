"""How a watch goes on after what its store may do."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.polling import PollingWatch, ServerLeft
from reconciler.kv.protocol import Batch, KvEntry

ALL = Batch(is_resync=True, entries=())


class Scripted(PollingWatch):
    """Gives and raises what it is told to, one after the other; `anew` counts the beginnings."""

    def __init__(self, script: Iterable[Batch | Exception | None], *, closes: bool = False) -> None:
        super().__init__("")
        self._script = iter(script)
        self._closes = closes
        self.anew = 0

    def look(self, deadline: float) -> Batch | None:
        if self._closes:
            self.close()
        found = next(self._script)
        if isinstance(found, Exception):
            raise found
        return found

    def begin_anew(self) -> None:
        super().begin_anew()
        self.anew += 1


@pytest.mark.parametrize("failure", [KvUnavailable("gone"), KvError("access refused")], ids=["unavailable", "refused"])
def test_after_any_failure_a_watch_begins_anew(failure: KvError) -> None:
    watch = Scripted([failure, ALL])

    with pytest.raises(KvError, match=str(failure)):
        watch.poll(1)

    assert watch.anew == 1
    assert watch.poll(1) == ALL


def test_a_server_that_we_left_is_no_failure() -> None:
    watch = Scripted([ServerLeft("cut off"), ALL])

    assert watch.poll(60) == ALL
    assert watch.anew == 1


def test_it_looks_until_there_is_something_or_time_is_over() -> None:
    assert Scripted([None, None, ALL]).poll(60) == ALL
    assert Scripted([None]).poll(0) is None


def test_what_a_closed_watch_runs_into_does_not_matter() -> None:
    assert Scripted([KvUnavailable("interrupted")], closes=True).poll(60) is None
    watch = Scripted([])
    watch.close()
    assert watch.poll(60) is None


contents = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 3))


@given(st.lists(contents, min_size=1, max_size=6))
def test_whoever_applies_a_watchs_batches_has_what_is_there(pictures: list[dict[str, int]]) -> None:
    watch = Scripted([])
    known: dict[str, int] = {}
    for number, picture in enumerate(pictures):
        entries = tuple(KvEntry(key=key, value=b"", version=picture[key]) for key in sorted(picture))
        batch = watch.compared(entries)
        assert (batch is None) == (number > 0 and picture == known)
        if batch is not None:
            known = {} if batch.is_resync else {key: known[key] for key in known.keys() - set(batch.deleted)}
            known |= {entry.key: entry.version for entry in batch.entries}
        assert known == picture


def test_watch_that_begins_anew_tells_all() -> None:
    entry = KvEntry(key="a", value=b"", version=1)
    watch = Scripted([])
    watch.compared([entry])

    watch.begin_anew()

    assert watch.compared([entry]) == Batch(is_resync=True, entries=(entry,))
