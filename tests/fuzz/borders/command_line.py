"""Command lines. All are read; those of commands that only read files are carried out, in a folder of their own."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest import mock

import click

from reconciler.cli import reviewing
from reconciler.cli.commands import COMMANDS
from reconciler.cli.options import GLOBAL_OPTIONS
from reconciler.cli.root import main, reconcile
from reconciler.errors import ExitCode
from tests.fuzz.target import Form, Target

_HARMLESS: Final = frozenset(
    (
        *(
            "validate",
            "fmt",
            "schema",
            "version",
            "completion",
            "manual",
            "graph",
            "explain",
            "events",
            "suspend",
            "resume",
        ),
        *(
            "ls",
            "inspect",
            "network",
            "attachment",
            "import",
            "cni",
            "netavark",
            "quadlet",
            "compose",
            "reconcile",
            "node",
        ),
    )
)
"""That change nothing but files of their folder."""

_AGAINST: Final = ("empty", "status", "snapshot:")
_CODES: Final = frozenset(map(int, ExitCode)) | {0}
_KEPT: Final = ("specs", "state", "run", "files")
_SPECS: Final = """\
networks: {front: {ipam: {config: [{subnet: 10.1.0.0/24}]}}, back: {internal: true}}
attachments: {web: {networks: [front, back], ports: ["8080:80"]}, db: {networks: [back]}}
expect: [{from: [web], to: [db], reach: always}]
"""
_COMPOSE: Final = "services: {web: {image: a, ports: ['80:80']}}\n"


def _seeds() -> Iterator[bytes]:
    for line in (
        "validate --output json",
        "--specs specs validate -v --host beta",
        "fmt --check specs",
        "--dry-run --against empty --output json --objects --detailed-exitcode",
        "--dry-run --against snapshot:state --host alpha --fail-on exposed,delete",
        "graph --format mermaid --host all",
        "explain web --to db:5432 --format json",
        "explain KernelError",
        "network inspect front --format {{.Name}}",
        "attachment ls -q",
        "import compose files/compose.yaml --output out --profile x --long-names",
        "import cni files",
        "events --since 2h --network front",
        "suspend front --for 1h --reason x",
        "resume",
        "watch --metrics 127.0.0.1:9090 --interval 5s",
        "try --timeout 5m confirm x",
        "--prune-limit 3,50% --plugin-timeout 0.5 --cluster-store etcd://a:1 --cluster-store-opt kv.path=x validate",
        "exec web -- true",
        "schema",
        "completion bash",
        "--help",
    ):
        yield "\0".join(shlex.split(line)).encode()


@cache
def _place() -> Path:
    """Make the folder that all are carried out in."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for name in _KEPT:
        (folder / name).mkdir()
    (folder / "specs" / "a.yaml").write_text(_SPECS)
    (folder / "files" / "compose.yaml").write_text(_COMPOSE)
    (folder / "files" / "a.conflist").write_text('{"name": "a", "plugins": [{"type": "bridge"}]}')
    return folder


def _run(data: bytes) -> None:
    """Give the words to the command line: an exit code that is documented, and nothing that controls a terminal."""
    words = [_tame(word) for word in data.decode(errors="surrogateescape").split("\0")[:16]]
    if {"watch", "--follow", "-f"} & {*words[:-1], "-" if words[-1] == "watch" else words[-1]} and "--follow" in words:
        return  # who follows events waits for more
    folder = _place()
    (folder / "specs" / "a.yaml").write_text(_SPECS)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RECONCILE_")},
        "RECONCILE_SPECS": "specs",
        "RECONCILE_STATE_DIR": "state",
        "RECONCILE_RUN_DIR": "run",
        "RECONCILE_HOST": "alpha",
        "NO_COLOR": "1",
    }
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment, clear=True),
        _tamed(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        code = main(words)
    assert code in _CODES, code
    for text in (output.getvalue(), errors.getvalue()):
        assert "Traceback" not in text, text[-2000:]
        assert all(line.isprintable() for line in text.replace("\t", " ").split("\n")), ascii(text[:500])


def _tame(word: str) -> str:
    """Take what leads out of the folder; the file system is the machine's."""
    if not any(word.startswith(f"{kept}/") and ".." not in word for kept in _KEPT):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        word = option + equals + value.replace("/", "")
    return word.replace("..", ".")


@contextlib.contextmanager
def _tamed() -> Iterator[None]:
    """Have commands that do more than read files read their words and no more; so does a pass."""
    really, dry_run = click.Command.invoke, reviewing.dry_run

    def invoke(self: click.Command, context: click.Context) -> Any:
        return really(self, context) if self.name in _HARMLESS or isinstance(self, click.Group) else ExitCode.OK

    def reviewed(context: Any, orders: Any, asked: Any) -> Any:
        return dry_run(context, orders, asked) if asked.against.startswith(_AGAINST) else ExitCode.OK

    with (
        mock.patch.object(click.Command, "invoke", invoke),
        mock.patch.object(reviewing, "dry_run", reviewed),
        mock.patch("reconciler.cli.passes.apply_pass", return_value=ExitCode.OK),
        mock.patch("reconciler.cli.nodes.begin", _no_node),
    ):
        yield


def _no_node(*_: object, **__: object) -> Any:
    raise click.UsageError("not here")


def _words() -> Iterator[str]:
    context = click.Context(reconcile)
    for name in COMMANDS:
        yield name
        command = reconcile.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            yield from parameter.opts
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                yield inner
                found = command.get_command(context, inner)
                assert found is not None
                for parameter in found.params:
                    yield from (one for one in parameter.opts if one.startswith("-"))
    yield from (f"--{option.name}" for option in GLOBAL_OPTIONS)
    yield from (option for parameter in reconcile.params for option in parameter.opts)
    yield from (
        "specs",
        "files",
        "state",
        "all",
        "alpha,b*",
        "web",
        "db:53",
        "json",
        "text",
        "\0",
        "=",
        "1h",
        "-1",
        "empty",
        "git:HEAD",
        "status",
    )


TARGETS: Final = (
    Target(
        "command lines",
        "command lines, carried out where they only read",
        _run,
        _seeds,
        Form.TEXT,
        tuple(dict.fromkeys(_words())),
        runs=100,
        length_max=600,
    ),
)
