"""Whatever happens in whatever order: what is decided with all that was kept is what one would decide from nothing."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from msgspec.structs import replace

from reconciler.announcements import announcements
from reconciler.cluster.global_networks import followed_networks
from reconciler.cluster.records import info_record, member_record, network_record
from reconciler.decide import Decider, Decision, compared, otherwise
from reconciler.errors import KernelError, SandboxMissing
from reconciler.facts import Facts
from reconciler.flows import stale_flows
from reconciler.incremental import Union
from reconciler.kinds.kv_record import RecordReader, decode_records
from reconciler.kv.address import discovery
from reconciler.kv.protocol import KvEntry, KvStore
from reconciler.model.cluster import ALONE, ClusterPlace
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import ClusterRecord, Key, KvRecord, Seen, Sysctl, Unit, VethPair, seen_differ
from reconciler.model.plan import Action, Operation, Plan
from reconciler.model.wanted import WantedState
from reconciler.observe.cluster import ClusterStore
from reconciler.spec.load import load_specs
from tests.fakes.cluster import NOW, node, overlay, placed, texts
from tests.fakes.desired import host_facts
from tests.fakes.scripted_host import ScriptedHost
from tests.fakes.simulated_kernel import SimulatedKernel
from tests.properties.test_cluster_news import RECORDS, Store

EXAMPLES: Final = int(os.environ.get("INCREMENTAL_EXAMPLES", "11"))
"""In the suite; a thousand take some minutes."""

COUNTS: Counter[str] = Counter()
"""What was done, in all examples."""

_BRIDGE: Final = "com.docker.network.bridge."
NETWORKS: Final[Mapping[str, Any]] = {
    "bridge": [{"driver_opts": {_BRIDGE + "enable_icc": "false"}}, {}],
    "n1": [
        {},
        {"internal": True},
        {"ipam": {"config": [{"subnet": "10.9.0.0/24"}]}},
        {"enable_ipv6": True, "ipam": {"config": [{"subnet": "fd00:9::/64"}]}},
    ],
    "n2": [
        {},
        {"driver_opts": {_BRIDGE + "gateway_mode_ipv4": "routed"}},
        {"driver_opts": {_BRIDGE + "name": "br-n2"}},
    ],
    "mv": [{"driver": "macvlan", "driver_opts": {"parent": parent}} for parent in ("uplink0", "eth7")],
    "over": [{"driver": "overlay"}, {"driver": "overlay", "ipam": {"config": [{"subnet": "10.0.9.0/24"}]}}],
}
NAMES: Final = ("a", "b", "c", "d", "e")
JOINED = st.lists(st.sampled_from(sorted(NETWORKS)), min_size=1, max_size=3, unique=True)
MORE = st.sampled_from(
    (
        {},
        {},
        {"ports": ["8080:80"]},
        {"ports": ["127.0.0.1:8081:80/udp", "90"]},
        {"sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}},
        {"hostname": "other", "extra_hosts": ["gate:host-gateway"]},
        {"links": ["b:x"], "networks": {"bridge": {}}},
        {"networks": {"n1": {"ipv4_address": "10.9.0.7"}}},
        {"networks": {"over": {"ipv4_address": "10.0.9.3"}}},
        {"network_mode": "none", "networks": None},
    )
)
PLACES = st.integers(0, 10_000)
PLACE: Final = ClusterPlace(nodes_folder="nodes/", instance="i-alpha", is_watched=False, revision=("", False))
HOSTS: Final = (
    replace(host_facts(), vtep=ip_address("192.0.2.1")),
    replace(host_facts(), vtep=ip_address("192.0.2.1"), uplink_mtu=1400, resolv_conf=""),
    host_facts(has_ipv6=False),
    replace(host_facts(), uplinks=("uplink0",)),
)


class TwiceDeciding(ScriptedHost):
    """Decides everything twice, with all that was kept and from nothing, and compares."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store = Store()
        self.cluster = ClusterStore(
            cast(KvStore, self.store), host="alpha", instance="i-alpha", discovery=discovery({})
        )
        self.is_in_cluster = False
        self.blocked: tuple[tuple[Unit, KernelError], ...] = ()
        self._records = RecordReader()
        self._table: Union[tuple[int], Key, Seen] = Union(seen_differ)
        self._before: Decision | None = None

    def load(self) -> WantedState:
        self._loaded = load_specs(
            self.settings.specs_dir, host="alpha", is_in_cluster=self.is_in_cluster, previous=self._loaded
        )
        return self._loaded.wanted

    def look(self) -> Plan:
        COUNTS["looks"] += 1
        wanted = self.load()
        facts = self.facts_of(wanted)
        kept = self._decide(wanted, facts, self.blocked)
        read_anew = decode_records({entry.key: entry.value.decode() for entry in self.list("")})
        anew = Decider()(wanted, replace(facts, seen=dict(facts.seen), records=read_anew), self.blocked)
        assert list(otherwise(kept, anew, frozenset(n.name for n in kept.desired.networks))) == []
        plan = compared(kept, wanted, facts)
        assert as_text(plan) == as_text(compared(anew, wanted, facts))
        for found in kept.seen.values():
            assert kept.owners.unit_of(found.object) == anew.owners.unit_of(found.object), found
        if self._before is not None:
            before, after = self._before.seen, kept.seen
            assert stale_flows(before, after) == stale_flows(dict(before), dict(after))
            assert set(announcements(before, after)) == set(announcements(dict(before), dict(after)))
        self._before = kept
        return plan

    def facts_of(self, wanted: WantedState) -> Facts:
        facts = self._gather()
        followed = followed_networks(wanted, facts.records.plugins.scopes, facts.records.promises.shared_networks())
        return replace(
            facts,
            seen=self._table({(0,): dict(self.seen)}),
            records=self._records({entry.key: entry.value.decode() for entry in self.list("")}),
            cluster=self.cluster.look(followed, NOW) if self.is_in_cluster else ALONE,
            place=PLACE if self.is_in_cluster else None,
        )

    def shared_endpoints(self) -> dict[str, str]:
        """Give the addresses, by name, that endpoints have on the network of the cluster, as decided last."""
        decided = () if self._before is None or not self.is_in_cluster else self._before.desired.attachments
        endpoints = (endpoint for attachment in decided for endpoint in attachment.endpoints)
        return {each.attachment: str(each.ipv4) for each in endpoints if each.network == "over" and each.ipv4}

    def carry_out(self, operations: tuple[Operation, ...]) -> None:
        kernel = SimulatedKernel(self.seen.values())
        kernel.apply([each for each in operations if not isinstance(each.object, ClusterRecord)])
        self.seen = kernel.seen
        for each in operations:
            if isinstance(each.object, ClusterRecord):
                self.store.entries.pop(each.object.path, None)
                if each.action is not Action.DELETE:
                    value = each.object.value.encode()
                    self.store.entries[each.object.path] = KvEntry(key=each.object.path, value=value, version=1)


def as_text(plan: Plan) -> list[str]:
    """Units too, which are not compared."""
    operations = [f"{o.action} {o.before!r} {o.after!r} {o.unit} {o.disruption} {o.affects}" for o in plan.operations]
    return [*operations, *(f"{unit}: {error}" for unit, error in plan.problems)]


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.host = TwiceDeciding(Path(self.folder.name))
        for name in ("n1", "n2"):
            self.declare("networks", name, NETWORKS[name][0])
        for name in NAMES[:3]:
            self.declare("attachments", name, {"networks": {"n1": {}}})
        self.make_a_pass()

    def teardown(self) -> None:
        self.folder.cleanup()

    def declare(self, section: str, name: str, value: object) -> None:
        path = self.host.settings.specs_dir / f"{section}-{name}.yaml"
        path.write_text(json.dumps({section: {name: value}}))

    def happened(self, what: str) -> None:
        COUNTS["steps"] += 1
        COUNTS[what] += 1
        self.host.look()

    @rule(name=st.sampled_from(sorted(NETWORKS)), which=PLACES)
    def edit_network(self, name: str, which: int) -> None:
        self.declare("networks", name, NETWORKS[name][which % len(NETWORKS[name])])
        self.happened("edits")

    @rule(name=st.sampled_from(NAMES), joined=JOINED, more=MORE)
    def edit_attachment(self, name: str, joined: list[str], more: dict[str, Any]) -> None:
        self.declare("attachments", name, {"networks": dict.fromkeys(joined), **more})
        self.happened("edits")

    @rule(which=PLACES)
    def remove_file(self, which: int) -> None:
        files = sorted(self.host.settings.specs_dir.iterdir())
        if files:
            files[which % len(files)].unlink()
        self.happened("removals")

    @rule(which=PLACES, line=st.sampled_from(("# a remark\n", "? [\n")))
    def begin_a_file_with(self, which: int, line: str) -> None:
        """A remark, or what makes a file unreadable."""
        files = sorted(self.host.settings.specs_dir.iterdir())
        if files:
            path = files[which % len(files)]
            path.write_text(line + path.read_text())
        self.happened("remarks and faults")

    @rule()
    def make_a_pass(self) -> None:
        for _ in range(3):
            self.host.carry_out(self.host.look().operations)
        self.happened("passes")

    @rule(cut=PLACES)
    def crash_on_the_way(self, cut: int) -> None:
        operations = self.host.look().operations
        self.host.carry_out(operations[: cut % (len(operations) + 1)])
        self.happened("crashes")

    @rule(where=st.lists(PLACES, min_size=1, max_size=4))
    def drift(self, where: list[int]) -> None:
        """Take away, change, or let somebody else have made something."""
        for place in where:
            keys = sorted(self.host.seen)
            if not keys:
                break
            key = keys[place % len(keys)]
            found = self.host.seen.pop(key)
            if isinstance(found.object, Sysctl):
                self.host.seen[key] = Seen(replace(found.object, value="7"), is_ours=False)
            elif isinstance(found.object, VethPair):
                self.host.seen[key] = Seen(replace(found.object, master="", peer_mac="02:00:00:00:00:07"), is_ours=True)
            elif place % 3 == 0:
                self.host.seen[key] = replace(found, is_ours=False)
        self.happened("drifts")

    @rule(count=st.sampled_from((1, 3, 1000)), which=PLACES)
    def forget_records(self, count: int, which: int) -> None:
        records = sorted(key for key in self.host.seen if key[0] == KvRecord.kind)
        for key in (records[which % (len(records) + 1) :] + records)[:count]:
            self.host.seen.pop(key, None)
        self.happened("forgotten records")

    @rule(unit=st.sampled_from([None, Unit(), Unit(network="n1"), Unit(attachment="b"), Unit("n1", "a")]))
    def block_unit(self, unit: Unit | None) -> None:
        self.host.blocked = () if unit is None else ((unit, KernelError(5, "cannot be made")),)
        self.happened("blocked units")

    @rule(name=st.sampled_from([None, *NAMES]))
    def lose_sandbox(self, name: str | None) -> None:
        gone = SandboxMissing("held by another attachment")
        self.host.unusable = {} if name is None else {NsRef(f"netns:{name}"): gone}
        self.happened("unusable sandboxes")

    @rule(which=PLACES, is_in_cluster=st.booleans())
    def change_host(self, which: int, is_in_cluster: bool) -> None:
        self.host.facts = HOSTS[which % len(HOSTS)]
        self.host.is_in_cluster = is_in_cluster
        self.happened("changes of the host")

    @rule(
        records=st.lists(st.sampled_from(RECORDS), min_size=1, max_size=9),
        is_down=st.sampled_from((False, False, True)),
    )
    def hear_of_the_cluster(self, records: list[tuple[str, str]], is_down: bool) -> None:
        self.host.is_in_cluster, self.host.store.is_down = True, is_down
        for path, text in records:
            self.host.store.entries[path] = KvEntry(key=path, value=text.encode(), version=1)
        self.happened("cluster news")

    @rule(which=st.lists(PLACES, min_size=1, max_size=3))
    def hear_that_records_of_the_cluster_went(self, which: list[int]) -> None:
        paths = sorted(self.host.store.entries)
        for place in which if paths else ():
            self.host.store.entries.pop(paths[place % len(paths)], None)
        self.happened("records that went")

    @rule(name=PLACES, address=PLACES, is_applied=st.booleans())
    def let_another_host_take(self, name: int, address: int, *, is_applied: bool) -> None:
        """A name or an address that an endpoint here was promised, or both, as when its record came first."""
        if not self.host.shared_endpoints():
            self._share_a_network()
        ours = self.host.shared_endpoints()
        names = ["x", *sorted(ours)]
        taken = names[name % len(names)]
        free = ["10.0.9.77/24"] if taken in ours else []
        addresses = [*free, *sorted(ours.values())] or ["10.0.9.2/24"]
        self._put(placed(taken, addresses[address % len(addresses)], host="beta"))
        self.happened("names and addresses that others took")
        if is_applied:
            self.host.carry_out(self.host.look().operations)

    @rule(which=PLACES)
    def let_another_host_give_up(self, which: int) -> None:
        paths = sorted(path for path, entry in self.host.store.entries.items() if b'"host":"beta"' in entry.value)
        if paths:
            del self.host.store.entries[paths[which % len(paths)]]
        self.happened("names and addresses that others gave up")

    def _share_a_network(self) -> None:
        """Have endpoints on an overlay network, of which another host is a member."""
        self.host.facts, self.host.is_in_cluster, self.host.store.is_down = HOSTS[0], True, False
        self._put(network_record(overlay()), info_record(node("beta", "192.0.2.2")), member_record("over", "beta", ""))
        self.declare("networks", "over", NETWORKS["over"][0])
        for name in NAMES[:2]:
            self.declare("attachments", name, {"networks": {"over": {}}})
        self.make_a_pass()

    def _put(self, *records: ClusterRecord) -> None:
        for path, text in texts(*records).items():
            self.host.store.entries[path] = KvEntry(key=path, value=text.encode(), version=1)


def test_what_is_kept_is_what_one_would_decide_from_nothing() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    print(", ".join(f"{count} {what}" for what, count in COUNTS.most_common()))
