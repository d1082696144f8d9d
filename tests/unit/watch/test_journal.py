"""What is written down of passes, what is not, and that the files stay bounded and readable."""

from __future__ import annotations

import fcntl
import json
import logging
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.errors import (
    KernelError,
    KvUnavailable,
    NameConflict,
    PruneRefused,
    ReconcilerError,
    RolledBack,
    SpecError,
    Suspended,
)
from reconciler.guard.state_file import alone
from reconciler.model.objects import HOST_UNIT, NAMES_UNIT, KvRecord, NameTables, Unit
from reconciler.model.report import Probed
from reconciler.watch.journal import Journal
from reconciler.watch.journal_reader import Event, EventFiles
from tests.fakes.reports import FRONT, FRONT_BRIDGE, made, report

EBUSY = KernelError(16, "create bridge br-front")


def events(state_dir: Path) -> list[Event]:
    files = EventFiles(state_dir)
    found = [*files.earlier(), *files.new()]
    files.close()
    return found


def kinds(state_dir: Path) -> list[object]:
    return [event["event"] for event in events(state_dir)]


def content(state_dir: Path) -> dict[str, tuple[bytes, int]]:
    return {entry.name: (entry.read_bytes(), entry.stat().st_mtime_ns) for entry in state_dir.iterdir()}


def test_an_applied_operation_is_one_line_with_time_and_place(tmp_path: Path) -> None:
    before = datetime.now(UTC)

    Journal(tmp_path).record(report(made()))

    [event] = events(tmp_path)
    assert before.timestamp() - 0.001 <= datetime.fromisoformat(str(event["time"])).timestamp()
    assert {key: value for key, value in event.items() if key != "time"} == {
        "event": "applied",
        "network": "front",
        "action": "create",
        "kind": "Bridge",
        "message": "create bridge br-front (mtu 1500)",
    }


def test_a_pass_with_nothing_to_tell_writes_nothing_also_in_another_process(tmp_path: Path) -> None:
    failing = report(problems=((FRONT, NameConflict("taken")),))
    Journal(tmp_path).record(failing)
    before = content(tmp_path)

    Journal(tmp_path).record(failing)

    assert content(tmp_path) == before


def test_changes_without_new_specs_are_repairs(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record(report(made()))

    journal.record(report(made(), made(KvRecord(unit=FRONT, path="network/front", value="{}"))))
    journal.record(report(made(), digest="d2"))

    assert kinds(tmp_path) == ["applied", "repaired", "applied", "applied"]


def test_what_was_not_settled_is_applied_and_not_repaired_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record(report(problems=((FRONT, NameConflict("taken")),)))

    journal.record(report(made()))

    assert kinds(tmp_path) == ["failed", "applied", "settled"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NameConflict("taken"), "failed"),
        (PruneRefused("too many"), "refused"),
        (Suspended("by root"), "suspended"),
        (RolledBack("to d0"), "rolled-back"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_in_the_way_is_told_when_it_comes_and_when_it_goes(
    tmp_path: Path, error: ReconcilerError, kind: str
) -> None:
    journal = Journal(tmp_path)

    for problems in (((FRONT, error),), ((FRONT, error),), ()):
        journal.record(report(problems=problems))

    first, last = events(tmp_path)
    assert (first["event"], first["network"], first["message"]) == (kind, "front", str(error))
    assert (last["event"], last["network"], last["reason"]) == ("settled", "front", first["reason"])


def test_a_fault_of_the_specs_is_told(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(faults=(SpecError("a.yaml", 3, 1, "what is this?"),)))

    [event] = events(tmp_path)
    assert (event["event"], event["message"]) == ("failed", "a.yaml:3:1: what is this?")


def test_a_unit_that_fails_again_and_again_is_told_once_and_what_was_undone_not_at_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    undone = made(KvRecord(unit=FRONT, path="network/front", value="{}"))

    for _ in range(3):
        journal.record(report(undone, made(error=EBUSY), problems=((FRONT, NameConflict("taken")),)))

    assert [(event["event"], event["reason"]) for event in events(tmp_path)] == [
        ("failed", "OperationFailed"),
        ("failed", "OwnershipConflict"),
    ]


def test_an_operation_that_failed_and_was_mended_in_the_same_pass_is_told(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(made(error=EBUSY), made(error=EBUSY, skipped=True), made()))

    failed, applied = events(tmp_path)
    assert (failed["event"], failed["error"]) == ("failed", str(EBUSY))
    assert applied["event"] == "applied"


def test_passes_that_are_impossible_are_told_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    for _ in range(3):
        journal.failed(KvUnavailable("no store"))
    journal.passed(report(), 0.1, is_drift=False)

    assert kinds(tmp_path) == ["failed", "settled"]


def test_the_name_service_is_no_network(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(made(NameTables(unit=NAMES_UNIT, digest="x"))))

    assert "network" not in events(tmp_path)[0]


def test_files_are_bounded_and_nothing_between_them_is_lost(tmp_path: Path) -> None:
    journal = Journal(tmp_path, file_max=1000)

    for number in range(30):
        journal.record(report(made(), digest=f"d{number}"))
        latest = events(tmp_path)[-1]
        assert latest["event"] == "applied"

    assert sorted(entry.name for entry in tmp_path.iterdir() if "events" in entry.name) in (
        ["events.ndjson", "events.ndjson.1"],
        ["events.ndjson.1"],
    )
    assert all(entry.stat().st_size < 1400 for entry in tmp_path.iterdir())


def test_a_follower_misses_nothing_when_the_file_is_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path, file_max=700)
    files, seen = EventFiles(tmp_path), 0

    for number in range(20):
        journal.record(report(made(), digest=f"d{number}"))
        seen += len(list(files.new()))

    files.close()
    assert seen == 20


def test_a_line_that_was_cut_off_harms_no_other(tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_bytes(b'{"event": "applied"}\n{"event": "ap')

    Journal(tmp_path).record(report(made()))

    assert kinds(tmp_path) == ["applied", "applied"]


def test_a_line_being_written_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"event": "a')
    files = EventFiles(tmp_path)

    assert list(files.new()) == []
    with path.open("ab") as file:
        file.write(b'pplied"}\n')

    assert [event["event"] for event in files.new()] == ["applied"]
    files.close()


@pytest.mark.parametrize("line", [b"[]", b"\xff", b"1", 100_000 * b"[", 200_000 * b"x"], ids=lambda line: str(line[:5]))
def test_what_is_no_event_is_left_out(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "events.ndjson").write_bytes(line + b'\n{"event": "applied"}\n')

    assert kinds(tmp_path) == ["applied"]


def test_damaged_memory_is_survived(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('{"digest": 1, "issues": [1, ["a"], [[], 2, 3, 4]]}')

    Journal(tmp_path).record(report(made()))

    assert kinds(tmp_path) == ["applied"]


def test_a_journal_that_cannot_be_written_fails_no_pass_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("reconciler.watch.journal")
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "level", logging.WARNING)
    (tmp_path / "state").write_text("a file in the place of the folder")
    journal = Journal(tmp_path / "state")

    for _ in range(3):
        journal.record(report(made()))

    assert sum("events are not recorded" in record.message for record in caplog.records) == 1


def test_who_keeps_the_files_locked_holds_up_nobody_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.guard.state_file.LOCK_S_MAX", 0.05)
    journal = Journal(tmp_path)
    journal.record(report(made()))

    with (tmp_path / "events.ndjson").open("rb") as readable:  # anybody may
        fcntl.flock(readable, fcntl.LOCK_EX)
        folder = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)
        journal.record(report(made(), digest="new"))
        with pytest.raises(KernelError, match="lslocks"), alone(tmp_path):
            pass
        os.close(folder)
    journal.record(report(made(), digest="newer"))

    assert kinds(tmp_path) == ["applied", "applied"]


def test_an_endless_message_is_cut(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(problems=((HOST_UNIT, NameConflict(100_000 * "x")),)))

    assert len(str(events(tmp_path)[0]["message"])) == 1000


def test_no_name_or_message_can_steer_a_terminal(tmp_path: Path) -> None:
    Journal(tmp_path).record(report(problems=((HOST_UNIT, NameConflict("\x1b[2J\u202e\n")),)))

    [line] = (tmp_path / "events.ndjson").read_text().splitlines()
    assert line.isprintable()
    assert line.isascii()


def _write_many(state_dir: Path) -> None:
    journal = Journal(state_dir, file_max=1 << 20)
    for number in range(100):
        journal.record(report(made(), digest=f"{multiprocessing.current_process().pid}-{number}"))


def test_processes_that_write_at_the_same_time_do_not_mix_their_lines(tmp_path: Path) -> None:
    processes = [multiprocessing.Process(target=_write_many, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    lines = (tmp_path / "events.ndjson").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == 200 * ["applied"]


def test_a_first_pass_over_a_large_host_costs_little(tmp_path: Path) -> None:
    import time

    outcomes = [made(FRONT_BRIDGE) for _ in range(10_000)]
    large = report(*outcomes)
    began = time.process_time()

    Journal(tmp_path).record(large)

    assert time.process_time() - began < 1.0  # 0.04 s when nothing else runs


def test_units_are_found_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    endpoint = Unit(network="front", attachment="web")

    journal.record(report(problems=((endpoint, NameConflict("taken")),)))

    assert (events(tmp_path)[0]["network"], events(tmp_path)[0]["attachment"]) == ("front", "web")


def test_what_packets_say_is_told_when_it_changes(tmp_path: Path) -> None:
    fine = Probed(reason="PacketsAgree", message="fine", asked=3)
    broken = Probed(reason="PacketsDisagree", message="web does not reach db", asked=3, differing=1)
    unknown = Probed(reason="NotAsked", message="not yet")

    for probed in (unknown, fine, replace(fine, asked=4), broken, unknown, broken, None, fine):
        Journal(tmp_path).record(replace(report(), probed=probed))

    assert [(event["event"], event["reason"], event["message"]) for event in events(tmp_path)] == [
        ("probed", "PacketsAgree", "fine"),
        ("probed", "PacketsDisagree", "web does not reach db"),
        ("probed", "PacketsAgree", "fine"),
    ]
