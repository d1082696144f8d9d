"""What stands where our files shall be, and what limits allow: an error that says what to do; traffic and repairs go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.command_line import run_command
from tests.fork_server import Hook
from tests.machine import Machine
from tests.pipeline.forked import ForkedReconcile
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

LAN = (
    "networks: {lan: {ipam: {config: [{subnet: 10.5.0.0/24}]}, driver_opts: {com.docker.network.bridge.name: br-lan}}}"
)
WEB = "attachments: {web: {networks: [lan]}}"

Fault = Callable[[Path], object]
Scene = Callable[[Machine], AbstractContextManager[object]]


def folder(path: Path) -> None:
    (path / "within").mkdir(parents=True)


def text(path: Path) -> None:
    path.write_text("in the way")


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 256)


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 34)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def circle(path: Path) -> None:
    path.symlink_to(path)


@contextlib.contextmanager
def in_place(place: Callable[[Machine], Path], fault: Fault, machine: Machine) -> Iterator[None]:
    """Something else stands where `place` is, which may be nothing yet."""
    path = place(machine)
    saved = path.with_name(f"{path.name}.saved")
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        path.rename(saved)
    fault(path)
    try:
        yield
    finally:
        remove(path)
        if os.path.lexists(saved):
            saved.rename(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def full(place: Callable[[Machine], Path], machine: Machine) -> Iterator[None]:
    """The folder is on a file system without room."""
    path = place(machine)
    copy = path.with_name(f"{path.name}.copy")
    shutil.copytree(
        path,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns("control.sock", "*.set-aside*", "events.ndjson.1", "*.tmp"),
    )
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", path], check=True)
    try:
        shutil.copytree(copy, path, symlinks=True, dirs_exist_ok=True)
        with contextlib.suppress(OSError), (path / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)
        shutil.rmtree(copy)


@contextlib.contextmanager
def read_only(place: Callable[[Machine], Path], machine: Machine) -> Iterator[None]:
    """Make it read-only for whoever opens it from now on. What is open for writing there would refuse that (EBUSY,
    mount_setattr(2)), so a mount elsewhere becomes so first: its twin is as it is.
    """
    path, elsewhere = place(machine), machine.state_dir.with_name("read-only")
    elsewhere.mkdir() if path.is_dir() else elsewhere.touch()
    for command in (
        ["mount", "--bind", path, elsewhere],
        ["mount", "-o", "remount,bind,ro", elsewhere],
        ["mount", "--bind", elsewhere, path],
        ["umount", elsewhere],
    ):
        subprocess.run(command, check=True)
    assert not os.access(path, os.W_OK)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)
        elsewhere.rmdir() if elsewhere.is_dir() else elsewhere.unlink()


def state(name: str) -> Callable[[Machine], Path]:
    return lambda machine: machine.state_dir / name


def served(name: str) -> Callable[[Machine], Path]:
    return lambda machine: machine.run_dir / name


def scenes() -> Iterator[tuple[str, Scene]]:
    """Give each place with some of what may stand there."""
    for number, name in enumerate(STATE_FILES):
        for kind in (folder, KINDS[number % len(KINDS)]):
            yield f"{kind.__name__} for {name}", partial(in_place, state(name), kind)
    for name, kind in SERVED_FILES.items():
        yield f"{kind.__name__} for run/{name}", partial(in_place, served(name), kind)
    for name in ("", "status"):
        yield f"no room for state/{name}", partial(full, state(name))
        yield f"read-only state/{name}", partial(read_only, state(name))
    yield "read-only state.db", partial(read_only, state("state.db"))
    yield "no room for run", partial(full, served(""))
    yield "read-only run", partial(read_only, served(""))


KINDS = (binary, pipe, huge, link, circle)
STATE_FILES = (
    *(
        "state.db",
        "state.db-journal",
        "last-good.json",
        "verified.json",
        "suspensions.json",
        "rolled-back.json",
        "trial.json",
    ),
    *("events.ndjson", "told.json", "retry.json", ".verified.json.tmp"),
    *("status/summary.json", "status/networks/lan.json", "status/.summary.json.tmp", "status", "status/networks"),
    "status/attachments",
)
SERVED_FILES: dict[str, Fault] = {
    "sandboxes": text,
    "sandboxes/web": link,
    "sandboxes/web/hosts": folder,
    "dns": text,
    "dns/zones.json": folder,
    "dns/server.log": pipe,
}
LIMITS = {
    **{f"{count} descriptors": Hook("tests.limits:descriptors", (count,)) for count in (4, 8, 12, 16, 24)},
    **{f"{size} bytes a file": Hook("tests.limits:file_size", (size,)) for size in (0, 5000)},
    **{f"{size} MiB": Hook("tests.limits:memory", (size,)) for size in (0, 1, 2, 4, 8)},
}


@pytest.fixture
def built(forked: ForkedReconcile, machine: Machine) -> ForkedReconcile:
    machine.add_namespace("web")
    forked.write(lan=LAN, web=WEB)
    forked.ok()
    return forked


def drift(machine: Machine) -> None:
    machine.run("H", "ip", "address", "flush", "dev", "br-lan")


def is_repaired(machine: Machine) -> bool:
    links = machine.ip_json("H", "address", "show", "dev", "br-lan")
    return any(each["local"] == "10.5.0.1" for link in links for each in link["addr_info"])


def test_whatever_stands_where_a_file_of_ours_shall_be_drift_is_repaired(
    built: ForkedReconcile, machine: Machine
) -> None:
    for name, scene in scenes():
        drift(machine)
        with scene(machine):
            done = built(timeout_s=30)

            assert is_repaired(machine), f"{name}: {done.text}"
        assert done.exit_code in (0, 1), f"{name}: {done.text}"
        assert "Traceback" not in done.text, f"{name}: {done.text}"
        assert done.exit_code == 0 or "error: " in done.stderr or "warning: " in done.stderr, name

    assert eventually(lambda: built().exit_code == 0)


def test_a_limit_of_the_process_ends_it_with_an_error_and_nothing_is_lost(
    built: ForkedReconcile, machine: Machine
) -> None:
    for name, limit in LIMITS.items():
        drift(machine)
        done = run_command(built.options(), hooks=[limit], timeout_s=60)

        said = done.stderr.partition("Exception ignored in atexit callback: <bound method Coverage")[
            0
        ]  # `make coverage`
        assert "Traceback" not in said, f"{name}: {done.text}"
        # libnftables ends the process itself where it gets no memory, with a word of its own.
        words = ("error: ", "warning: ", "Memory allocation failure")
        assert done.exit_code == 0 or any(word in done.stderr for word in words), f"{name}: {done.text}"

    built.ok()
    assert is_repaired(machine)


def test_down_leaves_nothing_whatever_became_of_the_state_database(built: ForkedReconcile, machine: Machine) -> None:
    for fault in (binary, text, folder, pipe):
        with in_place(state("state.db"), fault, machine):
            done = built("down")

            assert done.exit_code == 0, f"{fault.__name__}: {done.text}"
            assert "br-lan" not in machine.links("H"), f"{fault.__name__}: {done.text}"
        built.ok()
        assert "br-lan" in machine.links("H")


def test_a_watcher_repairs_and_comes_to_rest_whatever_becomes_of_its_files(
    built: ForkedReconcile, machine: Machine
) -> None:
    with built.start("watch") as watcher:
        try:
            assert eventually(lambda: "web" in machine.summary()["attachments"])
            with contextlib.ExitStack() as faults:
                for name in ("status/networks/lan.json", "suspensions.json", "retry.json", "verified.json", "state.db"):
                    faults.enter_context(in_place(state(name), folder, machine))
                drift(machine)
                assert eventually(lambda: is_repaired(machine))
                assert eventually(lambda: "StatusNotWritten" in json.dumps(machine.summary()["conditions"]))
            with read_only(state(""), machine):
                drift(machine)
                assert eventually(lambda: is_repaired(machine))
            with full(state("status"), machine):
                drift(machine)
                assert eventually(lambda: is_repaired(machine))
            assert eventually(lambda: machine.summary()["conditions"][0]["status"] == "True")
            assert watcher.poll() is None
        finally:
            watcher.send_signal(signal.SIGTERM)
    assert watcher.returncode == 0
