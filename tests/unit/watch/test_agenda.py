"""The delaying queue: the earliest time that something was added for wins, and it is given once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.watch.agenda import NEVER_S, Agenda

TIMES = st.integers(0, 20).map(float)


def test_earliest_time_wins() -> None:
    agenda = Agenda()
    agenda.add("a", 5.0)
    agenda.add("a", 3.0)
    agenda.add("a", 9.0)

    assert agenda.next_s() == 3.0
    assert agenda.take(2.9) == frozenset()
    assert agenda.take(3.0) == {"a"}
    assert agenda.take(100.0) == frozenset()
    assert agenda.next_s() == NEVER_S


def test_cancelled_key_is_not_given_and_can_be_added_for_later() -> None:
    agenda = Agenda()
    agenda.add("a", 1.0)
    agenda.cancel("a")
    agenda.cancel("never added")
    agenda.add("a", 4.0)

    assert agenda.take(3.0) == frozenset()
    assert agenda.take(4.0) == {"a"}


@given(st.lists(st.tuples(st.sampled_from("abc"), TIMES)), st.lists(TIMES))
def test_each_key_is_given_once_as_soon_as_asked_after_its_earliest_time(
    added: list[tuple[str, float]], asked: list[float]
) -> None:
    agenda, given_at = Agenda(), dict[str, float]()
    for key, at in added:
        agenda.add(key, at)

    for now in sorted(asked):
        due = agenda.take(now)
        assert due.isdisjoint(given_at)
        given_at |= dict.fromkeys(due, now)
        assert agenda.next_s() > now

    earliest = {key: min(at for each, at in added if each == key) for key, _ in added}
    for key, at in earliest.items():
        assert given_at.get(key) == min((now for now in asked if now >= at), default=None)
