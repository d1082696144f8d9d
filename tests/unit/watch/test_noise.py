"""Namespaces that talk too much."""

from __future__ import annotations

from reconciler.model.identifiers import NsRef
from reconciler.watch.noise import Noise

WEB = NsRef("netns:web")


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
