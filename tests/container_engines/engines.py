"""Real container engines for tests: on the private machine, in a folder of their own, gone with their containers at the end.

`install.sh` beside this file gets them. What bridges Docker makes are in a network namespace of its own, and neither makes firewall
rules, so they touch no network.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import ClassVar

import pytest

from tests.private_namespaces import mount
from tests.waiting import eventually, exit_code_of, patient

IMAGE = "busybox"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_POLICY = Path("/etc/containers/policy.json")
"""Of the private machine; Podman imports nothing without."""

_START_DEADLINE_S = 30.0


class EngineMissing(Exception):
    """There is no engine, or it cannot run here; `str()` says why."""


@dataclass
class ContainerEngine:
    """One engine, with an image `busybox` that has nothing but /bin/busybox. The command lines of both are alike in what we use."""

    socket: ClassVar[Path]
    programs: Path
    folder: Path
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def daemon(self) -> Sequence[str]:
        """The command that serves the API in the foreground."""
        raise NotImplementedError

    @property
    def client(self) -> Sequence[str]:
        raise NotImplementedError

    @property
    def run_options(self) -> Sequence[str]:
        """What every container needs here."""
        return ("--stop-signal=KILL", f"--cgroup-parent={_own_groups()}")

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "PATH": os.pathsep.join((str(self.programs), os.environ["PATH"]))}

    def is_up(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        log_path = self.folder / "log"
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.daemon, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        if not eventually(self.is_up, _START_DEADLINE_S, 0.05):
            self.kill()
            raise EngineMissing(f"{type(self).__name__} does not come up:\n{log_path.read_text()[-2000:]}")

    def kill(self) -> None:
        """Kill -9. Containers go on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it in good order."""
        assert self.process is not None
        self.process.terminate()
        exit_code_of(self.process, 30)
        self.process = None

    def cli(self, *arguments: str, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.client, *arguments],
            input=stdin.decode("latin-1"),
            encoding="latin-1",
            capture_output=True,
            timeout=patient(60),
            check=False,
            env=self.environment,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def run(self, name: str, *options: str, network: str = "none", command: Sequence[str] = ("sleep", "600")) -> str:
        """Run busybox in the background; give the container's id."""
        arguments = ("--name", name, "--network", network, *self.run_options, *options)
        return self.cli("run", "--detach", *arguments, IMAGE, "/bin/busybox", *command).stdout.strip()

    def inside(self, name: str, *command: str, check: bool = True) -> str:
        """Run a busybox command in a container's network and files; give what it prints, "" where `check` allows that none runs.

        Not by `exec`, which is a start of five programs.
        """
        pid = self.pid(name)
        if not pid and not check:
            return ""
        assert pid, f"container {name} does not run"
        entered = ("nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--wd=/", "/bin/busybox", *command)
        return subprocess.run(entered, capture_output=True, text=True, timeout=patient(60), check=check).stdout

    def read(self, name: str, path: str) -> str:
        """Give a file as a container sees it, "" when none runs."""
        pid = self.pid(name)
        return Path(f"/proc/{pid}/root", path.lstrip("/")).read_text() if pid else ""

    def pid(self, name: str) -> int:
        """Give the process of a container, 0 when it does not run."""
        return int(json.loads(self.ask("GET", f"/containers/{name}/json"))["State"]["Pid"])

    def remove_containers(self) -> None:
        for found in json.loads(self.ask("GET", "/containers/json?all=true")):
            self.ask("DELETE", f"/containers/{found['Id']}?force=true")

    def ask(self, method: str, path: str) -> bytes:
        """Call the API: a start of either command line costs more than what most of its commands do."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patient(60))
            connection.connect(str(self.socket))
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n".encode())
            response = HTTPResponse(connection, method=method)
            response.begin()
            body = response.read()
        if response.status >= 400:
            raise AssertionError(f"{method} {path}: {response.status} {body.decode()}")
        return body

    def import_image(self) -> None:
        binaries = self.folder / "image" / "bin"
        binaries.mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "", binaries)
        archive = subprocess.run(("tar", "-C", str(binaries.parent), "-c", "."), capture_output=True, check=True).stdout
        self.cli("import", "-", IMAGE, stdin=archive)


class Docker(ContainerEngine):
    """dockerd, with its containerd and runc. Options may be as `--live-restore`."""

    socket = Path("/run/docker.sock")

    @property
    def daemon(self) -> Sequence[str]:
        nothing = ("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--userland-proxy=false")
        folders = (f"--data-root={self.folder}/data", f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid")
        plain = ("--storage-driver=vfs", "--exec-opt=native.cgroupdriver=cgroupfs")
        apart = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
        return (*apart, "dockerd", f"--host=unix://{self.socket}", *plain, *nothing, *folders, *self.options)

    @property
    def client(self) -> Sequence[str]:
        return (str(self.programs / "docker"), f"--host=unix://{self.socket}")

    @property
    def environment(self) -> Mapping[str, str]:
        return {**super().environment, "DOCKER_CONFIG": str(self.folder)}

    def is_up(self) -> bool:
        try:
            return self.ask("GET", "/_ping") == b"OK"
        except (AssertionError, OSError, HTTPException):
            return False

    def kill(self) -> None:
        """With the daemon behind it: its id would be taken for one that runs where orphans are reaped slowly."""
        super().kill()
        for pidfile in (self.folder / "exec" / "containerd" / "containerd.pid", self.folder / "pid"):
            if pidfile.exists():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pidfile.read_text()), signal.SIGKILL)
                pidfile.unlink()


class Podman(ContainerEngine):
    """`podman system service` for the API; its containers need no daemon."""

    socket = Path("/run/podman/podman.sock")

    @property
    def run_options(self) -> Sequence[str]:
        """Without its defaults, for which not every machine has a controller and the right to raise limits."""
        return (*super().run_options, "--pids-limit=-1", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")

    @property
    def daemon(self) -> Sequence[str]:
        self.socket.parent.mkdir(exist_ok=True)
        _POLICY.parent.mkdir(exist_ok=True)
        _POLICY.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return (*self.client, "system", "service", "--time=0", f"unix://{self.socket}")

    @property
    def client(self) -> Sequence[str]:
        folders = (f"--root={self.folder}/data", f"--runroot={self.folder}/run", f"--tmpdir={self.folder}/tmp")
        programs = (f"--conmon={self.programs}/conmon", f"--runtime={self.programs}/runc")
        plain = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=file")
        return (str(self.programs / "podman"), *folders, *programs, *plain)

    @property
    def environment(self) -> Mapping[str, str]:
        configuration, helpers = self.folder / "containers.conf", self.folder / "helpers"
        configuration.write_text(
            '[containers]\nseccomp_profile = "unconfined"\n'
            f'[network]\nnetwork_backend = "netavark"\n[engine]\nhelper_binaries_dir = ["{helpers}"]\n'
        )
        if (
            not helpers.exists()
        ):  # netavark is called for containers that run on a network, of which there are none here
            helpers.mkdir()
            (helpers / "netavark").symlink_to(shutil.which("true") or "/bin/true")
        found = {**super().environment, "LD_LIBRARY_PATH": str(self.programs / "lib")}
        return {**found, "CONTAINERS_CONF": str(configuration)}

    def is_up(self) -> bool:
        return self.socket.exists()

    def kill(self) -> None:
        super().kill()
        self.socket.unlink(missing_ok=True)


@contextmanager
def running(kind: type[ContainerEngine], *options: str) -> Iterator[ContainerEngine]:
    """Run an engine meanwhile. Skips the test where a person has none; fails where all must be there."""
    try:
        with _running(kind, *options) as engine:
            yield engine
    except EngineMissing as error:
        if os.environ.get("CI"):
            pytest.fail(f"tests with containers must run in CI: {error}", pytrace=False)
        pytest.skip(str(error))


@contextmanager
def _running(kind: type[ContainerEngine], *options: str) -> Iterator[ContainerEngine]:
    programs = _programs()
    _mount_control_groups()
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as folder:
        engine = kind(programs=programs, folder=Path(folder), options=options)
        engine.start()
        try:
            engine.import_image()
            yield engine
        finally:
            if engine.process is None:
                engine.start()
            engine.remove_containers()
            engine.stop()
            _remove_own_groups()


def _programs() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "network-reconciler" / "container-engines"
    if not (folder / "complete").exists():
        raise EngineMissing("container engines are missing: run tests/container_engines/install.sh")
    if shutil.which("busybox") is None:
        raise EngineMissing("not installed: busybox-static")
    return folder


def _mount_control_groups() -> None:
    """Give runc the one hierarchy that it needs; which one the machine has does not matter to others."""
    if os.path.ismount(_CONTROL_GROUPS):
        return
    try:
        mount("none", str(_CONTROL_GROUPS), "cgroup2", 0)
    except OSError as error:
        raise EngineMissing(f"no control groups for containers: {error.strerror}") from error


def _own_groups() -> str:
    return f"/reconciler-tests-{os.getpid()}"


def _remove_own_groups() -> None:
    groups = Path(f"{_CONTROL_GROUPS}{_own_groups()}")
    for each in (*groups.glob("*"), groups):
        with contextlib.suppress(OSError):
            each.rmdir()
