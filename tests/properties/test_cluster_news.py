"""What a host keeps of the cluster's store is what one who begins anew would see, whatever was told and in whatever pieces."""

from __future__ import annotations

import json
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from reconciler.cluster.records import info_record, left_path, life_path, life_value, member_record, network_record
from reconciler.errors import KvUnavailable
from reconciler.kv.address import discovery
from reconciler.kv.protocol import Batch, KvEntry, KvStore
from reconciler.model.cluster import ClusterState
from reconciler.observe.cluster import ClusterStore
from tests.fakes.cluster import NOW, node, overlay, placed, texts

HOSTS = ("alpha", "beta", "gamma")
LATER = "2027-11-25T12:00:00.000000000Z"
RECORDS = [
    *texts(network_record(overlay())).items(),
    *texts(network_record(overlay("over", "10.0.8.0/24"))).items(),
    *texts(network_record(overlay("other"))).items(),
    *texts(network_record(overlay("other", "10.7.0.0/24", vni=9))).items(),
    *((left_path("nodes/", host), json.dumps({"at": NOW})) for host in HOSTS),
    *((life_path("nodes/", host), life_value(f"i-{other}")) for host in HOSTS for other in (host, "else")),
    *(("revisions/" + host, json.dumps({"commit": "", "dirty": True})) for host in HOSTS),
]
RECORDS += [
    pair
    for number, host in enumerate(HOSTS, 1)
    for record in (
        info_record(node(host, f"192.0.2.{number}", is_watched=True)),
        info_record(node(host, f"192.0.2.{number + 9}")),
        *(member_record(network, host, "") for network in ("over", "other", "odd")),
        *(placed(name, f"10.0.9.{last}/24", host=host) for name in ("a", "b", "c") for last in (2, 3)),
        placed("d", "10.0.8.9/24", host=host),
        placed("a", "10.7.0.2/24", host=host, network="other"),
    )
    for pair in texts(record).items()
]
PATHS = sorted({path for path, _ in RECORDS})
FOLLOWED = st.sampled_from([("over",), ("over", "other"), ()])
NO_ANSWER = KvUnavailable("the store does not answer")


class Store:
    """What a server would say."""

    def __init__(self) -> None:
        self.entries: dict[str, KvEntry] = {}
        self.is_down = False

    def list(self, prefix: str) -> tuple[KvEntry, ...]:
        if self.is_down:
            raise NO_ANSWER
        return tuple(entry for key, entry in sorted(self.entries.items()) if key.startswith(prefix))

    def get(self, key: str) -> KvEntry | None:
        return next((entry for entry in self.list("") if entry.key == key), None)


class ClusterNews(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.kept = self.opened()
        self.version = 0
        self.backup: dict[str, KvEntry] = {}
        self.told: dict[str, dict[str, KvEntry] | None] = {}
        self.followed: tuple[str, ...] = ("over",)
        self.now = NOW

    def opened(self) -> ClusterStore:
        return ClusterStore(cast(KvStore, self.store), host="alpha", instance="i-alpha", discovery=discovery({}))

    @rule(record=st.sampled_from(RECORDS))
    def write(self, record: tuple[str, str]) -> None:
        self._write(*record)

    @rule(path=st.sampled_from(PATHS), text=st.sampled_from(("", "{", "{}", '{"host":"beta"}')))
    def damage(self, path: str, text: str) -> None:
        self._write(path, text)

    @rule(paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=8))
    def delete(self, paths: list[str]) -> None:
        for path in paths:
            self.store.entries.pop(path, None)

    @rule()
    def back_up(self) -> None:
        self.backup = dict(self.store.entries)

    @rule(is_told=st.booleans())
    def restore(self, is_told: bool) -> None:
        """Versions go back with the entries: watches begin anew, or tell of older ones."""
        self.store.entries = dict(self.backup)
        if not is_told:
            self.told = dict.fromkeys(self.told)

    @rule(followed=FOLLOWED)
    def follow(self, followed: tuple[str, ...]) -> None:
        self.followed = followed

    @rule(is_down=st.booleans())
    def break_down(self, is_down: bool) -> None:
        self.store.is_down = is_down

    @rule(now=st.sampled_from((NOW, LATER)))
    def wait(self, now: str) -> None:
        self.now = now

    @rule(folder=st.sampled_from(("nodes/", "networks/", "network/over/", "network/other/")))
    def watch(self, folder: str) -> None:
        """Begin to watch, or tell one who watches."""
        before = self.told.get(folder)
        there = {key: entry for key, entry in self.store.entries.items() if key.startswith(folder)}
        if before is None:
            self.kept.follow(folder, Batch(is_resync=True, entries=tuple(there.values())))
        else:
            written = tuple(entry for key, entry in there.items() if before.get(key) != entry)
            self.kept.follow(
                folder, Batch(is_resync=False, entries=written, deleted=tuple(before.keys() - there.keys()))
            )
        self.told[folder] = there

    @rule(path=st.sampled_from(PATHS))
    def forget(self, path: str) -> None:
        self.kept.forget([path])

    @rule(folder=st.sampled_from(("nodes/", "networks/", "network/over/")))
    def watch_no_more(self, folder: str) -> None:
        self.told.pop(folder, None)
        self.kept.unfollow(folder)

    @rule()
    def look_behind(self) -> None:
        """Look while the watches have yet to tell."""
        self.kept.look(self.followed, self.now)

    @invariant()
    def it_is_as_from_nothing(self) -> None:
        if self.store.is_down:
            self.kept.look(self.followed, self.now)
            return
        for folder in tuple(self.told):
            self.watch(folder)
        self.kept.doubt()

        kept, fresh = self.kept.look(self.followed, self.now), self.opened().look(self.followed, self.now)

        assert _plain(kept) == _plain(fresh)
        assert kept is self.kept.look(self.followed, self.now)

    def _write(self, path: str, text: str) -> None:
        self.version += 1
        self.store.entries[path] = KvEntry(key=path, value=text.encode(), version=self.version)


def _plain(state: ClusterState) -> ClusterState:
    return replace(state, seen=dict(state.seen), outage=None)


TestClusterNews = ClusterNews.TestCase
TestClusterNews.settings = settings(max_examples=max(5, settings().max_examples // 4))
