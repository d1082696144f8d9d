"""How a watch goes on after what its store may do."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from reconciler.errors import KvError, KvUnavailable
from reconciler.kv.polling import PollingWatch, ServerLeft
from reconciler.kv.protocol import Batch

ALL = Batch(is_resync=True, entries=())


class Scripted(PollingWatch):
    """Gives and raises what it is told to, one after the other; `anew` counts the beginnings."""

    def __init__(self, script: Iterable[Batch | Exception | None], *, closes: bool = False) -> None:
        super().__init__()
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
