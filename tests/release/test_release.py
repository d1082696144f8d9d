"""What `make dist` builds: the same bytes each time, named packages, and a Debian package that works where nothing else is."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.machine import Machine
from tests.systemd_unit import assignments, confined
from tests.waiting import exit_code_of, patient

ROOT = Path(__file__).parent.parent.parent
DEBIAN = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "network-reconciler" / "debian-12"
UNIT = "usr/lib/systemd/system/reconciler-watch.service"
SPECS = """
networks: {front: {ipam: {config: [{subnet: 172.18.0.0/16}]}}}
attachments: {web: {networks: [front]}, db: {networks: [front]}}
"""


def built(folder: Path, *names: str) -> Mapping[str, str]:
    """Build into a folder; give the sha256 of each file by its name."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "dist.py", folder, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {name: digest for digest, name in (line.split() for line in done.stdout.splitlines())}


def test_the_locks_have_all_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {
        "service": [*project["dependencies"], *extras["consul"], *extras["zookeeper"]],
        "dev": [*project["dependencies"], *extras["consul"], *extras["zookeeper"], *extras["dev"]],
        "fuzz": [*project["dependencies"], *extras["fuzz"]],
    }
    for lock, requirements in asked.items():
        pairs = re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / f".ci/locks/{lock}.txt").read_text(), re.MULTILINE)
        for requirement in map(Requirement, requirements):
            if requirement.name != project["name"]:
                locked = [version for name, version in pairs if name == canonicalize_name(requirement.name)]
                assert any(version in requirement.specifier for version in locked), f"{requirement}: run make lock"


@pytest.mark.long
def test_the_same_commit_gives_the_same_bytes(tmp_path: Path) -> None:
    first = built(tmp_path / "first", "wheel", "sdist")
    os.utime(ROOT / "README.md")
    second = built(tmp_path / "second", "wheel", "sdist")

    assert first == second
    assert sorted(name.rsplit(".", 1)[1] for name in first) == ["gz", "whl"]


@pytest.mark.long
def test_the_bill_of_materials_names_each_locked_package_with_its_hashes(tmp_path: Path) -> None:
    built(tmp_path / "dist", "sbom")
    (path,) = (tmp_path / "dist").iterdir()
    bill = json.loads(path.read_text())
    locked = re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / ".ci/locks/service.txt").read_text(), re.MULTILINE)

    found = {(part["name"], part["version"]) for part in bill["components"]}
    assert found == set(locked)
    assert bill["metadata"]["component"]["name"] == "network-reconciler"
    assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Path]:
    """Lay a small Debian 12 out, writable, with /proc, /sys, /dev and /run of its own; take it away again."""
    if not (DEBIAN / "complete").exists():
        if os.environ.get("CI"):
            pytest.fail(f"{DEBIAN} must be there in CI (tests/release/install.sh)")
        pytest.skip("tests/release/install.sh has to be run as root")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Debian 12 has Python 3.11")
    root = tmp_path / "root"
    for folder in (root, tmp_path / "upper", tmp_path / "work"):
        folder.mkdir()
    layers = f"lowerdir={DEBIAN}/root,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    # The upper layer may be on an overlay itself (a container's disk), which the kernel refuses: then a copy.
    mounted = subprocess.run(["mount", "-t", "overlay", "debian", "-o", layers, root], check=False, capture_output=True)
    if mounted.returncode != 0:
        subprocess.run(["cp", "-a", f"{DEBIAN}/root/.", root], check=True)
    # Else dpkg has each of thousands of files flushed to a disk that others may keep busy, for minutes.
    (root / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    for folder in ("dev", "proc", "sys"):
        subprocess.run(["mount", "--rbind", f"/{folder}", root / folder], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "run", root / "run"], check=True)
    yield root
    subprocess.run(
        ["umount", "--recursive", "--lazy", *(root / name for name in ("dev", "proc", "sys", "run"))], check=True
    )
    if mounted.returncode == 0:
        subprocess.run(["umount", "--recursive", "--lazy", root], check=True)
    shutil.rmtree(root)


def inside(root: Path, *command: str) -> str:
    """Run a command as on the machine of which root is the disk; give what it printed."""
    done = subprocess.run(["chroot", root, *command], capture_output=True, text=True, check=False, timeout=patient(60))
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.long
@pytest.mark.kernel
def test_the_debian_package_works_where_nothing_else_is(
    debian: Path, machine: Machine, host_ns: str, tmp_path: Path
) -> None:
    """Installed by dpkg, started as its unit starts it, removed without a trace while the networks stay up."""
    built(tmp_path / "dist", "debian")
    (package,) = (tmp_path / "dist").glob("*.deb")
    shutil.copy(package, debian / "tmp" / "ours.deb")

    inside(debian, "dpkg", "--install", "/tmp/ours.deb")
    assert inside(debian, "reconcile", "--version").split()[-1] == package.name.split("_")[1]
    assert inside(debian, "dpkg", "--verify", "network-reconciler") == ""

    unit = dict(assignments(debian / UNIT))
    specs = debian / unit["WorkingDirectory"].removeprefix("/") / "specs"
    specs.mkdir(parents=True)
    (specs / "web.yaml").write_text(SPECS)
    for folder in (f"var/lib/{unit['StateDirectory']}", f"run/{unit['RuntimeDirectory']}"):
        (debian / folder).mkdir()
    start = ["nsenter", f"--net={machine.path(host_ns)}", "chroot", debian]
    service = ["/usr/bin/env", "--ignore-environment", f"--chdir={unit['WorkingDirectory']}", unit["Environment"]]
    service += ["NOTIFY_SOCKET=/run/notify"]
    ping = ("nsenter", f"--net={debian}/run/netns/web", "ping", "-c1", "-W5", "172.18.0.1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(debian / "run" / "notify"))
        manager.settimeout(patient(30))
        watcher = subprocess.Popen(
            [*start, *confined(debian / UNIT, [*service, *unit["ExecStart"].split()], "/usr/bin/python3")],
            stdin=subprocess.DEVNULL,
        )
        try:
            while b"READY=1" not in manager.recv(4096):
                pass
            subprocess.run(ping, check=True, capture_output=True)
            inside(debian, "dpkg", "--install", "/tmp/ours.deb")  # the same again
            subprocess.run(ping, check=True, capture_output=True)
        finally:
            watcher.terminate()
            exit_code = exit_code_of(watcher)
    assert exit_code == 0
    subprocess.run(ping, check=True, capture_output=True)
    subprocess.run([*start, *service, "/usr/bin/env", "reconcile", "down"], check=True, stdin=subprocess.DEVNULL)
    inside(debian, "dpkg", "--purge", "network-reconciler")
    assert inside(debian, "find", "/usr", "/etc", "/var", "-name", "*reconcile*").split() == [
        "/etc/reconciler",
        "/var/lib/reconciler",
    ]
