"""`reconcile import` of files and engines: what is there in, specs that load out; or an error, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from reconciler.importing.default_route import link_of
from reconciler.spec.load import load_specs
from tests.fakes.scripted_engine import Script, saying, scripted_engine

GOLDEN = Path(__file__).parents[1] / "importing" / "golden"

Import = Callable[..., tuple[int, str, str]]


@pytest.fixture
def import_(capsys: pytest.CaptureFixture[str]) -> Import:
    def run(*arguments: object) -> tuple[int, str, str]:
        code = main(["import", *map(str, arguments)])
        return (code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("source", ["cni", "netavark", "quadlet"])
def test_folder_comes_as_specs_that_load_and_faulty_files_are_named(
    import_: Import, source: str, tmp_path: Path
) -> None:
    code, out, err = import_(source, GOLDEN / f"{source}-faulty", "--output", tmp_path / "specs")

    assert (code, out) == (ExitCode.OK, "")
    loaded = load_specs(tmp_path / "specs", host="here")
    assert loaded.faults == ()
    assert "good" in {network.name for network in loaded.wanted.networks}
    assert ": not carried: " in err


@pytest.mark.parametrize("source", ["cni", "netavark", "quadlet"])
def test_what_is_not_there_or_holds_no_such_file_is_an_error(import_: Import, source: str, tmp_path: Path) -> None:
    code, _, err = import_(source, tmp_path / "gone", "--output", tmp_path / "specs")
    assert code == ExitCode.BAD_SPECS
    assert f"{tmp_path}/gone: there is no such file or folder" in err

    code, _, err = import_(source, tmp_path)
    assert code == ExitCode.BAD_SPECS
    assert "there is no file *." in err
    assert not (tmp_path / "specs").exists()


@pytest.mark.parametrize("source", ["docker", "podman"])
@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(None, "no container engine answers at", id="absent"),
        pytest.param(saying(b"hello"), "no answer of a container engine", id="no-engine"),
    ],
)
def test_an_engine_that_cannot_be_asked_is_an_error_and_nothing_is_written(
    import_: Import, source: str, script: Script | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "engine.sock"
    with scripted_engine(path, script) if script else nullcontext():
        code, out, err = import_(source, "--container-engine", f"unix://{path}", "--output", tmp_path / "specs")

    assert (code, out) == (ExitCode.FAILED, "")
    assert said in err
    assert not (tmp_path / "specs").exists()


def test_files_may_be_named(import_: Import) -> None:
    code, out, _ = import_("cni", GOLDEN / "cni" / "10-mynet.conf", GOLDEN / "cni" / "60-router.conf")

    assert code == ExitCode.OK
    assert "mynet:" in out
    assert "router:" in out


def test_the_default_route_with_the_smallest_metric_counts() -> None:
    head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
    lines = [
        "eth2 00000000 010200C0 0002 0 0 0 00000000 0 0 0",  # not up
        "eth1 00000000 010200C0 0003 0 0 200 00000000 0 0 0",
        "eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0",
        "eth3 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0",
    ]
    assert link_of(head + "\n".join(lines)) == "eth0"
    assert link_of(head) == ""
