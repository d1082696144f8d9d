"""What a person wants the watcher to try again."""

from __future__ import annotations

from pathlib import Path

from reconciler.guard.retries import ask_to_retry, is_meant, take_retries
from reconciler.model.objects import HOST_UNIT, Unit


def test_what_was_asked_for_is_read_once(tmp_path: Path) -> None:
    ask_to_retry(tmp_path, ["lan"])
    ask_to_retry(tmp_path, ["web"])

    assert take_retries(tmp_path) == {"lan", "web"}
    assert take_retries(tmp_path) == frozenset()


def test_a_damaged_request_asks_for_nothing_and_goes(tmp_path: Path) -> None:
    (tmp_path / "retry.json").write_text("[]")

    assert take_retries(tmp_path) == frozenset()
    assert not any(tmp_path.iterdir())


def test_an_endpoint_is_meant_by_either_name() -> None:
    endpoint = Unit(network="lan", attachment="web")

    assert [is_meant(endpoint, frozenset({name})) for name in ("lan", "web", "db")] == [True, True, False]
    assert not is_meant(HOST_UNIT, frozenset({"", "lan"}))
