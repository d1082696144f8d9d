"""What words of the status mean, of what the last pass said them, and what was put right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from reconciler.explain.status_words import known_words, word_meaning

TIME = "2026-11-29T10:00:00.000000000Z"


def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME}


SUMMARY = {
    "host": "alpha",
    "conditions": [condition("Ready", "True", "ReconciliationSucceeded", "as declared")],
    "networks": {
        "back": {
            "conditions": [
                condition("Ready", "False", "OwnershipConflict", "link br-back is not ours"),
                condition("Stalled", "True", "OwnershipConflict", "link br-back is not ours"),
            ],
            "driftRepaired": 2,
        }
    },
    "attachments": {"web": {"conditions": [condition("Ready", "False", "BuildFailed", "port 80 is taken")]}},
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "status").mkdir()
    (tmp_path / "status" / "summary.json").write_text(json.dumps(SUMMARY))
    events = [
        {"time": "t1", "event": "applied", "network": "back", "message": "create link br-back"},
        {"time": "t2", "event": "repaired", "network": "back", "message": "create link br-back"},
        {
            "time": "t3",
            "event": "repaired",
            "network": "back",
            "attachment": "db",
            "message": "create address 10.0.0.2",
        },
        {"time": "t4", "event": "repaired", "network": "front", "message": "create link br-front"},
        {"time": "t5", "event": "drifted", "network": "back", "message": "it drifted"},
    ]
    (tmp_path / "events.ndjson").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return tmp_path


@pytest.mark.parametrize(
    ("word", "said", "now"),
    [
        ("stalled", "Stalled (condition): it is not as declared", "now network back"),
        ("Ready", "Ready (condition): ", "now attachment web"),
        ("OwnershipConflict", "what to do: remove it, or choose another name in the specs", "link br-back is not ours"),
        ("PortTaken", "its reason in the status: BuildFailed", "now attachment web"),
        ("Suspended", "what to do: `reconcile resume NAME`", "the last pass said it of nothing here"),
        ("VerifyFailed", "the last look still found something different", "the last pass said it of nothing here"),
    ],
)
def test_a_word_is_told_with_what_to_do_and_of_what_it_was_said(
    host: Path, capsys: pytest.CaptureFixture[str], word: str, said: str, now: str
) -> None:
    assert main(("explain", word, "--state-dir", str(host))) == ExitCode.OK

    told = " ".join(capsys.readouterr().out.split())
    assert said in told
    assert now in told


def test_every_word_has_a_meaning_and_says_so_in_json(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meanings = [word_meaning(word, {}) for word in known_words()]
    assert main(("explain", "BuildFailed", "--state-dir", str(host), "--format", "json")) == ExitCode.OK

    told = json.loads(capsys.readouterr().out)
    assert all(each.says for each in meanings)
    assert {each.kind for each in meanings} == {"condition", "reason", "error"}
    assert (told["kind"], told["exitCodes"], told["triedAgain"]) == ("reason", [1], "some")
    assert told["now"] == [{"who": "attachment web", "message": "port 80 is taken", "since": TIME}]
    assert "PortTaken" in {each["name"] for each in told["errors"]}


def test_drift_of_a_network_is_what_was_put_back_there(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("explain", "drift", "back", "--state-dir", str(host))
    assert main(common) == ExitCode.OK
    text = capsys.readouterr().out
    assert main((*common, "--format", "json")) == ExitCode.OK
    told = json.loads(capsys.readouterr().out)

    assert text.splitlines() == [
        "network back: 2 changes put something back",
        "  t2 create link br-back",
        "  t3 db: create address 10.0.0.2",
        "  t5 left as it is: it drifted",
    ]
    assert [each["time"] for each in told["events"]] == ["t2", "t3", "t5"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("AddressInUse",), ExitCode.USAGE, "Did you mean the word of the status `AddressTaken`?"),
        (("wbe", "--specs", "examples/walkthrough"), ExitCode.USAGE, "attachment 'wbe' not found"),
        (("x", "--specs", "nowhere"), ExitCode.BAD_SPECS, "the folder cannot be looked through"),
        (("web", "back"), ExitCode.USAGE, "a second name goes with `drift`"),
        (("drift", "nowhere"), ExitCode.BAD_CONFIG, "neither the last pass nor an event"),
    ],
)
def test_what_is_no_word_is_refused(
    host: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: ExitCode, said: str
) -> None:
    assert main(("explain", *arguments, "--state-dir", str(host))) == code
    assert said in capsys.readouterr().err


def test_what_the_last_pass_said_of_them_is_told_without_a_look(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (host / "specs").mkdir()
    (host / "specs" / "s.yaml").write_text(
        "networks: {back: }\nattachments: {a: {networks: [back]}, b: {networks: [back]}}\n"
    )
    arguments = ("a", "--to", "b", "--no-live", "--host", "alpha", "--specs", str(host / "specs"))

    assert main(("explain", *arguments, "--state-dir", str(host))) == ExitCode.OK

    told = " ".join(capsys.readouterr().out.split())
    assert "note: the last pass said of network back: OwnershipConflict, link br-back is not ours" in told
