"""Hosts that share a store: what they see of each other, and what becomes of it when they want the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

import pytest
from msgspec.structs import replace

from reconciler.cluster.records import claims, info_record, member_record, network_record, turn_path
from reconciler.errors import KvConflict, KvUnavailable
from reconciler.kinds.cluster_record import apply_cluster_records
from reconciler.kv.address import Discovery
from reconciler.kv.protocol import Batch, KvEntry, KvStore
from reconciler.model.cluster import ClusterState
from reconciler.model.objects import ClusterRecord
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.observe.cluster import ClusterStore
from tests.contracts.conftest import CONTRACTS, Backend
from tests.fakes.cluster import NOW, node, ours, overlay, placed
from tests.waiting import patient, until, within

pytestmark = CONTRACTS

FOLLOWED = ("over",)


@dataclass
class Host:
    """One host of a cluster: its own connections, its own memory."""

    name: str
    kv: KvStore
    store: ClusterStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = ClusterStore(self.kv, host=self.name, instance=f"i-{self.name}", discovery=Discovery())

    def look(self) -> ClusterState:
        return self.store.look(FOLLOWED, NOW)

    def write(self, *records: ClusterRecord) -> list[Outcome]:
        """Bring these records about as a pass does, from what was looked at before."""
        seen = {key[1]: found.object for key, found in self.look().seen.items()}
        return apply_cluster_records([operation(seen.get(record.path), record) for record in records], self.store)

    def delete(self, *paths: str) -> list[Outcome]:
        seen = {key[1]: found.object for key, found in self.look().seen.items()}
        return apply_cluster_records([operation(seen[path], None) for path in paths], self.store)


def operation(before: object, after: ClusterRecord | None) -> Operation:
    action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
    found = after if after is not None else before
    assert isinstance(found, ClusterRecord)
    assert before is None or isinstance(before, ClusterRecord)
    return Operation(action=action, before=before, after=after, unit=found.unit)


def fine(outcomes: Sequence[Outcome]) -> bool:
    return [outcome.error for outcome in outcomes] == [None] * len(outcomes)


def held(kv: KvStore) -> dict[str, str]:
    """Give all that there is; of a network's turn only that it is there."""
    turns = turn_path("")
    return {entry.key: "" if entry.key.startswith(turns) else entry.value.decode() for entry in kv.list("")}


@pytest.fixture
def hosts(backend: Backend, area: str) -> list[Host]:
    """Two hosts, both members of the network `over`."""
    pair = [Host("alpha", backend.open(area)), Host("beta", backend.open(area))]
    for number, host in enumerate(pair, 1):
        info, member = info_record(node(host.name, f"192.0.2.{number}")), member_record("over", host.name, "")
        assert fine(host.write(*([network_record(overlay())] if host is pair[0] else []), info, member))
    return pair


def test_hosts_see_what_the_others_wrote(hosts: list[Host]) -> None:
    alpha, beta = hosts

    assert fine(alpha.write(placed("web", "10.0.9.2/24")))
    assert fine(beta.write(placed("db", "10.0.9.3/24", host="beta")))

    for host in hosts:
        state = host.look()
        assert state.faults == ()
        assert [(one.name, one.host) for one in state.networks["over"].endpoints] == [("db", "beta"), ("web", "alpha")]
        assert list(state.nodes) == ["alpha", "beta"]


def test_looking_again_at_nothing_new_gives_the_same_value(hosts: list[Host]) -> None:
    alpha, beta = hosts
    first = alpha.look()

    assert alpha.look() is first
    beta.write(placed("db", host="beta"))
    assert alpha.look() is not first


def test_record_comes_and_goes_together_with_its_claims(hosts: list[Host]) -> None:
    alpha, _ = hosts
    before = held(alpha.kv)

    assert fine(alpha.write(placed("web", "10.0.9.2/24")))
    assert {key: value for key, value in held(alpha.kv).items() if key not in before} == {
        "network/over/endpoints/web": placed("web", "10.0.9.2/24").value,
        "addresses/over/10.0.9.2": "network/over/endpoints/web",
    }
    assert fine(alpha.write(placed("web", "10.0.9.7/24")))
    assert [key for key in held(alpha.kv) if key.startswith("addresses/")] == ["addresses/over/10.0.9.7"]
    assert fine(alpha.delete("network/over/endpoints/web"))
    assert held(alpha.kv) == before


def test_repeating_what_was_done_is_harmless(hosts: list[Host]) -> None:
    alpha, _ = hosts
    create = operation(None, placed("web"))
    delete = operation(placed("web"), None)
    alpha.look()

    for each in (create, create):
        assert fine(apply_cluster_records([each], alpha.store))
    alpha.look()
    for each in (delete, delete):
        assert fine(apply_cluster_records([each], alpha.store))
    assert not any("web" in key for key in held(alpha.kv))


RIVALS = {
    "one address": (placed("a", "10.0.9.5/24"), placed("b", "10.0.9.5/24", host="beta")),
    "one name": (placed("a", "10.0.9.5/24"), placed("a", "10.0.9.6/24", host="beta")),
    "one VNI": (
        network_record(overlay("n1", "10.0.7.0/24", vni=77)),
        network_record(overlay("n2", "10.0.8.0/24", vni=77)),
    ),
    "one pool": (
        network_record(overlay("n1", "10.0.7.0/24", vni=77)),
        network_record(overlay("n2", "10.0.7.0/24", vni=78)),
    ),
    "one network": (
        network_record(overlay("n1", "10.0.7.0/24", vni=77)),
        network_record(overlay("n1", "10.0.8.0/24", vni=78)),
    ),
}


def test_of_two_hosts_that_want_the_same_at_once_one_gets_it(hosts: list[Host]) -> None:
    before = held(hosts[0].kv)
    for what, rivals in RIVALS.items():
        outcomes = race(hosts, rivals)

        losers = [outcome.error for outcome in outcomes if outcome.error is not None]
        assert len(losers) == 1, what
        assert isinstance(losers[0], KvConflict), what
        winner, winning = next(pair for pair in zip(hosts, outcomes, strict=True) if pair[1].error is None)
        record = winning.operation.object
        assert isinstance(record, ClusterRecord)
        added = {key: value for key, value in held(hosts[0].kv).items() if key not in before}
        assert added == {record.path: record.value, **dict.fromkeys(claims(record), record.path)}, what
        assert fine(winner.delete(record.path))


def race(hosts: list[Host], rivals: Sequence[ClusterRecord]) -> list[Outcome]:
    """Have each host write its record, all at the same moment."""
    barrier = threading.Barrier(len(hosts))

    def write(pair: tuple[Host, ClusterRecord]) -> Outcome:
        host, record = pair
        host.look()
        barrier.wait(patient(10))
        (outcome,) = apply_cluster_records([operation(None, record)], host.store)
        return outcome

    with ThreadPoolExecutor(len(hosts)) as threads:
        return list(threads.map(write, zip(hosts, rivals, strict=True)))


def test_loser_says_what_was_lost_to_whom_and_the_network_counts_as_contended(hosts: list[Host]) -> None:
    alpha, beta = hosts
    assert fine(alpha.write(placed("web", "10.0.9.5/24")))

    (lost,) = beta.write(placed("db", "10.0.9.5/24", host="beta"))
    (taken,) = beta.write(network_record(overlay("other", "10.0.8.0/24", vni=4097)))

    assert str(lost.error) == "address 10.0.9.5 on network over was taken by attachment web of host alpha"
    assert str(taken.error) == "VNI 4097 was taken by network over"
    assert lost.error is not None
    assert lost.error.is_retryable
    assert beta.look().contended == {"over", "other"}
    assert alpha.look().contended == frozenset()


def test_of_many_records_only_those_fail_that_lost_something(hosts: list[Host]) -> None:
    alpha, beta = hosts
    theirs = [placed(f"theirs{n}", f"10.0.9.{n}/24", host="beta") for n in (20, 35)]
    assert fine(beta.write(*theirs))

    outcomes = alpha.write(*(placed(f"mine{n}", f"10.0.9.{n}/24") for n in range(10, 60)))

    failed = [outcome.operation.key[1] for outcome in outcomes if outcome.error is not None]
    assert failed == ["network/over/endpoints/mine20", "network/over/endpoints/mine35"]
    assert len(alpha.look().networks["over"].endpoints) == 50
    assert fine(alpha.delete(*(key[1] for key, seen in alpha.look().seen.items() if "/endpoints/mine" in key[1])))
    assert [key for key in held(alpha.kv) if key.startswith("addresses/")] == [
        "addresses/over/10.0.9.20",
        "addresses/over/10.0.9.35",
    ]


def test_two_records_change_places_in_one_step(hosts: list[Host]) -> None:
    alpha, _ = hosts
    assert fine(alpha.write(placed("a", "10.0.9.2/24"), placed("b", "10.0.9.3/24")))

    assert fine(alpha.write(placed("a", "10.0.9.3/24"), placed("b", "10.0.9.2/24")))

    assert {key: value for key, value in held(alpha.kv).items() if key.startswith("addresses/")} == {
        "addresses/over/10.0.9.2": "network/over/endpoints/b",
        "addresses/over/10.0.9.3": "network/over/endpoints/a",
    }


STALE = {
    "of a record that is gone": "network/over/endpoints/gone",
    "of a record that has another address": "network/over/endpoints/moved",
    "of itself": "network/over/endpoints/web{}",
    "of nothing": "//",
    "not text": "\x00\ufffd",
}


def test_what_a_pass_takes_back_in_the_end_it_has_for_others_from_the_start(hosts: list[Host]) -> None:
    alpha, beta = hosts
    old, new = placed("old", "10.0.9.5/24"), placed("new", "10.0.9.5/24")
    assert fine(alpha.write(old))
    plan = [operation(None, new), operation(old, None)]
    steps = [[each] for each in plan]
    alpha.look()

    outcomes = [o for step in steps for o in apply_cluster_records(step, alpha.store, plan)]

    assert fine(outcomes)
    claim = next(iter(claims(new)))
    assert held(alpha.kv)[claim] == new.path
    assert old.path not in held(alpha.kv)
    assert not alpha.look().contended
    # Another host's record that took the name meanwhile is none that we take back.
    assert fine(alpha.write(placed("old", "10.0.9.6/24")))
    alpha.look()
    assert fine(beta.delete(old.path))
    assert fine(beta.write(placed("old", "10.0.9.6/24", host="beta")))
    heir = operation(None, placed("heir", "10.0.9.6/24"))
    (lost,) = apply_cluster_records([heir], alpha.store, [heir, operation(old, None)])
    assert isinstance(lost.error, KvConflict)


def test_stale_claim_is_taken_over(hosts: list[Host]) -> None:
    alpha, beta = hosts
    assert fine(beta.write(placed("moved", "10.0.9.9/24", host="beta")))
    wanted = []
    for number, owner in enumerate(STALE.values(), 20):
        alpha.kv.put(f"addresses/over/10.0.9.{number}", owner.format(number).encode())
        wanted.append(placed(f"web{number}", f"10.0.9.{number}/24"))

    assert fine(alpha.write(*wanted))

    now = held(alpha.kv)
    for number in range(20, 20 + len(STALE)):
        assert now[f"addresses/over/10.0.9.{number}"] == f"network/over/endpoints/web{number}"


def test_claim_that_was_taken_over_is_not_given_back_by_who_had_it(hosts: list[Host]) -> None:
    alpha, _ = hosts
    assert fine(alpha.write(placed("web", "10.0.9.2/24")))
    alpha.kv.put("addresses/over/10.0.9.2", b"network/over/endpoints/other")

    assert fine(alpha.delete("network/over/endpoints/web"))

    assert held(alpha.kv)["addresses/over/10.0.9.2"] == "network/over/endpoints/other"


def test_record_that_changed_after_the_look_is_neither_overwritten_nor_deleted(hosts: list[Host]) -> None:
    alpha, beta = hosts
    assert fine(alpha.write(placed("web", "10.0.9.2/24")))
    alpha.look()
    beta.kv.put("network/over/endpoints/web", placed("web", "10.0.9.8/24", host="beta").value.encode())

    for after in (placed("web", "10.0.9.4/24"), None):
        (outcome,) = apply_cluster_records([operation(placed("web", "10.0.9.2/24"), after)], alpha.store)
        assert str(outcome.error) == "record network/over/endpoints/web was changed by host beta meanwhile"


def test_network_is_not_deleted_from_under_a_host_that_has_just_joined(hosts: list[Host]) -> None:
    alpha, beta = hosts
    for host in hosts:
        host.kv.delete(f"network/over/members/{host.name}")
    alpha.look()
    assert fine(beta.write(member_record("over", "beta", "")))

    (outcome,) = apply_cluster_records([operation(network_record(overlay()), None)], alpha.store)
    assert isinstance(outcome.error, KvConflict)
    assert fine(beta.delete("network/over/members/beta"))
    assert [key for key in held(alpha.kv) if not key.startswith("nodes/")] == []


class Interrupted:
    """A store in which something happens once the next folder was listed."""

    def __init__(self, kv: KvStore, happens: Callable[[], None]) -> None:
        self._kv = kv
        self._happens: list[Callable[[], None]] = [happens]

    def __getattr__(self, name: str) -> object:
        return getattr(self._kv, name)

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        found = self._kv.list(prefix)
        while self._happens:
            self._happens.pop()()
        return found


def test_last_who_leaves_does_not_take_the_network_from_under_one_that_joins_meanwhile(hosts: list[Host]) -> None:
    """Every order of their calls is tried in tests/unit/kinds; here that each store keeps to what that relies on."""
    alpha, beta = hosts
    assert fine(beta.delete("network/over/members/beta"))
    joining = [operation(None, each) for each in (placed("db", host="beta"), member_record("over", "beta", ""))]
    leaving = [operation(member_record("over", "alpha", ""), None)]
    for host in hosts:
        host.look()

    def join() -> None:
        assert fine(apply_cluster_records(joining, beta.store))

    alpha.store.kv = cast(KvStore, Interrupted(alpha.kv, join))
    assert fine(apply_cluster_records(leaving, alpha.store))
    assert {"networks/over", "network/over/members/beta", "addresses/over/10.0.9.2"} <= held(alpha.kv).keys()
    assert "network/over/members/alpha" not in held(alpha.kv)
    assert fine(alpha.write(member_record("over", "alpha", "")))
    assert fine(beta.delete("network/over/endpoints/db", "network/over/members/beta"))
    for host in hosts:
        host.look()
    assert fine(apply_cluster_records(leaving, alpha.store))
    lost = apply_cluster_records(joining, beta.store)
    assert {str(outcome.error) for outcome in lost} == {"network over has gone meanwhile"}
    assert [key for key in held(alpha.kv) if not key.startswith("nodes/")] == []


def test_last_of_many_who_leave_at_once_takes_the_network_along(backend: Backend, area: str) -> None:
    first = Host("first", backend.open(area))
    assert fine(first.write(network_record(overlay())))
    hosts = [Host(f"h{number}", backend.open(area)) for number in range(6)]
    for host in hosts:
        assert fine(host.write(member_record("over", host.name, ""), info_record(node(host.name))))
    for host in hosts:
        host.look()  # each sees all the others as members

    def leave(host: Host) -> bool:
        operations = [operation(member_record("over", host.name, ""), None)]
        return fine(apply_cluster_records(operations, host.store)) and fine(
            apply_cluster_records(operations, host.store)
        )

    with ThreadPoolExecutor(len(hosts)) as threads:
        assert all(threads.map(leave, hosts))

    assert [key for key in held(first.kv) if not key.startswith("nodes/")] == []


def test_network_that_nobody_is_a_member_of_is_found_and_removed(hosts: list[Host]) -> None:
    alpha, beta = hosts
    elsewhere = network_record(overlay("elsewhere", "10.0.8.0/24", vni=5))
    assert fine(alpha.write(elsewhere, member_record("elsewhere", "gamma", "")))
    assert elsewhere.path not in ours(alpha.look())
    beta.kv.delete("network/elsewhere/members/gamma")

    started_anew = Host("alpha", alpha.kv)
    assert elsewhere.path in ours(started_anew.look())
    assert fine(started_anew.delete(elsewhere.path))

    assert {"networks/elsewhere", "vnis/00000005"}.isdisjoint(held(alpha.kv))


def test_what_an_old_backup_brought_back_of_a_network_that_was_left_is_found_and_removed(hosts: list[Host]) -> None:
    """A host that asked for nothing of the network never looked there, and so was its member for ever: a drill found that."""
    alpha, beta = hosts
    for host in hosts:
        host.write(info_record(node(host.name)))
    alpha.write(network_record(overlay()), *(member_record("over", host.name, "") for host in hosts))
    alpha.write(placed("web", "10.0.9.2/24", host="beta"))

    seen = beta.store.look((), NOW).seen

    mine = {key[1] for key, found in seen.items() if found.is_ours and key[1].startswith("network")}
    assert mine == {"network/over/members/beta", "network/over/endpoints/web"}
    records = [seen["ClusterRecord", path].object for path in sorted(mine)]
    apply_cluster_records([operation(record, None) for record in records], beta.store)
    assert not any(key[1].startswith("network/") for key in beta.store.look((), NOW).seen)
    assert not any(entry.key.startswith("addresses/") for entry in beta.kv.list(""))
    assert "over" in alpha.look().networks, "alpha is still its member"


def test_what_a_watch_tells_is_not_listed_and_own_writes_are(hosts: list[Host]) -> None:
    alpha, beta = hosts
    watches = {folder: alpha.kv.watch(folder) for folder in alpha.store.folders(FOLLOWED)}
    for folder, watch in watches.items():
        batch = watch.poll(5)
        assert batch is not None
        alpha.store.follow(folder, batch)
    first = alpha.look()
    assert fine(beta.write(placed("db", "10.0.9.3/24", host="beta")))
    assert alpha.look() is first

    batch = until(lambda: watches["network/over/"].poll(1))

    assert alpha.store.follow("network/over/", batch)
    assert not alpha.store.follow("network/over/", batch)
    assert [one.name for one in alpha.look().networks["over"].endpoints] == ["db"]
    assert fine(alpha.write(placed("web", "10.0.9.2/24")))
    assert [one.name for one in alpha.look().networks["over"].endpoints] == ["db", "web"]
    for watch in watches.values():
        watch.close()


def test_many_hosts_that_join_at_once_all_get_their_places(backend: Backend, area: str) -> None:
    assert fine(Host("first", backend.open(area)).write(network_record(overlay("over", "10.0.0.0/16"))))
    hosts = [Host(f"h{number:02}", backend.open(area)) for number in range(6)]

    def join(host: Host) -> list[str]:
        numbers = range(10, 30)
        mine = [
            placed(f"{host.name}-{n}", f"10.0.{host.name[1:].lstrip('0') or 0}.{n}/16", host=host.name) for n in numbers
        ]
        for _ in range(20):
            missing = [each for each in mine if each.key not in host.look().seen]
            if fine(host.write(member_record("over", host.name, ""), *missing)):
                return [each.path for each in mine]
        raise AssertionError(f"{host.name} could not join")

    with ThreadPoolExecutor(len(hosts)) as threads:
        written = [path for paths in threads.map(join, hosts) for path in paths]

    found = held(hosts[0].kv)
    assert {path for path in found if "/endpoints/" in path} == set(written)
    assert sorted(value for key, value in found.items() if key.startswith("addresses/")) == sorted(written)


def test_watch_that_lags_behind_a_listing_takes_nothing_back(hosts: list[Host]) -> None:
    alpha, _ = hosts
    watch = alpha.kv.watch("network/over/")
    old = until(lambda: watch.poll(5))
    assert isinstance(old, Batch)
    alpha.store.follow("network/over/", old)
    assert fine(alpha.write(placed("web", "10.0.9.2/24")))
    lagging = until(lambda: watch.poll(5))
    assert isinstance(lagging, Batch)
    assert fine(alpha.write(placed("web", "10.0.9.4/24")))
    alpha.look()

    alpha.store.follow("network/over/", lagging)

    assert [str(one.ipv4) for one in alpha.look().networks["over"].endpoints] == ["10.0.9.4/24"]
    watch.close()


def test_what_long_dead_hosts_left_is_tidied_up_on_all_networks(hosts: list[Host]) -> None:
    alpha, _ = hosts
    dead = replace(node("dead", "192.0.2.9"), is_watched=True)
    elsewhere = network_record(overlay("elsewhere", "10.0.8.0/24", vni=5))
    writer = Host("dead", alpha.kv)
    assert fine(writer.write(elsewhere, info_record(dead)))
    assert fine(
        writer.write(
            member_record("elsewhere", "dead", ""), placed("x", "10.0.8.2/24", host="dead", network="elsewhere")
        )
    )
    alpha.kv.put("nodes/dead/left", b'{"at":"2026-11-01T00:00:00Z"}')
    alpha.kv.put("revisions/dead", b"{}")

    state = alpha.look()
    gone = sorted(
        key[1] for key, seen in state.seen.items() if seen.is_ours and "alpha" not in key[1] and "over" not in key[1]
    )
    assert gone == [
        "network/elsewhere/endpoints/x",
        "network/elsewhere/members/dead",
        "nodes/dead/info",
        "nodes/dead/left",
        "revisions/dead",
    ]
    assert fine(alpha.delete(*gone))

    assert [key for key in held(alpha.kv) if "dead" in key or "10.0.8.2" in key] == []
    assert {"networks/elsewhere", "vnis/00000005"}.isdisjoint(held(alpha.kv))


@pytest.fixture
def suffering(clustered: Backend, area: str) -> tuple[Backend, Host]:
    host = Host("alpha", clustered.open(area, 1.0))
    assert fine(host.write(network_record(overlay()), member_record("over", "alpha", "")))
    host.look()
    return clustered, host


def test_outage_costs_one_call_and_what_was_known_stays(suffering: tuple[Backend, Host]) -> None:
    backend, alpha = suffering
    assert backend.server is not None
    operations = [operation(None, placed(f"a{n}", f"10.0.9.{n}/24")) for n in range(10, 110)]
    backend.server.pause()

    with within(10):  # a hundred calls take a second each
        outcomes = apply_cluster_records(operations, alpha.store)
    assert all(isinstance(outcome.error, KvUnavailable) for outcome in outcomes)
    (later,) = apply_cluster_records(operations[:1], alpha.store)
    assert later.error is outcomes[0].error, "a later step does not ask again"
    state = alpha.look()
    assert isinstance(state.outage, KvUnavailable)
    assert state.is_known
    assert [member.host for member in state.networks["over"].members] == ["alpha"]
    with within(0.9):
        assert all(outcome.error is state.outage for outcome in apply_cluster_records(operations, alpha.store))

    backend.server.resume()
    assert until(lambda: alpha.look().outage is None, 30)
    seen = {path for _, path in alpha.look().seen}
    left = [each for each in operations if each.key[1] not in seen]
    assert fine(until(lambda: retried(alpha, left), 30))
    assert len(alpha.look().networks["over"].endpoints) == 100


def retried(host: Host, operations: list[Operation]) -> list[Outcome] | None:
    host.look()
    outcomes = apply_cluster_records(operations, host.store)
    return outcomes if fine(outcomes) else None


def test_store_that_was_never_reached_is_not_known(clustered: Backend, area: str) -> None:
    assert clustered.server is not None
    host = Host("alpha", clustered.open(area, 1.0))
    clustered.server.pause()

    state = host.look()

    assert isinstance(state.outage, KvUnavailable)
    assert not state.is_known


def test_watch_tells_of_an_outage_and_of_its_end_without_a_call(suffering: tuple[Backend, Host]) -> None:
    _, alpha = suffering
    error = KvUnavailable("no answer")

    assert alpha.store.watch_failed("nodes/", error)
    assert not alpha.store.watch_failed("networks/", error)
    assert alpha.look().outage is error
    assert not alpha.store.watch_recovered("nodes/")
    assert alpha.look().outage is error
    assert alpha.store.watch_recovered("networks/")
    assert alpha.look().outage is None
