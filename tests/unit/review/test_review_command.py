"""`reconcile --dry-run --against git:REV`, as whoever reviews a pull request runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from reconciler.cli.forms import CONDITIONS
from reconciler.cli.root import main
from reconciler.compile import compile_objects
from reconciler.errors import ExitCode
from reconciler.guard.foresight import on_empty_host
from reconciler.guard.last_good import LastGood, write_last_good
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.objects import KvRecord
from reconciler.review.conditions import FailCondition
from reconciler.settings import Settings
from reconciler.spec.files import SpecText
from tests.unit.review.repository import AFTER, BEFORE, commit, git, make_repository

GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]

AS_NOBODY = """
import importlib, os, pkgutil, sys
import reconciler
for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
sys.exit(reconciler.cli.root.main())
"""
"""All is imported before: an interpreter may be where nobody else may look."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository", BEFORE, AFTER)


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(repository)

    def run_(*arguments: str, revision: str = "HEAD~1") -> Done:
        code = main(["--dry-run", "--against", f"git:{revision}", *arguments])
        out, err = capsys.readouterr()
        return Done(code=code, out=out, err=err)

    return run_


def remember_as_applied(state_dir: Path, files: Mapping[str, str]) -> None:
    """Write what a pass with these specs leaves in the state folder of host alpha."""
    last = LastGood(
        versions={"before": tuple(SpecText(name, dedent(text)) for name, text in sorted(files.items()))},
        current="before",
    )
    settings = Settings(state_dir=state_dir, host="alpha")
    write_last_good(state_dir, last)
    objects = compile_objects(on_empty_host(last.load(settings).wanted, settings), {})
    with closing(open_sqlite(state_dir / "state.db")) as kv:
        for record in objects.values():
            if isinstance(record, KvRecord):
                kv.put(record.path, record.value.encode())


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def without_plans(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "hosts": [{k: v for k, v in host.items() if k != "plan"} for host in document["hosts"]]}


def test_a_pull_request_is_reviewed_for_all_hosts_by_somebody_without_rights() -> None:
    with tempfile.TemporaryDirectory() as folder:  # nobody else may look into pytest's own
        repository = make_repository(Path(folder), BEFORE, AFTER)
        summary = repository / "summary.md"
        summary.write_text("before\n")
        for path in (repository, *repository.rglob("*")):
            os.lchown(path, *((65534, 65534) if os.geteuid() == 0 else (-1, -1)))
        _check_review(repository, summary)


def _check_review(repository: Path, summary: Path) -> None:
    files = ("--output", "text", "--output", "json=r.json", "--output", "markdown=r.md", "--output", "github=r.github")

    done = subprocess.run(
        (sys.executable, "-c", AS_NOBODY, "--dry-run", "--against", "git:HEAD~1", *files),
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/nonexistent", "GITHUB_STEP_SUMMARY": str(summary)},
    )

    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert done.stdout == (GOLDEN / "review.txt").read_text()
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout
    assert (repository / "r.md").read_text() == (GOLDEN / "review.md").read_text()
    assert (repository / "r.github").read_text() == (GOLDEN / "review.github").read_text()
    assert summary.read_text() == "before\n" + (GOLDEN / "review.md").read_text()
    document = json.loads((repository / "r.json").read_text())
    assert without_plans(document) == json.loads((GOLDEN / "review.json").read_text())
    assert all(host["plan"]["resource_changes"] for host in document["hosts"])
    assert not [leaf for leaf in leaves(document) if isinstance(leaf, str) and leaf.startswith(("('", "['", "{'"))]


SHARED_BEFORE = {
    "specs/nets.yaml": """\
    networks:
      mesh: {driver: overlay, ipam: {config: [{subnet: 10.9.0.0/24}]}}
      alone: {driver: overlay, ipam: {config: [{subnet: 10.8.0.0/24}]}}
      front: {}
    """,
    "specs/apps.yaml": """\
    attachments:
      web: {hosts: [alpha], networks: {mesh: {ipv4_address: 10.9.0.10}, front: {}}}
      db: {hosts: [beta], networks: {mesh: {ipv4_address: 10.9.0.20}}}
      job: {hosts: [gamma], networks: [alone]}
    """,
}
SHARED_AFTER = {
    **SHARED_BEFORE,
    "specs/apps.yaml": """\
    attachments:
      web: {hosts: [alpha], networks: {mesh: {ipv4_address: 10.9.0.11}, front: {aliases: [www]}}}
      db: {hosts: [beta], networks: {mesh: {ipv4_address: 10.9.0.20, aliases: [data]}}}
      cache: {hosts: [beta], networks: [mesh]}
      job: {hosts: [gamma], networks: {alone: {aliases: [work]}}}
    """,
}


def test_a_network_that_hosts_share_is_told_once_with_each_hosts_part(run: Run, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "shared", SHARED_BEFORE, SHARED_AFTER)
    os.chdir(repository)

    done = run("--output", "text", "--output", "json=r.json", "--output", "markdown=r.md")

    document = without_plans(json.loads((repository / "r.json").read_text()))
    assert (done.code, done.out) == (ExitCode.OK, (GOLDEN / "shared.txt").read_text())
    assert (repository / "r.md").read_text() == (GOLDEN / "shared.md").read_text()
    assert document == json.loads((GOLDEN / "shared.json").read_text())
    assert [network["network"] for network in document["shared"]] == ["mesh"]  # the other is one host's


def test_hosts_are_chosen_by_names_and_globs(run: Run, repository: Path) -> None:
    def hosts(*arguments: str) -> list[str]:
        done = run("--output", "json", *arguments)
        assert done.code == ExitCode.OK, done.err
        return [host["host"] for host in json.loads(done.out)["hosts"]]

    (repository / "more").write_text("gamma  # not named by the specs\n\n")
    assert hosts("--host", "all") == ["alpha", "beta"]
    assert hosts("--host", "b*,new") == ["beta", "new"]
    assert hosts("--hosts-file", "more") == ["alpha", "beta", "gamma"]
    assert run("--host", "z*").code == ExitCode.BAD_CONFIG


def test_the_same_specs_are_nothing_to_review(run: Run) -> None:
    done = run("--detailed-exitcode", revision="HEAD")

    assert done.code == ExitCode.OK
    assert done.out.endswith("Plan: nothing to do\n")
    assert run("--detailed-exitcode").code == ExitCode.CHANGES


def test_what_cannot_be_compared_says_so_and_changes_nothing(run: Run, repository: Path) -> None:
    done = run(revision="nope")

    assert done.code == ExitCode.BAD_SPECS
    assert "revision 'nope' is not in the repository" in done.err
    commit(repository, {"specs/nets.yaml": "networks: {back: {intrenal: true}}\n"})
    bad = run("--output", "markdown")
    assert bad.code == ExitCode.BAD_SPECS
    assert "`specs/nets.yaml:1:19` unknown key 'intrenal'" in bad.out
    assert "reaches no longer" not in bad.out, "what is left out for a fault stays as it is"
    assert "faults of the specs are mended" in bad.out
    assert git(repository, "status", "--porcelain") == ""


def test_a_plan_from_what_was_applied_last_is_told_in_the_same_words(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    remember_as_applied(tmp_path, BEFORE)
    forms = [f"{form}={tmp_path / f'status.{form}'}" for form in ("json", "markdown", "github")]

    code = main(
        [
            *("--state-dir", str(tmp_path), "--host", "alpha", "--dry-run", "--against", "status"),
            *("--detailed-exitcode", "--output", "text", *(word for form in forms for word in ("--output", form))),
        ]
    )

    out, err = capsys.readouterr()
    assert (code, err) == (ExitCode.CHANGES, "")
    assert out == (GOLDEN / "status.txt").read_text()
    assert (tmp_path / "status.markdown").read_text() == (GOLDEN / "status.md").read_text()
    assert (tmp_path / "status.github").read_text() == (GOLDEN / "status.github").read_text()
    document = json.loads((tmp_path / "status.json").read_text())
    assert document["summary"]["drift"] == 0
    assert document["resource_changes"]
    told = {name: document[name] for name in ("against", "changes", "hosts", "between")}
    assert told == json.loads((GOLDEN / "status.json").read_text())


def test_what_somebody_does_not_want_to_see_is_listed_in_full_and_fails(run: Run) -> None:
    done = run("--fail-on", ",".join(CONDITIONS), "--output", "json")

    assert done.code == ExitCode.GUARDED
    assert done.err.splitlines() == [
        "error: --fail-on delete: network old",
        "error: --fail-on recreate on alpha: cache, db",
        "error: --fail-on reach-gained on alpha: job → outside (masqueraded, IPv4)",
        "error: --fail-on reach-gained on alpha: outside → web:80/tcp (published at 8080, IPv4)",
        "error: --fail-on reach-lost on alpha: db → host (with its own address, IPv4)",
        "error: --fail-on reach-lost on alpha: db → job, web (on back, IPv4)",
        "error: --fail-on reach-lost on alpha: host → db (as the network's gateway, IPv4)",
        "error: --fail-on reach-lost on alpha: job, web → db (on back, IPv4)",
        "error: --fail-on exposed on alpha: outside → web:80/tcp (published at 8080, IPv4)",
        "error: --fail-on reach-gained on beta: db → host (with its own address, IPv4)",
        "error: --fail-on reach-gained on beta: db, job → db, job (on back, IPv4)",
        "error: --fail-on reach-gained on beta: db, job → outside (masqueraded, IPv4)",
        "error: --fail-on reach-gained on beta: host → db (as the network's gateway, IPv4)",
    ]
    assert json.loads(done.out)["hosts"], "the review is told as ever"
    assert run("--fail-on", "flap, drift", "--detailed-exitcode").code == ExitCode.CHANGES
    assert run("--fail-on", "exposd").code == ExitCode.USAGE


def test_conditions_are_named_alike_everywhere() -> None:
    assert tuple(FailCondition) == CONDITIONS
