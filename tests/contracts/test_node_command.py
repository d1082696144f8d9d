"""`reconcile node` against real servers."""

from __future__ import annotations

from reconciler.cluster.records import info_record, life_value, member_record, network_record, revision_record
from reconciler.kinds.cluster_record import apply_cluster_records
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import KvStore
from reconciler.model.objects import ClusterRecord
from reconciler.model.plan import Action, Operation
from reconciler.observe.cluster import ClusterStore
from tests.command_line import Ran, run_command
from tests.contracts.conftest import CONTRACTS, Backend
from tests.fakes.cluster import NOW, node, overlay, placed

pytestmark = CONTRACTS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def reconcile(backend: Backend, area: str, *arguments: str) -> Ran:
    assert backend.server is not None
    url = f"{backend.name}://127.0.0.1:{backend.server.port}/test/{area}"
    return run_command(["--host", "alpha", "--cluster-store", url, *arguments])


def populate(kv: KvStore, dead_endpoints: int = 40) -> None:
    """Write a cluster: alpha watched and alive, beta dead, both on the network `over`, beta alone on `lonely`."""
    lonely = network_record(overlay("lonely", "10.0.8.0/24", vni=5))
    create(kv, network_record(overlay()), lonely)
    create(
        kv,
        *(
            info_record(node(host, address, is_watched=True))
            for host, address in (("alpha", "192.0.2.1"), ("beta", "192.0.2.2"))
        ),
        *(member_record("over", host, "") for host in ("alpha", "beta")),
        member_record("lonely", "beta", ""),
        revision_record("beta", COMMIT, is_dirty=True),
    )
    dead = (placed(f"b{n:03}", f"10.0.9.{n + 10}/24", host="beta") for n in range(dead_endpoints))
    create(kv, placed("a", "10.0.9.2/24"), *dead)
    kv.put("nodes/alpha/life", life_value("i-alpha").encode())
    kv.put("nodes/beta/left", b'{"at":"2026-11-24T11:00:00Z"}')


def create(kv: KvStore, *records: ClusterRecord) -> None:
    store = ClusterStore(kv, host="alpha", instance="i-alpha", discovery=Discovery())
    store.look((), NOW)
    operations = [Operation(action=Action.CREATE, before=None, after=each, unit=each.unit) for each in records]
    assert [outcome.error for outcome in apply_cluster_records(operations, store)] == [None] * len(operations)


def test_nodes_are_listed(clustered: Backend, area: str) -> None:
    populate(clustered.open(area))

    listed = reconcile(clustered, area, "node", "ls")
    names = reconcile(clustered, area, "node", "ls", "-q")
    formatted = reconcile(clustered, area, "node", "ls", "--format", "{{Name}}={{Alive}}/{{Endpoints}}")

    assert listed.stdout == (
        "NAME      ADDRESS     ALIVE     ENDPOINTS   REVISION\n"
        "alpha     192.0.2.1   yes       1           \n"
        "beta      192.0.2.2   no        40          0123456789ab-dirty\n"
    ), listed.stderr
    assert names.stdout == "alpha\nbeta\n"
    assert formatted.stdout == "alpha=yes/1\nbeta=no/40\n"
    assert (listed.exit_code, names.exit_code, formatted.exit_code) == (0, 0, 0)


def test_dead_node_is_removed_with_all_that_it_claimed(clustered: Backend, area: str) -> None:
    kv = clustered.open(area)
    populate(kv)

    removed = reconcile(clustered, area, "node", "rm", "beta")

    assert removed.exit_code == 0, removed.stderr
    assert sorted(entry.key for entry in kv.list("")) == [
        "addresses/over/10.0.9.2",
        "leaving/over",
        "network/over/endpoints/a",
        "network/over/members/alpha",
        "networks/over",
        "nodes/alpha/info",
        "nodes/alpha/life",
        "pools/10.0.9.0-24",
        "vnis/00004097",
    ]
    again = reconcile(clustered, area, "node", "rm", "beta")
    assert again.exit_code == 1
    assert "No such node: beta" in again.stderr


def test_removal_that_was_broken_off_is_completed_by_another(clustered: Backend, area: str) -> None:
    kv = clustered.open(area)
    populate(kv, 3)
    for key in ("network/over/endpoints/b000", "addresses/over/10.0.9.10", "network/over/members/beta"):
        kv.delete(key)

    removed = reconcile(clustered, area, "node", "rm", "beta")

    assert removed.exit_code == 0, removed.stderr
    assert [
        entry.key for entry in kv.list("") if "beta" in entry.key or "10.0.9.1" in entry.key or "b0" in entry.key
    ] == []


def test_living_node_is_refused_and_nothing_is_removed(clustered: Backend, area: str) -> None:
    kv = clustered.open(area)
    populate(kv, 1)
    before = kv.list("")

    refused = reconcile(clustered, area, "node", "rm", "beta", "alpha")

    assert refused.exit_code == 3
    assert "node alpha is alive: stop its watcher before it is removed" in refused.stderr
    assert kv.list("") == before


def test_unwatched_node_may_be_removed_as_nothing_tells_whether_it_lives(clustered: Backend, area: str) -> None:
    kv = clustered.open(area)
    create(kv, info_record(node("gamma")))

    assert reconcile(clustered, area, "node", "ls").stdout.splitlines()[1].split() == [
        "gamma",
        "192.0.2.1",
        "unwatched",
        "0",
    ]
    assert reconcile(clustered, area, "node", "rm", "gamma").exit_code == 0
    assert kv.list("") == ()


def test_store_that_is_away_is_said_with_its_exit_code(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    clustered.server.stop()

    found = reconcile(clustered, area, "node", "ls")

    assert found.exit_code == 69
    assert found.stdout == ""


def test_host_in_no_cluster_has_no_nodes() -> None:
    found = run_command(["--host", "alpha", "node", "ls"])

    assert found.exit_code == 78
    assert "cluster-store is not set" in found.stderr
