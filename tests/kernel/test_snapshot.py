"""A plan from a snapshot is the plan that the host itself would have made."""

from __future__ import annotations

import json
from difflib import unified_diff
from pathlib import Path

import pytest

from reconciler.cli.root import main
from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.machine import Machine

pytestmark = pytest.mark.kernel

SECRET = "hunter2-planted"

APPLIED = """
networks:
  front: {ipam: {config: [{subnet: 10.5.0.0/24}]}}
  back: {internal: true, labels: {zone: lab}}
  lan: {driver: macvlan, driver_opts: {parent: u0}, ipam: {config: [{subnet: 10.8.0.0/24}]}}
attachments:
  a: {networks: [front, back], sysctls: {net.ipv4.ip_default_ttl: 33}}
  b: {networks: {back: {aliases: [db]}}, ports: []}
  c: {networks: [lan]}
  foreign: {sandbox: {netns: theirs}, networks: [front]}
"""
CHANGED = """
networks:
  front: {ipam: {config: [{subnet: 10.5.0.0/24}]}, driver_opts: {com.docker.network.driver.mtu: '1300'}}
  back: {labels: {zone: lab}}
attachments:
  a:
    networks: [front]
    ports: ['8080:80', '127.0.0.1::90', '192.0.2.1:81:81', '192.0.2.99:82:82']
    sysctls: {net.ipv4.ip_default_ttl: 34}
  b: {networks: [front, back]}
  new: {networks: [back], links: []}
  other: {sandbox: {netns: unnamed}, networks: [back]}
"""
EXPECTED = APPLIED.replace(", sysctls: {net.ipv4.ip_default_ttl: 33}", "") + "expect: [{from: a, to: c, reach: true}]\n"


def test_plans_from_a_snapshot_are_those_of_the_host_byte_for_byte(
    reconcile: Reconcile,
    machine: Machine,
    uplink: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("theirs", "unnamed"):
        machine.add_namespace(name)
    monkeypatch.setenv("RECONCILE_KV_SECRET", SECRET)
    parent = machine.links("H")[-1].partition("@")[0]
    applied = APPLIED.replace("u0", parent)
    reconcile.write(all=applied)
    reconcile.ok()
    (machine.state_dir / "token").write_text(SECRET)
    machine.run("a", "ip", "route", "delete", "default")
    machine.run("H", "ip", "link", "set", "docker0", "mtu", "1400")
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_text(reconcile.ok("snapshot").stdout)

    assert SECRET not in snapshot.read_text(), "neither in the environment nor elsewhere in the state folder"
    for text in (applied, CHANGED, EXPECTED.replace("u0", parent), "networks: {}", "networks: {x: {intrenal: true}}"):
        reconcile.write(all=text)
        for form in ("json", "text"):
            arguments = ("--dry-run", "--output", form, "--objects", "--detailed-exitcode")
            live = reconcile(*arguments)
            code = main(["--specs", str(reconcile.specs), "--against", f"snapshot:{snapshot}", *arguments])
            out, err = capsys.readouterr()
            assert (code, err) == (live.exit_code, live.stderr)
            differences = "\n".join(unified_diff(live.stdout.splitlines(), out.splitlines(), n=6))
            assert not differences, differences
    _check_bad_files(snapshot, reconcile, capsys)


def _check_bad_files(snapshot: Path, reconcile: Reconcile, capsys: pytest.CaptureFixture[str]) -> None:
    text = snapshot.read_text()
    bad = snapshot.with_name("bad.json")
    for content, told in (
        (text[: len(text) // 2], "is no snapshot, or was cut off"),
        (text.replace('"version": "', '"version": "0 of ', 1), "is a snapshot of version 0 of"),
        (text.replace("10.5.0.", "10.6.0."), "was edited by hand"),
        (json.dumps({"kind": "saved plan"}), "is no snapshot"),
    ):
        bad.write_text(content)
        code = main(["--specs", str(reconcile.specs), "--dry-run", "--against", f"snapshot:{bad}"])
        out, err = capsys.readouterr()
        assert (code, out) == (ExitCode.BAD_SPECS, "")
        assert told in err
    reconcile.write(all="networks: {n: {}}\nattachments: {x: {sandbox: {netns: /nowhere/ns}, networks: [n]}}")
    main(["--specs", str(reconcile.specs), "--dry-run", "--against", f"snapshot:{snapshot}"])
    assert "is not in the snapshot" in " ".join(capsys.readouterr().out.split())
    named = ["--host", "elsewhere", "--dry-run", "--against", f"snapshot:{snapshot}"]
    assert main(["--specs", str(reconcile.specs), *named]) == ExitCode.BAD_CONFIG
