"""What stands between a mistake and an outage: refused deletions, protected networks, suspensions, drift that is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import ExitCode
from tests.command_line import Reconcile
from tests.machine import Machine
from tests.pipeline.host_view import everything, settled
from tests.waiting import eventually

pytestmark = pytest.mark.kernel


def network(name: str, third: int, more: str = "") -> str:
    return f"  {name}: {{ipam: {{config: [{{subnet: 10.7.{third}.0/24}}]}}, labels: {{com.example: {name}}}{more}}}\n"


def specs(*names: str, more: str = "") -> str:
    networks = "".join(network(name, number, more) for number, name in enumerate(names))
    attachments = "".join(f"  on-{name}: {{networks: {{{name}: {{}}}}}}\n" for name in names)
    return f"networks:\n{networks}attachments:\n{attachments}" if names else "networks: {}\n"


def plan(reconcile: Reconcile, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reconcile("--dry-run", "--output", "json", *arguments).stdout)
    return found


def problems(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["unit"]["network"], problem["reason"]) for problem in document["problems"]]


def condition(machine: Machine, kind: str, name: str) -> dict[str, Any]:
    summary = machine.summary()
    found: dict[str, Any] = summary[kind][name]["conditions"][0]
    return found


def bridges(machine: Machine, host_ns: str) -> list[str]:
    return [name for name in machine.links(host_ns) if name.startswith("br-")]


def address(machine: Machine, ns: str) -> str:
    found = machine.ip_json(ns, "-4", "address", "show", "eth0")
    return str(found[0]["addr_info"][0]["local"])


def state_bytes(machine: Machine) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(machine.state_dir.rglob("*.json"))
    }


def test_more_than_half_of_the_networks_are_not_removed_at_once(
    reconcile: Reconcile, machine: Machine, host_ns: str
) -> None:
    names = ("a", "b", "c", "d", "e")
    reconcile.write(all=specs(*names))
    reconcile.ok()
    reconcile.write(all=specs("a", "b"))

    dry = reconcile("--dry-run")
    refused = reconcile()

    assert dry.exit_code == refused.exit_code == ExitCode.GUARDED, refused.text
    assert problems(plan(reconcile)) == [(name, "PruneGuard") for name in ("c", "d", "e")]
    assert len(bridges(machine, host_ns)) == 5
    assert machine.ping("on-e", "10.7.4.1")
    assert reconcile.ok("network", "ls", "-q", "--filter", "name=e").stdout
    assert condition(machine, "networks", "c")["reason"] == "PruneGuard"
    assert condition(machine, "networks", "a")["reason"] == "ReconciliationSucceeded"

    reconcile.ok("--allow-prune")

    assert len(bridges(machine, host_ns)) == 2
    assert "on-e" not in machine.namespaces()
    reconcile.ok()


@pytest.mark.quick
def test_emptied_folder_removes_nothing(reconcile: Reconcile, machine: Machine, host_ns: str) -> None:
    reconcile.write(all=specs("only") + "  plain: {}\n")
    reconcile.ok()
    reconcile.write()

    assert reconcile().exit_code == ExitCode.GUARDED

    assert machine.ping("on-only", "10.7.0.1")
    assert machine.ping("plain", "172.17.0.1")
    reconcile.ok("--allow-prune")
    assert bridges(machine, host_ns) == []
    assert machine.namespaces() == [host_ns]


def test_folder_that_cannot_be_looked_through_changes_nothing(
    reconcile: Reconcile, machine: Machine, host_ns: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("networks: {}")
    (tmp_path / "dangling").symlink_to("nowhere")
    places = [tmp_path / name for name in ("absent", "file", "dangling")]

    for place in places:
        for words in ((), ("--dry-run",), ("--allow-prune",)):
            done = reconcile(*words, specs=place)
            assert done.exit_code == ExitCode.BAD_SPECS, done.text
            assert f"{place}:0:0: the folder cannot be looked through" in done.stderr
    assert machine.links(host_ns) == ["lo"]
    assert not machine.run(host_ns, "nft", "list", "tables").stdout

    reconcile.write(all=specs("a", "b", "c"))
    reconcile.ok()
    assert reconcile("--allow-prune", specs=places[0]).exit_code == ExitCode.BAD_SPECS
    assert machine.ping("on-a", "10.7.0.1")


def test_lost_state_folder_takes_no_guard_along(reconcile: Reconcile, machine: Machine, host_ns: str) -> None:
    names = ("a", "b", "c", "d", "e")
    reconcile.write(all=specs(*names, more=", protect: true"))
    reconcile.ok()
    shutil.rmtree(machine.state_dir)

    reconcile.write()
    assert problems(plan(reconcile)) == [(name, "PruneGuard") for name in names]
    assert reconcile().exit_code == ExitCode.GUARDED
    reconcile.write(all=specs("a", "b", "c", "d", more=", protect: true"))
    assert problems(plan(reconcile, "--allow-prune")) == [("e", "Protected")]
    assert reconcile("--allow-prune").exit_code == ExitCode.GUARDED
    assert all(machine.ping(f"on-{name}", f"10.7.{number}.1") for number, name in enumerate(names))


def test_other_folders_change_nothing_until_they_take_over(
    reconcile: Reconcile, machine: Machine, host_ns: str, tmp_path: Path
) -> None:
    reconcile.write(all=specs("a", "b"))
    reconcile.ok()
    before = settled(lambda: everything(machine, host_ns))
    other = tmp_path / "other"
    (other / "specs").mkdir(parents=True)
    (other / "specs" / "c.yaml").write_text("networks:\n" + network("c", 9))
    second = ("--state-dir", str(other / "state"))

    for words in ((), ("down",), ("try", "--timeout", "60s")):
        done = reconcile(*second, *words, specs=other / "specs")
        assert done.exit_code == ExitCode.GUARDED, done.text
        assert all(str(folder) in done.stderr for folder in (machine.state_dir, other / "state")), done.text
    assert plan(reconcile, *second)["problems"][0]["reason"] == "AnothersHost"
    done = reconcile(specs=other / "specs")
    assert done.exit_code == ExitCode.GUARDED
    assert all(str(folder) in done.stderr for folder in (reconcile.specs, other / "specs")), done.text
    assert "network a, network b, attachment on-a, attachment on-b" in done.stderr
    assert settled(lambda: everything(machine, host_ns)) == before

    (other / "specs" / "more.yaml").write_text(specs("a", "b"))
    reconcile.ok(specs=other / "specs")  # what declares all that runs may come from anywhere
    (other / "specs" / "more.yaml").write_text(specs("a"))
    reconcile.ok(specs=other / "specs")
    assert reconcile().exit_code == ExitCode.GUARDED
    reconcile.ok("--take-over")
    assert machine.ping("on-b", "10.7.1.1")

    assert reconcile(*second, "--take-over", "--dry-run").exit_code == ExitCode.OK
    reconcile.ok(*second, "--take-over")
    assert reconcile().exit_code == ExitCode.GUARDED
    reconcile.ok(*second, "down")
    assert machine.links(host_ns) == ["lo"]


def test_subnet_over_the_uplink_does_not_cut_the_host_off(
    reconcile: Reconcile, machine: Machine, host_ns: str, uplink: str
) -> None:
    good = network("good", 1)
    reconcile.write(
        all=f"networks:\n  bad: {{ipam: {{config: [{{subnet: 192.0.2.0/24, gateway: 192.0.2.2}}]}}}}\n{good}"
    )

    dry, done = reconcile("--dry-run"), reconcile()

    assert dry.exit_code == done.exit_code == ExitCode.FAILED
    for text in (dry.text, done.text):
        assert "subnet 192.0.2.0/24 covers the host's own address 192.0.2.1 of" in " ".join(text.split())
    assert machine.ping(host_ns, "192.0.2.2")
    assert machine.ping(host_ns, "10.7.1.1")

    reconcile.write(
        all=f"networks:\n  bad: {{allow_overlap: true, ipam: {{config: [{{subnet: 192.0.2.128/25}}]}}}}\n{good}"
    )
    reconcile.ok()
    assert machine.ping(host_ns, "192.0.2.129")


def test_protected_network_survives_its_declaration_with_what_is_on_it(
    reconcile: Reconcile, machine: Machine, host_ns: str
) -> None:
    reconcile.write(a=specs("a", more=", protect: true"), other="networks: {other: {}}")
    reconcile.ok()
    reconcile.write(other="networks: {other: {}, second: {}}")

    for _ in range(3):
        assert reconcile("--allow-prune").exit_code == ExitCode.GUARDED
    machine.run("", "ip", "netns", "delete", "on-a")
    assert reconcile().exit_code == ExitCode.GUARDED

    assert machine.ping("on-a", "10.7.0.1")
    assert problems(plan(reconcile)) == [("a", "Protected")]
    assert condition(machine, "networks", "a")["reason"] == "Protected"
    assert reconcile("down").exit_code == ExitCode.GUARDED
    assert machine.ping("on-a", "10.7.0.1")
    assert len(bridges(machine, host_ns)) == 1

    reconcile.ok("--unprotect", "a")

    assert len(bridges(machine, host_ns)) == 2
    assert "on-a" not in machine.namespaces()


def test_down_takes_protected_networks_only_when_told_so(reconcile: Reconcile, machine: Machine, host_ns: str) -> None:
    reconcile.write(a=specs("a", more=", protect: true"))
    reconcile.ok()

    assert reconcile("down").exit_code == ExitCode.GUARDED
    assert machine.ping("on-a", "10.7.0.1")
    reconcile.ok("down", "--allow-prune")

    assert machine.links(host_ns) == ["lo"]
    assert machine.namespaces() == [host_ns]


def test_suspended_network_is_left_alone_and_the_others_are_not(
    reconcile: Reconcile, machine: Machine, host_ns: str
) -> None:
    reconcile.write(all=specs("a", "b"))
    reconcile.ok()
    reconcile.ok("suspend", "--reason", "debugging", "--for", "2h", "a")
    for name in ("on-a", "on-b"):
        machine.run(name, "ip", "link", "set", "eth0", "down")

    reconcile.ok()

    assert machine.ping("on-b", "10.7.1.1")
    assert not machine.ping("on-a", "10.7.0.1", deadline_s=1)
    told = condition(machine, "networks", "a")
    assert (told["status"], told["reason"]) == ("Unknown", "Suspended")
    assert "debugging" in told["message"]

    reconcile.ok("resume", "a")
    reconcile.ok()

    assert machine.ping("on-a", "10.7.0.1")
    assert condition(machine, "networks", "a")["status"] == "True"


def test_suspended_host_is_not_touched_at_all(reconcile: Reconcile, machine: Machine, host_ns: str) -> None:
    reconcile.write(all=specs("a"))
    reconcile.ok()
    reconcile.ok("suspend", "--reason", "maintenance")
    machine.run("", "ip", "netns", "delete", "on-a")
    reconcile.write(all=specs("a", "b"))

    done = reconcile.ok()
    before = state_bytes(machine)
    reconcile.ok()

    assert "maintenance" in done.stderr
    assert machine.namespaces() == [host_ns]
    assert plan(reconcile)["resource_changes"] == []
    assert state_bytes(machine) == before
    assert reconcile("down").exit_code == ExitCode.GUARDED
    reconcile.ok("resume")
    reconcile.ok()
    assert machine.ping("on-a", "10.7.0.1")
    assert machine.ping("on-b", "10.7.1.1")


def test_suspension_ends_by_itself(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(all=specs("a"))
    reconcile.ok("suspend", "--for", "1s")

    assert eventually(lambda: not reconcile.ok().stderr.count("is suspended"))

    assert machine.ping("on-a", "10.7.0.1")


def test_name_that_no_network_has_is_not_suspended(reconcile: Reconcile) -> None:
    reconcile.write(all=specs("frontend"))
    reconcile.ok()

    done = reconcile("suspend", "fontend")

    assert done.exit_code == ExitCode.FAILED
    assert "did you mean frontend?" in done.stderr
    assert reconcile("suspend", "--for", "soon").exit_code == ExitCode.USAGE
    assert reconcile("resume", "frontend").exit_code == ExitCode.FAILED


def test_drift_is_left_where_the_specs_say_so(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(all=specs("a", more=", onDrift: warn"))
    reconcile.ok()
    machine.run("on-a", "ip", "link", "set", "eth0", "down")

    done = reconcile.ok()

    assert not machine.ping("on-a", "10.7.0.1", deadline_s=1)
    assert "drifted" in done.stderr
    assert condition(machine, "networks", "a")["reason"] == "DriftDetected"

    reconcile.write(all=specs("a", more=", onDrift: warn, attachable: true"))
    reconcile.ok()

    assert machine.ping("on-a", "10.7.0.1")


def test_network_whose_drift_is_left_comes_back_after_down(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(all=specs("a", more=", onDrift: ignore"))
    reconcile.ok()
    reconcile.ok("down")

    reconcile.ok()

    assert machine.ping("on-a", "10.7.0.1")


def test_pass_with_nothing_to_do_writes_no_state(reconcile: Reconcile, machine: Machine) -> None:
    reconcile.write(all=specs("a", "b", more=", onDrift: warn"))
    reconcile.ok()
    before = state_bytes(machine)

    reconcile.ok()
    reconcile.ok("--rollback-on-failure")

    assert state_bytes(machine) == before
    assert {path.name for path in machine.state_dir.glob("*.json")} == {
        "last-good.json",
        "told.json",
        "verified.json",
    }
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in machine.state_dir.glob("*.json"))


def test_plan_against_status_needs_neither_kernel_nor_rights(
    reconcile: Reconcile, machine: Machine, tmp_path: Path
) -> None:
    reconcile.write(all=specs("a", "b"))
    reconcile.ok()
    machine.run("on-a", "ip", "link", "delete", "eth0")

    assert plan(reconcile, "--against", "status")["resource_changes"] == []
    assert plan(reconcile)["resource_changes"] != []

    reconcile.write(all=specs("a", "b", "c"))
    units = {change["unit"]["network"] for change in plan(reconcile, "--against", "status")["resource_changes"]}
    assert units == {"", "<names>", "c"}
    reconcile.write(all=specs("a"))
    changes = plan(reconcile, "--against", "status")["resource_changes"]
    of_networks = [change for change in changes if change["unit"]["network"] != "<names>"]
    assert {tuple(change["actions"]) for change in of_networks} == {("delete",)}
    assert plan(reconcile, "--against", "empty") == plan(reconcile, "--against", "empty")
