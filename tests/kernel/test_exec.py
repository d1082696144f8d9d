"""`reconcile exec` and the status commands on a real kernel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.machine import Machine

pytestmark = pytest.mark.kernel

SPECS = """\
networks:
  front: {ipam: {config: [{subnet: 10.7.0.0/24, gateway: 10.7.0.1}]}}
attachments:
  web: {hostname: webhost, networks: {front: {ipv4_address: 10.7.0.10}}}
  db: {networks: {front: {}}}
  shared: {network_mode: host}
"""


@pytest.fixture
def converged(reconcile: Reconcile) -> Reconcile:
    reconcile.write(specs=SPECS)
    reconcile.ok()
    return reconcile


def test_command_sees_the_sandbox_s_links_and_reaches_its_neighbour(converged: Reconcile) -> None:
    addresses = json.loads(converged.ok("exec", "web", "--", "ip", "-json", "address", "show", "eth0").stdout)

    assert addresses[0]["addr_info"][0]["local"] == "10.7.0.10"
    assert converged.ok("exec", "db", "ls", "/sys/class/net").stdout.split() == ["eth0", "lo"]
    converged.ok("exec", "db", "--", "ping", "-c1", "-W2", "10.7.0.10")


def test_command_sees_the_sandbox_s_hosts_and_resolv_conf(converged: Reconcile, machine: Machine) -> None:
    before = [Path(f"/etc/{name}").read_bytes() for name in ("hosts", "resolv.conf")]

    hosts = converged.ok("exec", "web", "cat", "/etc/hosts").stdout
    resolv_conf = converged.ok("exec", "web", "cat", "/etc/resolv.conf").stdout

    assert hosts.endswith("10.7.0.10\twebhost\n")
    assert resolv_conf == (machine.run_dir / "sandboxes/web/resolv.conf").read_text()
    assert [Path(f"/etc/{name}").read_bytes() for name in ("hosts", "resolv.conf")] == before


def test_attachment_is_found_by_the_beginning_of_its_id(converged: Reconcile) -> None:
    full_id = converged.ok("attachment", "ls", "-q", "--no-trunc", "--filter", "name=web").stdout.strip()

    assert converged.ok("exec", full_id[:20], "echo", "-n", "hello").stdout == "hello"


def test_host_mode_runs_in_the_namespace_that_plays_the_host(converged: Reconcile) -> None:
    links = converged.ok("exec", "shared", "ls", "/sys/class/net").stdout.split()

    assert any(link.startswith("br-") for link in links)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("no-such-command",), 127),
        (("/etc/passwd",), 126),
    ],
    ids=["its own", "not found", "not executable"],
)
def test_exit_code_is_that_of_the_command(converged: Reconcile, command: tuple[str, ...], code: int) -> None:
    assert converged("exec", "web", "--", *command).exit_code == code


def test_command_gets_signals_as_a_shell_would_give_them(converged: Reconcile) -> None:
    ignored = converged.ok("exec", "web", "--", "grep", "SigIgn", "/proc/self/status").stdout

    assert int(ignored.split()[1], 16) & (1 << 12) == 0, "SIGPIPE must not stay ignored"


def test_sandbox_that_is_gone_is_told(converged: Reconcile, machine: Machine) -> None:
    machine.delete_namespace("db")

    ran = converged("exec", "db", "true")

    assert ran.exit_code == ExitCode.FAILED
    assert "there is no network namespace at /run/netns/db" in ran.stderr


def test_mounts_of_the_command_stay_its_own(converged: Reconcile) -> None:
    before = Path("/proc/self/mountinfo").read_text()

    converged.ok("exec", "web", "mount", "-t", "tmpfs", "none", "/mnt")

    assert Path("/proc/self/mountinfo").read_text() == before


def test_process_of_a_pidfile_is_found_when_it_is_needed(
    reconcile: Reconcile, machine: Machine, tmp_path: Path
) -> None:
    machine.add_namespace("theirs")
    pidfile = tmp_path / "pid"
    with machine.inside("theirs"):
        child = os.fork()
        if child == 0:
            os.execvp("sleep", ("sleep", "60"))
    try:
        pidfile.write_text(f"{child}\n")
        reconcile.write(specs=f"attachments:\n  web: {{sandbox: {{pidfile: {pidfile}}}}}\n")
        reconcile.ok()

        assert reconcile.ok("exec", "web", "ls", "/sys/class/net").stdout.split() == ["eth0", "lo"]
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_second_pass_leaves_every_status_file_alone(converged: Reconcile, machine: Machine) -> None:
    def stamps() -> dict[Path, tuple[bytes, int]]:
        return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in machine.status_dir.rglob("*.json")}

    before = stamps()
    converged.ok()

    assert stamps() == before
    assert len(before) == 8, "bridge, front, host, none; db, shared, web; the summary"


def test_drift_is_counted_when_it_is_repaired(converged: Reconcile, machine: Machine) -> None:
    machine.run("", "ip", "-n", "web", "address", "flush", "dev", "eth0")

    converged.ok()

    summary = machine.summary()
    assert summary["attachments"]["web"]["driftRepaired"] >= 1
    assert summary["attachments"]["db"]["driftRepaired"] == 0


def test_dry_run_is_the_same_twice_and_writes_nothing(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(specs=SPECS)

    first = reconcile("--dry-run", "--output", "json", "--detailed-exitcode")
    second = reconcile("--dry-run", "--output", "json", "--detailed-exitcode")

    assert (first.exit_code, first.stdout) == (ExitCode.CHANGES, second.stdout)
    assert not machine.state_dir.exists()
    reconcile.ok()
    assert reconcile("--dry-run", "--detailed-exitcode").exit_code == ExitCode.OK
