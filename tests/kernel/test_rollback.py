"""The way back: to the last good specs when new ones cannot be verified, or when nobody confirmed them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile, run_command
from tests.fork_server import Hook
from tests.machine import Machine
from tests.waiting import eventually, exit_code_of, patient

pytestmark = pytest.mark.kernel

GOOD = """\
networks:
  front: {ipam: {config: [{subnet: 10.7.0.0/24}]}}
attachments:
  web: {networks: {front: {ipv4_address: 10.7.0.10}}}
"""
NEW = """\
networks:
  front: {ipam: {config: [{subnet: 10.8.0.0/24}]}}
  more: {protect: true}
  and: {}
  even: {}
attachments:
  web: {networks: {front: {ipv4_address: 10.8.0.10}}}
  db: {networks: {front: {}, more: {}}}
"""
BAD = NEW.replace("and: {}", "and: {driver_opts: {com.docker.network.bridge.name: foreign0}}")


@pytest.fixture
def converged(reconcile: Reconcile, machine: Machine, host_ns: str) -> Reconcile:
    machine.run("", "ip", "-n", host_ns, "link", "add", "foreign0", "type", "bridge")
    reconcile.write(all=GOOD)
    reconcile.ok()
    return reconcile


def is_good(machine: Machine, host_ns: str) -> bool:
    """Tell whether the host is as GOOD has it, and nothing else of ours is there."""
    bridges = [name for name in machine.links(host_ns) if name.startswith("br-")]
    return (
        len(bridges) == 1
        and machine.namespaces() == [host_ns, "web"]
        and address(machine, "web") == "10.7.0.10"
        and machine.ping("web", "10.7.0.1", deadline_s=2)
    )


def address(machine: Machine, ns: str) -> str | None:
    found = machine.run("", "ip", "-n", ns, "-json", "-4", "address", "show", "eth0", check=False).stdout
    addresses = json.loads(found or "[]")
    return str(addresses[0]["addr_info"][0]["local"]) if addresses and addresses[0]["addr_info"] else None


@contextmanager
def trial(reconcile: Reconcile, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = reconcile.start("try", *arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=patient(10))


def pending(machine: Machine) -> bool:
    return (machine.state_dir / "trial.json").exists()


def wait_until_applied(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "on trial for" in line:
            return
    raise AssertionError("".join(lines))


def guardians(machine: Machine) -> list[int]:
    """Give the processes that have the guardian's log open."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if os.readlink(process / "fd/2") == str(machine.state_dir / "trial.log"):
                    found.append(int(process.name))
            except OSError:
                continue
    return found


def test_specs_that_cannot_be_verified_are_rolled_back_and_not_tried_again(
    converged: Reconcile, machine: Machine, host_ns: str
) -> None:
    converged.write(all=BAD)

    first = converged("--rollback-on-failure")

    assert first.exit_code == ExitCode.ROLLED_BACK, first.text
    assert is_good(machine, host_ns)
    told = machine.summary()["conditions"][0]
    assert told["reason"] == "RolledBack"
    assert "foreign0" in told["message"]
    assert machine.summary()["networks"]["front"]["conditions"][0]["status"] == "True"
    assert machine.summary()["driftRepaired"] == 0

    for arguments in (("--rollback-on-failure",), ()):
        again = converged(*arguments)
        assert again.exit_code == ExitCode.ROLLED_BACK
        assert "created" not in again.stderr.replace("0 created", "")
        assert is_good(machine, host_ns)

    converged.write(all=NEW)
    converged.ok("--rollback-on-failure")
    assert address(machine, "web") == "10.8.0.10"
    assert not (machine.state_dir / "rolled-back.json").exists()


def test_sandbox_that_is_not_there_is_no_reason_to_go_back(converged: Reconcile, machine: Machine) -> None:
    converged.write(all=NEW + "  absent: {sandbox: {netns: /run/netns/absent}, networks: {front: {}}}\n")

    assert converged("--rollback-on-failure").exit_code == ExitCode.FAILED

    assert address(machine, "web") == "10.8.0.10"


def test_failed_specs_stay_without_the_option(converged: Reconcile, machine: Machine) -> None:
    converged.write(all=BAD)

    assert converged().exit_code == ExitCode.FAILED

    assert address(machine, "web") == "10.8.0.10"


def test_there_is_no_way_back_without_good_specs(reconcile: Reconcile, machine: Machine, host_ns: str) -> None:
    machine.run("", "ip", "-n", host_ns, "link", "add", "foreign0", "type", "bridge")
    reconcile.write(all=BAD)

    assert reconcile("--rollback-on-failure").exit_code == ExitCode.FAILED
    assert reconcile("try").exit_code == ExitCode.GUARDED


def test_way_back_reads_templates_and_variables_of_then(reconcile: Reconcile, machine: Machine, host_ns: str) -> None:
    machine.run("", "ip", "-n", host_ns, "link", "add", "foreign0", "type", "bridge")
    reconcile.write(vars="third: 7\n")
    (reconcile.specs / "all.yaml.j2").write_text(GOOD.replace("10.7.", "10.{{ third }}."))
    reconcile.ok()
    reconcile.write(all=BAD)

    assert reconcile("--rollback-on-failure").exit_code == ExitCode.ROLLED_BACK

    assert is_good(machine, host_ns)


def test_confirmed_specs_stay(converged: Reconcile, machine: Machine) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "60") as process:
        wait_until_applied(process)
        assert address(machine, "web") == "10.8.0.10"
        assert converged().exit_code == ExitCode.LOCKED

        converged.ok("try", "--confirm")

        assert exit_code_of(process) == ExitCode.OK
    assert eventually(lambda: not guardians(machine))
    assert not pending(machine)
    converged.ok()
    assert address(machine, "web") == "10.8.0.10"
    converged.write(all=BAD)
    assert converged("--rollback-on-failure").exit_code == ExitCode.ROLLED_BACK
    assert address(machine, "db") is not None


def test_signal_confirms(converged: Reconcile, machine: Machine) -> None:
    converged.write(all=NEW)
    with trial(converged) as process:
        wait_until_applied(process)
        process.send_signal(signal.SIGUSR1)

        assert exit_code_of(process) == ExitCode.OK
    assert address(machine, "web") == "10.8.0.10"


def test_enter_on_a_terminal_confirms(converged: Reconcile, machine: Machine) -> None:
    converged.write(all=NEW)
    ours, theirs = pty.openpty()
    try:
        with converged.start("try", stdin=theirs, stderr=subprocess.PIPE, text=True) as process:
            wait_until_applied(process)
            os.write(ours, b"\n")
            assert exit_code_of(process) == ExitCode.OK
    finally:
        os.close(ours)
        os.close(theirs)
    assert address(machine, "web") == "10.8.0.10"


def test_unconfirmed_specs_are_taken_back_in_time(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=NEW)
    arguments = (*converged.options(), "try", "--timeout", "1")

    done = run_command(arguments, hooks=[Hook("tests.pipeline.handicaps:tells_late")])

    assert done.exit_code == ExitCode.ROLLED_BACK, done.text
    assert is_good(machine, host_ns)
    assert machine.summary()["conditions"][0]["reason"] == "RolledBack", (
        "whoever waits for the end finds it in the status"
    )
    assert converged().exit_code == ExitCode.ROLLED_BACK
    assert is_good(machine, host_ns)
    assert converged("try", "--confirm").exit_code == ExitCode.FAILED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_trial_is_taken_back_at_once(
    converged: Reconcile, machine: Machine, host_ns: str, number: signal.Signals
) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "1h") as process:
        wait_until_applied(process)
        process.send_signal(number)

        assert exit_code_of(process) == ExitCode.ROLLED_BACK
    assert is_good(machine, host_ns)
    assert eventually(lambda: not guardians(machine))


def test_trial_is_taken_back_from_elsewhere(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "1h") as process:
        wait_until_applied(process)

        assert converged("try", "--revert").exit_code == ExitCode.ROLLED_BACK

        assert exit_code_of(process) == ExitCode.ROLLED_BACK
    assert is_good(machine, host_ns)


def test_watcher_waits_for_a_trial_of_a_copy_and_does_not_undo_what_was_confirmed(
    converged: Reconcile, machine: Machine, host_ns: str, tmp_path: Path
) -> None:
    (copy := tmp_path / "copy").mkdir()
    (copy / "all.yaml").write_text(NEW)
    watcher = converged.start("-q", "watch")
    try:
        with trial(converged, "--specs", str(copy), "--timeout", "2s") as process:
            assert exit_code_of(process) == ExitCode.ROLLED_BACK
        assert eventually(lambda: is_good(machine, host_ns))
        dry = converged("--dry-run", specs=copy)
        assert dry.exit_code == ExitCode.ROLLED_BACK, dry.text
        assert "were rolled back" in dry.stdout

        with trial(converged, "--specs", str(copy), "--timeout", "60") as process:
            wait_until_applied(process)
            assert converged().exit_code == ExitCode.LOCKED
            machine.run("", "ip", "-n", "web", "route", "delete", "default")
            assert address(machine, "web") == "10.8.0.10"
            converged.ok("try", "--confirm")
            assert exit_code_of(process) == ExitCode.OK

        # What is confirmed is repaired, by the watcher of the folder that still says otherwise.
        assert eventually(lambda: "default" in machine.run("", "ip", "-n", "web", "route").stdout)
        assert eventually(lambda: machine.summary()["conditions"][0]["reason"] == "Superseded")
        assert str(copy) in machine.summary()["conditions"][0]["message"]
        assert machine.summary()["networks"]["more"]["conditions"][0]["status"] == "True"
        assert address(machine, "web") == "10.8.0.10"
        assert "are superseded" in converged("--dry-run").stdout

        (converged.specs / "all.yaml").write_text(NEW)
        assert eventually(lambda: machine.summary()["conditions"][0]["status"] == "True")
        (converged.specs / "all.yaml").write_text(NEW.replace("10.8.", "10.9."))
        assert eventually(lambda: address(machine, "web") == "10.9.0.10")
    finally:
        watcher.kill()
        watcher.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_guardian_takes_back_what_a_dead_process_tried(
    converged: Reconcile, machine: Machine, host_ns: str, number: signal.Signals
) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "8s") as process:
        wait_until_applied(process)
        process.send_signal(number)
        exit_code_of(process)

        assert address(machine, "web") == "10.8.0.10"
        assert eventually(lambda: not pending(machine), deadline_s=20)
    assert is_good(machine, host_ns)
    assert eventually(lambda: not guardians(machine))


def test_guardian_takes_back_what_was_killed_half_way(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "2s") as process:
        assert eventually(lambda: pending(machine), every_s=0.001)
        process.kill()
        exit_code_of(process)

        assert eventually(lambda: not pending(machine), deadline_s=20)
    assert is_good(machine, host_ns)


def test_process_does_the_work_of_a_dead_guardian(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "2s") as process:
        wait_until_applied(process)
        for guardian in guardians(machine):
            os.kill(guardian, signal.SIGKILL)

        assert exit_code_of(process) == ExitCode.ROLLED_BACK
    assert is_good(machine, host_ns)


def test_next_pass_takes_back_what_both_left(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=NEW)
    with trial(converged, "--timeout", "1s") as process:
        wait_until_applied(process)
        for guardian in guardians(machine):
            os.kill(guardian, signal.SIGKILL)
        process.kill()
        exit_code_of(process)
    assert pending(machine)

    def healed() -> bool:
        return converged().exit_code == ExitCode.ROLLED_BACK

    assert eventually(healed)
    assert is_good(machine, host_ns)
    assert not pending(machine)


def test_trial_that_fails_is_taken_back_at_once(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=BAD)

    done = converged("try", "--timeout", "1h")

    assert done.exit_code == ExitCode.ROLLED_BACK, done.text
    assert is_good(machine, host_ns)
    assert eventually(lambda: not guardians(machine))


def test_specs_with_faults_are_not_tried(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    converged.write(all=NEW + "bogus: {}\n")

    assert converged("try").exit_code == ExitCode.BAD_SPECS

    assert is_good(machine, host_ns)
    assert not pending(machine)
    assert eventually(lambda: not guardians(machine))


def test_good_specs_need_no_trial(converged: Reconcile, machine: Machine, host_ns: str) -> None:
    done = converged.ok("try")

    assert "nothing is on trial" in done.stderr
    assert is_good(machine, host_ns)
