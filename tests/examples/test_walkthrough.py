"""The walk-through beside the recording of the real engine."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests import demo
from tests.command_line import Reconcile
from tests.examples.comparison import files, golden, keys, without_ids
from tests.examples.test_examples import EXAMPLES
from tests.machine import Machine

pytestmark = pytest.mark.kernel


@pytest.fixture
def applied(reconcile: Reconcile, uplink: str) -> Reconcile:
    """The walk-through as it stands after the first pass; of a copy, so that work on this repository changes no revision."""
    shutil.copytree(EXAMPLES / "walkthrough", reconcile.specs, dirs_exist_ok=True)
    reconcile.ok()
    return reconcile


def inspected(reconcile: Reconcile, *networks: str) -> dict[str, dict[str, object]]:
    documents = json.loads(reconcile.ok("network", "inspect", "--mode", "20.10", *networks).stdout)
    return {document["Name"]: document for document in documents}


def test_networks_are_inspected_as_the_engine_printed_them(applied: Reconcile, machine: Machine) -> None:
    names = ["bridge", "isolated_nw", "none", "host"]
    found = inspected(applied, *names)

    assert list(found) == names, "in the order asked for"
    for network in ("bridge", "none", "host"):
        assert without_ids(found[network]) == without_ids(golden(network))
        assert keys(found[network]) == keys(golden(network))
    assert without_ids({**found["isolated_nw"], "Containers": {}}) == without_ids(golden("isolated_nw")), (
        "but for members"
    )
    assert list(found["isolated_nw"]) == list(golden("isolated_nw"))
    assert re.fullmatch(r"[0-9a-f]{64}", str(found["bridge"]["Id"]))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", str(found["bridge"]["Created"]))

    printed = applied.ok("network", "inspect", "isolated_nw").stdout
    assert (machine.status_dir / "networks" / "isolated_nw.json").read_text() == printed

    lines = applied.ok("network", "ls").stdout.splitlines()
    assert lines[0] == "NETWORK ID     NAME          DRIVER    SCOPE"
    assert [re.sub(r"^[0-9a-f]{12}", "<id>", line) for line in lines[1:]] == [
        "<id>   bridge        bridge    local",
        "<id>   host          host      local",
        "<id>   intern        bridge    local",
        "<id>   isolated_nw   bridge    local",
        "<id>   none          null      local",
    ]


REACHED = (
    ("container1", "172.17.0.3", True),
    ("container2", "172.17.0.2", True),
    ("container1", "192.0.2.2", True),
    ("container1", "172.19.0.2", False),
    ("container1", "172.20.0.2", False),
    ("container3", "172.17.0.2", False),
    ("container3", "172.19.0.3", True),
    ("container3", "172.20.0.3", True),
    ("container3", "192.0.2.2", True),
    ("H", "172.17.0.2", True),
    ("H", "172.20.0.2", True),
)
"""Who sends to where, and whether it is answered."""


def test_who_reaches_whom(applied: Reconcile, machine: Machine) -> None:
    found = [
        (sandbox, target, machine.ping(sandbox, target, deadline_s=5 if answers else 1))
        for sandbox, target, answers in REACHED
    ]

    assert found == list(REACHED)


def test_sandbox_on_two_networks_looks_as_the_engines_did(applied: Reconcile, machine: Machine) -> None:
    addresses = {
        link["ifname"]: [
            f"{a['local']}/{a['prefixlen']} {a['broadcast']}" for a in link["addr_info"] if a["family"] == "inet"
        ]
        for link in machine.ip_json("container4", "address", "show", "scope", "global")
    }
    routes = {
        (route["dst"], route.get("gateway"), route["dev"]) for route in machine.ip_json("container4", "route", "show")
    }

    assert addresses == {"eth0": ["172.19.0.3/16 172.19.255.255"], "eth1": ["172.20.0.3/16 172.20.255.255"]}
    assert routes == {
        ("default", "172.19.0.1", "eth0"),
        ("172.19.0.0/16", None, "eth0"),
        ("172.20.0.0/16", None, "eth1"),
    }


def test_internal_network_has_no_way_out(applied: Reconcile, machine: Machine) -> None:
    machine.run("container4", "ip", "route", "replace", "default", "via", "172.20.0.1")

    assert machine.ping("container4", "172.20.0.1")
    assert not machine.ping("container4", "192.0.2.2", deadline_s=1)


def test_second_run_writes_nothing(applied: Reconcile, machine: Machine) -> None:
    before = files(machine.state_dir)

    applied.ok()

    assert {name: kept for name, kept in files(machine.state_dir).items() if "/status/" in name} == {
        name: kept for name, kept in before.items() if "/status/" in name
    }


def test_every_owned_link_is_repaired(applied: Reconcile, machine: Machine, host_ns: str) -> None:
    owned = [name for name in machine.links(host_ns) if name not in ("lo", "uplink0")]
    assert len(owned) == 3 + 6  # bridges and veth pairs

    for name in owned:
        machine.run("", "ip", "-n", host_ns, "link", "delete", name)
        applied.ok()
        assert name in machine.links(host_ns)

    assert machine.ping("container1", "172.17.0.3")
    assert machine.ping("container4", "172.20.0.2")


def test_addresses_survive_the_loss_of_the_state_folder(applied: Reconcile, machine: Machine) -> None:
    before = without_ids(inspected(applied, "isolated_nw")["isolated_nw"])
    for path in machine.state_dir.iterdir():
        if path.is_file():
            path.unlink()

    plan = applied("--dry-run", "--output", "json")
    applied.ok()

    touched = {change["kind"] for change in json.loads(plan.stdout)["resource_changes"]}
    assert touched <= {"KvRecord"}
    assert without_ids(inspected(applied, "isolated_nw")["isolated_nw"]) == before


@pytest.mark.long
def test_demo_meets_its_own_expectations(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    demo.play(machine)

    assert "=> as it should be: no answer" in capsys.readouterr().out
