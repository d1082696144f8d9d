"""How long news of other hosts wait."""

from __future__ import annotations

import pytest

from reconciler.watch.rest import Rest


def test_news_that_come_singly_do_not_wait() -> None:
    rest = Rest()

    assert rest.until_s(0.0) is None
    rest.worked(1.0, 1.2)
    assert rest.until_s(1.5) is None


def test_a_storm_takes_half_of_the_time() -> None:
    rest, now, at_work = Rest(), 100.0, 0.0
    while now < 200.0:
        until = rest.until_s(now)
        if until is None:
            rest.worked(now, now + 0.5)
            now, at_work = now + 0.5, at_work + 0.5
        else:
            assert until > now
            now = until

    assert at_work == pytest.approx(50.0, abs=0.5)


def test_a_pass_that_took_long_does_not_keep_news_waiting_as_long() -> None:
    rest = Rest()

    rest.worked(0.0, 30.0)

    assert rest.until_s(30.0) == 32.0
