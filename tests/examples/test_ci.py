"""The CI examples: their very commands, in a repository with a pull request's history, by somebody without any rights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from reconciler.errors import ExitCode
from tests.unit.review.repository import AFTER, BEFORE, commit, git, make_repository

ROOT = Path(__file__).parents[2]
CI = ROOT / "examples" / "ci"
PULL_REQUEST = {**AFTER, "specs/expect.yaml": "expect: [{from: outside, to: db, reach: false}]\n"}

GH = """
import json, os, sys
path = os.environ["COMMENTS"]
comments = json.load(open(path)) if os.path.exists(path) else []
arguments = sys.argv[1:]
assert arguments[0] == "api" and os.environ["GH_TOKEN"] == "token", arguments
place = next(each for each in arguments if each.startswith("repos/o/r/issues/"))
body = [open(each.removeprefix("body=@")).read() for each in arguments if each.startswith("body=@")]
if not body:
    assert arguments[arguments.index("--jq") + 1] == ".[] | select(.body | startswith(env.MARKER)) | .id"
    print(*(each["id"] for each in comments if each["body"].startswith(os.environ["MARKER"])), sep="\\n")
elif "PATCH" in arguments:
    next(each for each in comments if str(each["id"]) == place.rsplit("/", 1)[1])["body"] = body[0]
else:
    comments.append({"id": 100 + len(comments), "body": body[0]})
json.dump(comments, open(path, "w"))
"""


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A pull request's branch, in a folder that anybody may write; the programs that jobs call are in `bin` beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    gh = f"exec {sys.executable} {tmp_path}/gh.py"
    (tmp_path / "gh.py").write_text(GH)
    for name, line in {
        "reconcile": f"exec {sys.executable} -m reconciler",
        "gh": gh,
        "pip": f"echo >{tmp_path}/pip",
    }.items():
        (programs / name).write_text(f'#!/bin/sh\n{line} "$@"\n')
        (programs / name).chmod(0o755)
    return make_repository(tmp_path / "checkout", BEFORE, PULL_REQUEST)


def run(script: str, checkout: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run as a runner does: bash, ended by the first failure. Who runs it has no capabilities, whoever runs the tests."""
    shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
    given = {
        "HOME": "/nonexistent",
        "PATH": f"{checkout.parent}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        **environment,
    }
    return subprocess.run(
        ("unshare", "--user", "--map-user=1000", "--map-group=1000", *shell),
        cwd=checkout,
        env=given,
        capture_output=True,
        text=True,
        check=False,
    )


def expressions(value: Mapping[str, str], inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, str]:
    """Fill in what stands in the environment of a step."""
    known = {f"inputs.{name}": text for name, text in inputs.items()} | {
        f"steps.review.outputs.{name}": text for name, text in outputs.items()
    }
    known |= {"github.token": "token", "github.event.pull_request.number": "7"}
    return {
        name: known[text.removeprefix("${{ ").removesuffix(" }}")] if "${{" in text else text
        for name, text in value.items()
    }


class Action:
    """Runs the steps of the composite action."""

    def __init__(self, checkout: Path) -> None:
        self.checkout, self.action = checkout, load(CI / "github" / "action.yml")
        self.files = {name: checkout.parent / name for name in ("output", "summary", "comments")}

    def __call__(self, base: str, fail_on: str) -> dict[str, subprocess.CompletedProcess[str]]:
        inputs = {name: each["default"] for name, each in self.action["inputs"].items()} | {
            "base": base,
            "fail-on": fail_on,
        }
        self.files["output"].write_text("")
        done = {}
        for step in self.action["runs"]["steps"]:
            outputs = dict(line.split("=", 1) for line in self.files["output"].read_text().splitlines())
            if "run" in step:
                assert "${{" not in step["run"], "what others typed reaches a script by its environment alone"
                environment = {
                    **expressions(step.get("env", {}), inputs, outputs),
                    "COMMENTS": str(self.files["comments"]),
                    "GITHUB_OUTPUT": str(self.files["output"]),
                    "GITHUB_REPOSITORY": "o/r",
                    "GITHUB_STEP_SUMMARY": str(self.files["summary"]),
                    "GITHUB_WORKSPACE": str(self.checkout),
                }
                done[step["name"]] = run(step["run"], self.checkout, environment)
            else:
                assert (self.checkout / step["with"]["sarif_file"]).exists()
        return done

    @property
    def comments(self) -> list[str]:
        return [each["body"] for each in json.loads(self.files["comments"].read_text())]


def test_the_action_annotates_summarises_and_keeps_one_comment(checkout: Path) -> None:
    action = Action(checkout)

    done = action("HEAD~1", "delete,exposed")

    assert (checkout.parent / "pip").read_text().split()[-1] == "network-reconciler"
    review = done["Review"]
    assert review.returncode == 0, review.stderr
    assert (
        "::notice file=specs/nets.yaml,line=5,col=5,title=network back changes::internal: true -> false\n"
        in review.stdout
    )
    (comment,) = action.comments
    assert comment.startswith("<!-- network-reconciler: plan -->\n")
    assert "outside → web:80/tcp" in comment
    assert action.files["summary"].read_text() == comment
    assert done["Result"].returncode == ExitCode.GUARDED, "a network goes, and the outside reaches web"

    commit(checkout, {"specs/expect.yaml": "expect: [{from: outside, to: web, reach: false, why: not yet}]\n"})
    done = action("HEAD~2", "")
    assert len(action.comments) == 1, "it is updated in place"
    assert done["Result"].returncode == ExitCode.BAD_SPECS
    fault = "::error file=specs/expect.yaml,line=1,col=10::outside of alpha reaches web (on alpha)"
    assert fault in done["Review"].stdout
    assert "not yet" in action.comments[0]


def test_the_workflow_calls_the_action_with_history_and_few_rights() -> None:
    workflow, action = load(CI / "github" / "networks.yml"), load(CI / "github" / "action.yml")
    checkout, _, review = workflow["jobs"]["review"]["steps"]

    assert checkout["with"]["fetch-depth"] == 0
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write", "security-events": "write"}
    assert {*review["with"]} <= {*action["inputs"]}
    assert "pull_request_target" not in (CI / "github" / "networks.yml").read_text(), (
        "nobody else's code gets our token"
    )


class Notes(BaseHTTPRequestHandler):
    """GitLab's notes of a merge request, two to a page."""

    notes: list[dict[str, Any]]

    def do_GET(self) -> None:
        page = int(parse_qs(urlsplit(self.path).query)["page"][0])
        found = self.notes[2 * page - 2 : 2 * page]
        self._answer(found, str(page + 1) if len(self.notes) > 2 * page else "")

    def do_POST(self) -> None:
        self.notes.append({"id": len(self.notes), "body": self._body()})
        self._answer({})

    def do_PUT(self) -> None:
        self.notes[int(self.path.rsplit("/", 1)[1])]["body"] = self._body()
        self._answer({})

    def _body(self) -> str:
        return parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["body"][0]

    def _answer(self, found: object, next_page: str = "") -> None:
        is_known = self.headers["PRIVATE-TOKEN"] == "secret" and self.path.startswith(
            "/v4/projects/3/merge_requests/7/notes"
        )
        self.send_response(200 if is_known else 403)
        self.send_header("X-Next-Page", next_page)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def notes() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    Notes.notes = [{"id": number, "body": f"of somebody {number}"} for number in range(3)]
    with HTTPServer(("127.0.0.1", 0), Notes) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v4", Notes.notes
        server.shutdown()
        thread.join()


def test_the_gitlab_job_keeps_one_note(checkout: Path, notes: tuple[str, list[dict[str, Any]]]) -> None:
    url, found = notes
    job = load(CI / "gitlab" / "networks.yml")["networks"]
    environment = {
        **job["variables"],
        "CI_API_V4_URL": url,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": git(checkout, "rev-parse", "HEAD~1"),
        "CI_MERGE_REQUEST_IID": "7",
        "CI_PROJECT_DIR": str(checkout),
        "CI_PROJECT_ID": "3",
        "NETWORKS_TOKEN": "secret",
    }
    scripts = job["script"]

    done = run("\n".join((*job["before_script"], *scripts)), checkout, environment)
    assert done.returncode == ExitCode.GUARDED, done.stderr
    (checkout / "networks-review" / "comment.md").write_text(found[3]["body"] + "more\n")
    again = run("\n".join((scripts[0], *scripts[-2:])), checkout, environment)
    assert again.returncode == ExitCode.OK, again.stderr
    assert "secret" not in done.stdout + done.stderr + again.stdout + again.stderr
    assert len(found) == 4, "it is updated in place"
    assert found[3]["body"].endswith("more\n")
    assert found[3]["body"].startswith("<!-- network-reconciler: plan -->\n")
    assert job["variables"]["GIT_DEPTH"] == "0"
    assert {path.name for path in (checkout / "networks-review").iterdir()} == {
        "comment.md",
        "review.sarif",
        "review.xml",
    }
    assert git(checkout, "status", "--porcelain") == "?? networks-review/"


def test_hooks_of_pre_commit_format_and_check(checkout: Path) -> None:
    hooks = {hook["id"]: hook for hook in load(ROOT / ".pre-commit-hooks.yaml")}
    used = {hook["id"] for repo in load(CI / "pre-commit-config.yaml")["repos"] for hook in repo["hooks"]}
    assert used == {*hooks}

    validate, fmt = hooks["reconcile-validate"], hooks["reconcile-fmt"]
    files = git(checkout, "ls-files", "specs").splitlines()
    assert run(" ".join((fmt["entry"], *files)), checkout, {}).returncode == ExitCode.OK
    assert "specs/nets.yaml" in git(checkout, "diff", "--name-only"), (
        "by which pre-commit sees that it changed something"
    )
    (checkout / "specs" / "bad.yaml").write_text("networks: {a: {intrenal: true}}\n")
    assert run(validate["entry"], checkout, {}).returncode == ExitCode.BAD_SPECS
