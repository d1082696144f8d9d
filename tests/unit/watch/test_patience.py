"""How long news of namespaces that talk too much, and of other hosts, wait."""

from __future__ import annotations

import pytest

from reconciler.model.identifiers import NsRef
from reconciler.watch.patience import Noise, Rest

WEB = NsRef("netns:web")


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


def test_a_quiet_namespace_is_looked_at_immediately() -> None:
    assert Noise().wait_s(WEB) == 0


def test_a_namespace_that_cries_wolf_waits_longer_each_time_but_not_for_ever() -> None:
    noise, waits = Noise(), []

    for number in range(20):
        noise.looked([WEB], number * 0.1, was_fruitful=False)
        waits.append(noise.wait_s(WEB))

    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == 2.0


def test_one_look_that_found_something_and_silence_both_restore_trust() -> None:
    noise = Noise()
    for number in range(5):
        noise.looked([WEB], number * 0.1, was_fruitful=False)

    noise.looked([WEB], 1.0, was_fruitful=True)
    assert noise.wait_s(WEB) == 0
    for number in range(5):
        noise.looked([WEB], 2.0 + number * 0.1, was_fruitful=False)
    noise.looked([], 60.0, was_fruitful=False)
    assert noise.wait_s(WEB) == 0
