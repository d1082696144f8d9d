"""What 0.1.0 wrote (tests/upgrade/0.1.0, by record.sh) is read, and says what it said then. Later ones get folders beside it."""

from __future__ import annotations

import gzip
import json
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.cli.saved_plan import read_plan
from reconciler.cluster.records import FORMAT, info_path
from reconciler.guard.last_good import read_last_good
from reconciler.ipam.promises import decode_promises
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.cluster import ClusterState
from reconciler.ports.promises import decode_ports
from reconciler.records.document import Misfit
from reconciler.settings import Settings
from tests.command_line import run_command
from tests.fakes.cluster import decoded

RECORDED = sorted(path for path in Path(__file__).parent.iterdir() if (path / "cluster.json").exists())


@pytest.fixture(params=RECORDED, ids=lambda path: path.name)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give the files of one version, in a folder that may be written to."""
    return Path(shutil.copytree(request.param, tmp_path / "recorded"))


def test_a_snapshot_gives_the_plan_that_was_made_then(recorded: Path) -> None:
    snapshot = recorded / "snapshot.json"
    snapshot.write_bytes(gzip.decompress((recorded / "snapshot.json.gz").read_bytes()))
    specs = recorded / "specs"
    specs.mkdir()
    shutil.move(recorded / "specs.yaml", specs)

    done = run_command(["--specs", str(specs), "--dry-run", "--against", f"snapshot:{snapshot}"])

    assert done.exit_code == 0, done.text
    planned = (recorded / "plan.txt").read_text().splitlines()
    told = iter(
        done.stdout.splitlines()
    )  # among them that rules of our firewall differ, which each version has its own of
    assert [line for line in planned[1:] if not line.startswith("Plan: ") and line not in told] == []


def test_a_saved_plan_is_read(recorded: Path) -> None:
    plan = read_plan(str(recorded / "plan.json"), Settings(host="alpha"))

    assert plan.host == "alpha"
    assert list(plan.specs) == ["specs.yaml"]
    assert len(plan.changes) == 7


def test_the_state_folder_is_read(recorded: Path) -> None:
    with closing(open_sqlite(recorded / "state.db")) as store:
        records = {entry.key: entry.value.decode() for entry in store.list("")}
    promises, faults = decode_promises(records)
    ports, more_faults = decode_ports(records)

    assert (faults, more_faults) == ((), ())
    assert sorted(promises.networks) == ["back", "bridge", "front", "host", "lan", "none"]
    assert str(promises.endpoints["back", "web"].ipv4) == "172.30.0.7/16"
    assert [binding.host_port for binding in ports["web"]] == [8080, 9000, 9001]
    last = read_last_good(recorded)
    assert last is not None
    assert "printer:" in repr(last)


def of_cluster(recorded: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((recorded / "cluster.json").read_text())
    return found


def test_records_of_a_cluster_are_read(recorded: Path) -> None:
    state: ClusterState = decoded(of_cluster(recorded))

    assert state.faults == ()
    assert sorted(state.nodes) == ["alpha", "beta"]
    assert state.nodes["beta"].is_alive
    assert [str(subnet.subnet) for subnet in state.networks["over"].subnets] == ["10.0.9.0/24", "fd00:9::/64"]
    assert [endpoint.name for endpoint in state.networks["over"].endpoints] == ["web"]
    assert not any(isinstance(found, Misfit) for found in state.seen.values())


def test_a_host_of_a_later_format_is_seen_as_such(recorded: Path) -> None:
    records = of_cluster(recorded)
    path = info_path("nodes/", "beta")
    records[path] = json.dumps({**json.loads(records[path]), "format": FORMAT + 1})

    assert decoded(records).nodes["beta"].format == FORMAT + 1
