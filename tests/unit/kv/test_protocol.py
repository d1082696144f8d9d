"""Keys, transactions and what a watch remembers: the parts of the contract that need no server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import KvConflict, KvError
from reconciler.kv.backoff import MAX_S, Backoff
from reconciler.kv.protocol import (
    KEY_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    Check,
    Delete,
    Put,
    checked_prefix,
    is_key,
)
from reconciler.kv.steps import KeyStep, checked_steps


@given(st.text(max_size=500))
def test_a_key_is_printable_bounded_and_leaves_no_folder(text: str) -> None:
    if not is_key(text):
        return
    assert 0 < len(text.encode()) <= KEY_BYTES_MAX
    assert not {"", ".", ".."} & set(text.split("/"))
    assert not any(ord(character) < 32 for character in text)


@pytest.mark.parametrize("prefix", ["", "a/", "a/b/", "with space/"])
def test_folder_is_a_prefix(prefix: str) -> None:
    assert checked_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["a", "/", "a//", "/a/", "../", "a/b"])
def test_what_is_no_folder_is_no_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        checked_prefix(prefix)


def test_transaction_becomes_one_step_per_key() -> None:
    put, delete = Put(key="c", value=b"1"), Delete(key="a")

    steps = checked_steps([Check(key="c", version=3), Check(key="b", version=0)], [put, delete])

    assert steps == (
        KeyStep(key="a", version=None, write=delete),
        KeyStep(key="b", version=0, write=None),
        KeyStep(key="c", version=3, write=put),
    )


def test_transaction_counts_checked_and_written_keys() -> None:
    half = TRANSACTION_KEYS_MAX // 2
    checks = [Check(key=f"c{number}", version=0) for number in range(half)]
    writes = [Delete(key=f"w{number}") for number in range(half)]
    checked_steps(checks, writes)

    with pytest.raises(KvError):
        checked_steps(checks, [*writes, Delete(key="one-more")])


@pytest.mark.parametrize(
    ("expected", "present", "is_lost"),
    [(None, 7, False), (None, 0, False), (0, 0, False), (7, 7, False), (0, 7, True), (7, 0, True), (7, 8, True)],
)
def test_step_holds_a_key_to_its_expected_version(expected: int | None, present: int, is_lost: bool) -> None:
    step = KeyStep(key="a", version=expected, write=None)

    if is_lost:
        with pytest.raises(KvConflict, match="a was changed"):
            step.check(present)
    else:
        step.check(present)


def test_waiting_grows_to_a_bound_and_ends_with_success() -> None:
    backoff = Backoff()
    assert backoff.delay_s() == 0
    delays = []
    for _ in range(40):
        backoff.failed()
        delays.append(backoff.delay_s())

    assert 0.05 <= delays[0] <= 0.1
    assert min(delays[-10:]) >= MAX_S / 2
    assert max(delays) <= MAX_S
    backoff.succeeded()
    assert backoff.delay_s() == 0
