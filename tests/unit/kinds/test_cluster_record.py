"""Hosts that come to a network and leave it at the same time: every order of their calls to the store, answers lost, deaths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from msgspec import Struct, field

from reconciler.cluster.records import claims, member_record, network_record
from reconciler.errors import KvConflict, KvError, KvUnavailable
from reconciler.kinds.cluster_record import apply_cluster_records
from reconciler.kv.protocol import MUST_NOT_EXIST, Check, KvEntry, KvStore, Write
from reconciler.model.objects import ClusterRecord
from reconciler.model.plan import Action, Operation
from tests.fakes.cluster import overlay, placed
from tests.fakes.memory_store import MemoryStore

HEAD = network_record(overlay())
CHANGED = network_record(overlay("over", "10.0.9.0/24", vni=4097, is_declared=True))
FOLDER = "network/over/"
MOMENTS_MIN = 30
"""Of any two hosts: less is no race."""

Entries = Mapping[str, KvEntry]


class LookedAt(Struct, frozen=True):
    """The store as a host looked at it."""

    kv: KvStore
    entries: Entries
    outage: KvError | None = None

    def version(self, path: str) -> int:
        return self.entries[path].version if path in self.entries else MUST_NOT_EXIST

    def forget(self, paths: Iterable[str]) -> None:
        """Each pass looks at all."""

    def contend(self, network: str) -> None:
        """Nobody asks here."""

    def suffer(self, outage: KvError) -> None:
        """A pass is over then anyhow."""


# ---- what hosts want


def joined(host: str, entries: Entries) -> Iterator[list[Operation]]:
    """Yield the steps of who joins the network if somebody declares it (`external: true`), with an attachment."""
    if HEAD.path in entries:
        yield created(
            entries, placed(f"on-{host}", f"10.0.9.1{host[1:]}/24", host=host), member_record("over", host, "")
        )


def declared(host: str, entries: Entries) -> Iterator[list[Operation]]:
    """Yield the steps of who declares the network, unless it is declared differently."""
    if HEAD.path not in entries or entries[HEAD.path].value.decode() == HEAD.value:
        yield created(entries, HEAD)
        yield created(entries, member_record("over", host, "alike"))


def redeclared(host: str, entries: Entries) -> Iterator[list[Operation]]:
    """Yield the step of a member that declares it differently by now, and is alone in declaring it."""
    others = [path for path in entries if path.startswith(f"{FOLDER}members/") and not path.endswith(host)]
    if HEAD.path in entries and entries[HEAD.path].value.decode() == HEAD.value and not others:
        yield [Operation(action=Action.UPDATE, before=HEAD, after=CHANGED, unit=HEAD.unit)]


def left(host: str, entries: Entries) -> Iterator[list[Operation]]:
    """Yield the steps of who has nothing to do with the network any more, and tidies up where nobody has."""
    own = [path for path in entries if path.startswith(FOLDER) and path.endswith(host)]
    yield [withdrawal(entries[path]) for path in own]
    if not any(path.startswith(FOLDER) for path in entries.keys() - set(own)) and HEAD.path in entries and not own:
        yield [withdrawal(entries[HEAD.path])]


def created(entries: Entries, *records: ClusterRecord) -> list[Operation]:
    new = (record for record in records if record.path not in entries)
    return [Operation(action=Action.CREATE, before=None, after=each, unit=each.unit) for each in new]


def withdrawal(entry: KvEntry) -> Operation:
    record = ClusterRecord(path=entry.key, value=entry.value.decode())
    return Operation(action=Action.DELETE, before=record, after=None, unit=record.unit)


Wish = Callable[[str, Entries], Iterator[list[Operation]]]


def run_pass(wish: Wish, host: str, kv: KvStore) -> bool:
    """Do one pass; say whether there was anything to do. A step is not begun where the one before failed."""
    entries = {entry.key: entry for folder in ("networks/", FOLDER) for entry in kv.list(folder)}
    steps = [step for step in wish(host, entries) if step]
    plan = [operation for step in steps for operation in step]
    for step in steps:
        if any(outcome.error for outcome in apply_cluster_records(step, LookedAt(kv, entries), plan)):
            break
    return bool(plan)


# ---- every order


class Stopped(BaseException):
    """The pass has made the calls that it was to make."""


class Moment(Struct, frozen=True):
    """One state that can come about. answers: what each host was told so far; done: whose pass is over."""

    entries: Entries
    changes: Mapping[str, int]
    answers: tuple[tuple[Any, ...], ...]
    done: frozenset[int] = frozenset()
    faults: int = 0

    def mark(self) -> tuple[object, ...]:
        """Give the same for moments after which the same can come."""
        versions = tuple(sorted((entry.key, entry.version) for entry in self.entries.values()))
        told = tuple(tuple(map(_mark, each)) for each in self.answers)
        return (versions, tuple(sorted(self.changes.items())), told, self.done, self.faults)


def _mark(answer: object) -> object:
    if isinstance(answer, KvEntry):
        return answer.key, answer.version
    return tuple(map(_mark, answer)) if isinstance(answer, tuple) else type(answer)


class Replayed(MemoryStore):
    """Gives the answers that a host had, then one more of the store as it is, of a call that may be lost, and no other."""

    def __init__(self, moment: Moment, number: int, loses: str = "") -> None:
        super().__init__(moment.entries, moment.changes)
        self.told = list(moment.answers[number])
        self._next = 0
        self._is_asked = False
        self._loses = loses

    def _call(self, call: Callable[[], Any], *, is_write: bool = False) -> Any:
        if self._next < len(self.told):
            answer, self._next = self.told[self._next], self._next + 1
        else:
            if self._is_asked:
                raise Stopped
            self._is_asked = True
            answer = self._answer(call, is_write=is_write)
            self.told.append(answer)
            self._next += 1
        if isinstance(answer, KvError):
            raise answer
        return answer

    def _answer(self, call: Callable[[], Any], *, is_write: bool) -> Any:
        loses = self._loses if is_write else ""
        try:
            answer = None if loses == "question" else call()
        except KvConflict as error:
            answer = error
        return KvUnavailable("no answer") if loses else answer

    def get(self, key: str) -> KvEntry | None:
        found: KvEntry | None = self._call(lambda: super(Replayed, self).get(key))
        return found

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        found: tuple[KvEntry, ...] = self._call(lambda: super(Replayed, self).list(prefix))
        return found

    def transact(self, checks: Sequence[Check], writes: Sequence[Write]) -> None:
        self._call(lambda: super(Replayed, self).transact(checks, writes), is_write=True)


class Cluster(Struct, frozen=True):
    """Hosts, named by their numbers, and what each wants. seen: marks of the moments that were gone on from.

    faults: how many answers may be lost in all; with none, nobody dies either.
    """

    wishes: tuple[Wish, ...]
    faults: int = 0
    seen: set[tuple[object, ...]] = field(default_factory=set)

    def begin(self, members: Iterable[int] | None) -> Moment:
        """Give the moment at which these are its members, and nobody has begun yet. members: None for no network."""
        store = MemoryStore()
        if members is not None:
            settle(store, [(declared, number) for number in (9, *members)])
            store.delete(member_record("over", "h9", "").path)
        return Moment(store.entries, store.changes, ((),) * len(self.wishes), faults=self.faults)

    def explore(self, moment: Moment) -> None:
        """See that all is well at this moment and all that can come, whoever calls next, and whoever dies now."""
        waiting = [moment]
        while waiting:
            now = waiting.pop()
            if (mark := now.mark()) in self.seen:
                continue
            self.seen.add(mark)
            see_nothing_is_torn(now)
            self.see_none_is_left_out(now)
            self.see_it_settles(now)
            for number in range(len(self.wishes)):
                if number not in now.done:
                    waiting += (
                        self.after(now, number, loses) for loses in ("", "question", "answer")[: 1 + 2 * now.faults]
                    )

    def after(self, moment: Moment, number: int, loses: str) -> Moment:
        """Give the moment after one call more of a host."""
        kv = Replayed(moment, number, loses)
        done = moment.done
        try:
            run_pass(self.wishes[number], f"h{number}", kv)
            done |= {number}
        except Stopped:
            pass
        answers = (*moment.answers[:number], tuple(kv.told), *moment.answers[number + 1 :])
        return Moment(kv.entries, kv.changes, answers, done, moment.faults - bool(loses))

    def see_none_is_left_out(self, moment: Moment) -> None:
        """See that the last of those who have left took the network along, where nothing failed."""
        if len(moment.done) == len(self.wishes) and moment.faults == self.faults:
            assert any(path.startswith(FOLDER) for path in moment.entries) or not moment.entries, sorted(moment.entries)

    def see_it_settles(self, moment: Moment) -> None:
        """See that whoever lives comes to have what it wants by passes from now on, also if one of them dies now."""
        for dead in (None, *range(len(self.wishes) if self.faults else 0)):
            store = MemoryStore(moment.entries, moment.changes)
            living = [(wish, number) for number, wish in enumerate(self.wishes) if number != dead]
            settle(store, living)
            see_nothing_is_torn(Moment(store.entries, store.changes, ()))
            there = {path.rpartition("/")[2] for path in store.entries if path.startswith(f"{FOLDER}members/")}
            for wish, number in living:
                head = store.entries.get(HEAD.path)
                is_alike = head is not None and head.value.decode() == HEAD.value
                is_wanted = (
                    wish is redeclared or (wish is declared and is_alike) or (wish is joined and head is not None)
                )
                assert (f"h{number}" in there) == is_wanted, sorted(store.entries)
            assert there or not store.entries, sorted(store.entries)


def settle(store: MemoryStore, hosts: Sequence[tuple[Wish, int]]) -> None:
    """Have hosts do passes, one after the other, until none has anything to do."""
    for _ in range(10):
        if not [number for wish, number in hosts if run_pass(wish, f"h{number}", store)]:
            return
    raise AssertionError(f"not settled: {sorted(store.entries)}")


def see_nothing_is_torn(moment: Moment) -> None:
    """See that nothing is below a network that is not there or is another one, and that records and claims go together."""
    there = moment.entries
    below = [path for path in there if path.startswith((FOLDER, "leaving/"))]
    assert HEAD.path in there or not below, below
    if HEAD.path in there and there[HEAD.path].value.decode() == CHANGED.value:
        members = {path.rpartition("/")[2] for path, each in there.items() if "alike" in each.value.decode()}
        assert members <= {"h0"}, "the first declaration stands"
    records = (ClusterRecord(path=path, value=each.value.decode()) for path, each in there.items())
    owners = {claim: record.path for record in records for claim in claims(record)}
    assert owners == {
        path: each.value.decode() for path, each in there.items() if path.startswith(("vnis/", "pools/", "addresses/"))
    }


@pytest.mark.parametrize(
    ("wishes", "there", "faults"),
    [
        pytest.param((left, joined), (0,), 1, id="one comes while the last leaves"),
        pytest.param((left, declared), (0,), 1, id="one declares it while the last leaves"),
        pytest.param((left, joined), (), 1, id="one comes while another tidies up"),
        pytest.param((left, declared), None, 1, id="one tidies up what another declares"),
        pytest.param((redeclared, declared), (0,), 1, id="one changes what another comes to declare"),
        pytest.param((left, left), (0, 1), 1, id="the last two leave"),
        pytest.param((left, left, joined), (0, 1), 0, id="one comes while the last two leave"),
        pytest.param((left, joined, joined), (0,), 0, id="two come while the last leaves"),
    ],
)
def test_who_comes_while_another_leaves_or_changes_it_has_the_network_or_knows_that_he_has_not(
    wishes: tuple[Wish, ...], there: tuple[int, ...] | None, faults: int
) -> None:
    """Whatever order their calls come in, whoever dies between them and whichever answer is lost."""
    cluster = Cluster(wishes, faults)

    cluster.explore(cluster.begin(there))

    assert len(cluster.seen) > MOMENTS_MIN


def test_what_comes_to_a_network_that_the_same_pass_changes_is_not_lost() -> None:
    store = MemoryStore()
    settle(store, [(declared, 0)])
    entries = dict(store.entries)
    pass_ = [
        Operation(action=Action.UPDATE, before=HEAD, after=CHANGED, unit=HEAD.unit),
        *created(entries, placed("a")),
    ]

    for step in pass_:
        (outcome,) = apply_cluster_records([step], LookedAt(store, entries), pass_)
        assert outcome.error is None

    assert store.entries[HEAD.path].value.decode() == CHANGED.value != HEAD.value


def test_who_lost_a_network_is_told_what_became_of_it() -> None:
    store = MemoryStore()
    settle(store, [(declared, 0)])
    entries = dict(store.entries)
    store.put(HEAD.path, network_record(overlay(vni=5)).value.encode())
    (changed,) = apply_cluster_records(created(entries, placed("a")), LookedAt(store, entries))
    settle(store, [(left, 0)])
    (gone,) = apply_cluster_records(created(entries, placed("a")), LookedAt(store, entries))

    assert str(changed.error) == "network over was changed by another host meanwhile"
    assert str(gone.error) == "network over has gone meanwhile"
    assert not store.entries.keys() - {"vnis/00004097"}
