"""The units of examples/systemd: systemd accepts them, they expose little, and what they run works with no more than that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from reconciler.model.identifiers import GATEWAY_NETWORK, bridge_link_name, network_id, veth_link_name
from tests.command_line import Reconcile, command_environment
from tests.machine import Machine
from tests.systemd_unit import assignments, confined
from tests.waiting import eventually, exit_code_of, patient

FOLDER = Path(__file__).parent.parent.parent / "examples" / "systemd"
WATCHER = FOLDER / "reconciler-watch.service"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))

EXPOSURE_MAX = 5.0
"""Of 10, as `systemd-analyze security` counts; what is left is explained in the unit."""

SPECS = """
networks: {front: {ipam: {config: [{subnet: 172.18.0.0/16}]}}}
attachments: {web: {networks: [front]}, db: {networks: [front]}}
"""

MOUNTING = frozenset(
    {
        "BindPaths",
        "BindReadOnlyPaths",
        "DynamicUser",
        "ExecPaths",
        "InaccessiblePaths",
        "MountFlags",
        "NoExecPaths",
        "PrivateDevices",
        "PrivateIPC",
        "PrivateMounts",
        "PrivateTmp",
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHome",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectProc",
        "ProtectSystem",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "RootDirectory",
        "RootImage",
        "TemporaryFileSystem",
    }
)
"""What gives a service mounts of its own (systemd.exec(5)), in which the namespaces that it makes would be lost."""


def settings(name: str) -> list[tuple[str, str]]:
    return assignments(FOLDER / name)


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze must be there in CI (Debian package systemd)")
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_against_the_unit(unit: str) -> None:
    done = analyzed("verify", "--man=no", str(FOLDER / unit))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS)
def test_unit_exposes_little(unit: str) -> None:
    threshold = f"--threshold={int(EXPOSURE_MAX * 10)}"
    done = analyzed("security", "--offline=true", "--no-pager", threshold, str(FOLDER / unit))

    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX
    assert done.returncode == 0


@pytest.mark.parametrize("unit", UNITS)
def test_unit_has_no_mounts_of_its_own(unit: str) -> None:
    assert not {key for key, _ in settings(unit)} & MOUNTING


@pytest.mark.parametrize("unit", UNITS)
def test_unit_leaves_what_passes_need_and_no_more(unit: str) -> None:
    found = settings(unit)

    (kept,) = [value for key, value in found if key == "CapabilityBoundingSet"]
    needed = ("NET_ADMIN", "NET_BROADCAST", "SYS_ADMIN", "SYS_PTRACE", "NET_BIND_SERVICE", "LEASE")
    assert set(kept.split()) == {f"CAP_{name}" for name in needed}
    assert {("AmbientCapabilities", ""), ("NoNewPrivileges", "yes"), ("DevicePolicy", "closed")} <= {*found}
    assert not [key for key, _ in found if key in ("DeviceAllow", "User", "SupplementaryGroups")]


@pytest.mark.parametrize("unit", UNITS)
def test_unit_starts_what_the_install_page_installs(unit: str) -> None:
    """And leaves every setting to config.yaml: an option in a unit would win over it."""
    page = FOLDER.parent.parent / "docs" / "operate" / "install.md"
    steps = page.read_text().split("```")[1]
    found = dict(settings(unit))
    prefix = re.search(r"python3 -m venv (\S+)", steps)
    start = found["ExecStart"].split()

    assert prefix
    assert found["Environment"].startswith(f"PATH={prefix[1]}/bin:")
    assert start[:2] == ["/usr/bin/env", "reconcile"]
    assert [word for word in start if word.startswith("-")] == []
    folder = found["WorkingDirectory"]
    assert f"mkdir -p {folder} && cp -r specs {folder}/ " in steps
    assert f"cp {prefix[1]}/lib/systemd/system/{UNITS[-1]} " in steps


def test_both_units_are_confined_alike() -> None:
    keys = ("Capability", "Restrict", "SystemCall", "Protect", "Lock", "Memory", "NoNew", "Device", "Keyring", "UMask")
    first, second = ([pair for pair in settings(unit) if pair[0].startswith(keys)] for unit in UNITS)

    assert first == second


@pytest.mark.kernel
def test_a_pass_works_with_no_more_than_the_unit_leaves_it(reconcile: Reconcile) -> None:
    reconcile.write(web=SPECS)

    for arguments in ((), ("down",)):
        done = run(confined(WATCHER, [*reconcile.command(), *arguments]))
        assert done.returncode == 0, done.stderr
        if not arguments:
            assert reconcile.machine.ping("web", "172.18.0.1")


@pytest.mark.kernel
def test_the_watcher_repairs_with_no_more_than_the_unit_leaves_it(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(web=SPECS)
    command = confined(WATCHER, [*reconcile.command(), "watch"])
    watcher = subprocess.Popen(command, env=command_environment(), stdin=subprocess.DEVNULL)
    try:
        assert eventually((machine.status_dir / "summary.json").exists, 20), f"ended with {watcher.poll()}"
        machine.run("web", "ip", "address", "flush", "dev", "eth0")
        assert machine.ping("web", "172.18.0.1")
        machine.run("web", "ip", "link", "delete", "eth0")
        assert machine.ping("web", "172.18.0.1")
    finally:
        watcher.terminate()
        exit_code = exit_code_of(watcher)
    assert exit_code == 0
    reconcile.ok("down")


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=command_environment(), capture_output=True, text=True, check=False, timeout=patient(60)
    )


def globs(name: str) -> list[str]:
    """Give the patterns of link names in a file for networkd or NetworkManager."""
    found = dict(settings(name))
    text = found.get("Name") or found["unmanaged-devices"].replace("interface-name:", "").replace(";", " ")
    return text.split()


@pytest.mark.parametrize("name", ["05-reconciler.network", "NetworkManager.conf"])
def test_our_links_and_no_others_are_left_alone_by_their_names(name: str) -> None:
    patterns = globs(name)
    ours = [
        bridge_link_name(network_id("alpha", "front")),
        veth_link_name("0123456789abcdef"),
        "docker0",
        GATEWAY_NETWORK,
    ]
    others = ["eth0", "br-lan", "br0", "lo", "wlan0", "veth1234", "docker1", "bridge0"]

    def is_meant(link: str) -> bool:
        return any(fnmatchcase(link, pattern) for pattern in patterns)

    assert [link for link in ours if not is_meant(link)] == []
    assert [link for link in others if is_meant(link)] == []


def test_every_file_is_told_of_in_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text()

    assert [path.name for path in FOLDER.iterdir() if path.name not in readme and path.name != "README.md"] == []
