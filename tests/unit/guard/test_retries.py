"""What a person wants the watcher to try again."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.guard import retries
from reconciler.guard.retries import ask_to_retry, is_meant, take_retries
from reconciler.guard.state_file import read_fields
from reconciler.model.objects import HOST_UNIT, Unit


def test_what_was_asked_for_is_read_once(tmp_path: Path) -> None:
    ask_to_retry(tmp_path, ["lan"])
    ask_to_retry(tmp_path, ["web"])

    assert take_retries(tmp_path) == {"lan", "web"}
    assert take_retries(tmp_path) == frozenset()


def test_a_request_that_comes_while_the_file_is_read_stays_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_slowly(path: Path) -> Mapping[str, object] | None:
        found = read_fields(path)
        monkeypatch.setattr(retries, "read_fields", read_fields)
        ask_to_retry(tmp_path, ["web"])
        return found

    ask_to_retry(tmp_path, ["lan"])
    monkeypatch.setattr(retries, "read_fields", read_slowly)

    assert take_retries(tmp_path) == {"lan"}
    assert take_retries(tmp_path) == {"web"}
    assert not any(tmp_path.iterdir())


def test_requests_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = [f"lan{number}" for number in range(64)]

    with ThreadPoolExecutor(8) as pool:
        tuple(pool.map(lambda name: ask_to_retry(tmp_path, [name]), names))

    assert take_retries(tmp_path) == set(names)


def test_a_damaged_request_asks_for_nothing_and_goes(tmp_path: Path) -> None:
    (tmp_path / "retry.json").write_text("[]")

    assert take_retries(tmp_path) == frozenset()
    assert not any(tmp_path.iterdir())


def test_an_endpoint_is_meant_by_either_name() -> None:
    endpoint = Unit(network="lan", attachment="web")

    assert [is_meant(endpoint, frozenset({name})) for name in ("lan", "web", "db")] == [True, True, False]
    assert not is_meant(HOST_UNIT, frozenset({"", "lan"}))
