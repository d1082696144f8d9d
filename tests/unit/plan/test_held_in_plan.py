"""What runs does not suffer for what is wrong elsewhere: nothing that is derived forgets who stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
from msgspec.structs import replace

from reconciler.decide import Decider, compared
from reconciler.errors import KvUnavailable
from reconciler.facts import Facts
from reconciler.kinds.kv_record import decode_records
from reconciler.model.cluster import ClusterPlace, ClusterState
from reconciler.model.desired import DesiredState
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    CLUSTER_UNIT,
    NAMES_UNIT,
    ClusterRecord,
    Key,
    KvRecord,
    Macvlan,
    NameTables,
    Object,
    Seen,
    Sysctl,
    Unit,
    VethPair,
)
from reconciler.model.observed import BoundSocket, HostPorts, SandboxFact
from reconciler.model.plan import Action, Plan
from reconciler.model.report import Report
from reconciler.model.wanted import (
    AttachmentWanted,
    MacvlanOptions,
    NetworkWanted,
    OverlayOptions,
    PortWanted,
    WantedState,
)
from reconciler.status.files import Documents
from reconciler.status.summary import Revision
from tests.fakes.desired import host_facts
from tests.unit.ipam.builders import attachment, network

HOST_FACTS = replace(host_facts(), vtep=ip_address("198.51.100.1"))
CLUSTER = ClusterState(host="alpha", is_known=True)
TAKEN = HostPorts(sockets=(BoundSocket("tcp", None, 99),))
PLACE = ClusterPlace(nodes_folder="nodes", instance="i", is_watched=False, revision=("", False))
FOREIGN = {NsRef("netns:web"): SandboxFact(inode=7, is_ours=False)}


def port(published: int, host_ip: str | None = None) -> PortWanted:
    where = ip_address(host_ip) if host_ip else None
    return PortWanted(target=(80, 80), published=(published, published), host_ip=where)


def overlay(name: str) -> NetworkWanted:
    return replace(network(name), driver="overlay", bridge=None, overlay=OverlayOptions())


def member(name: str, *networks: str, **more: object) -> AttachmentWanted:
    return replace(attachment(name, *networks), hostname=name, **more)  # type: ignore[arg-type]


NETWORKS = (
    network("bridge", "172.17.0.0/16"),
    network("lan", "10.1.0.0/24", "fd00:1::/64"),
    network("side", "10.2.0.0/24"),
    overlay("over"),
    overlay("other"),
    replace(network("parentless", "10.3.0.0/24"), driver="macvlan", bridge=None, macvlan=MacvlanOptions()),
)
MEMBERS = (
    member("web", "lan", ports=(port(8080),), sysctls=(("net.ipv4.ip_unprivileged_port_start", "0"),)),
    member("loopback", "side", ports=(port(8081, "127.0.0.1"),)),
    member("db", "lan", "side"),
    member("legacy", "bridge", links=(("target", "t"),), extra_hosts=(("host", "host-gateway"),)),
    member("target", "bridge", ports=(port(8082),)),
    member("far", "other", "over", ports=(port(8083),)),
    member("sub", "parentless"),
)
SPECS = WantedState(networks=NETWORKS, attachments=MEMBERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    desired: DesiredState
    objects: Mapping[Key, Object]
    plan: Plan


def looked(
    wanted: WantedState,
    seen: Mapping[Key, Seen] | None = None,
    *,
    cluster: ClusterState = CLUSTER,
    ports: HostPorts | None = None,
) -> Looked:
    """Decide and compare, at a host where `seen` is."""
    seen = seen or {}
    records = decode_records({f.object.path: f.object.value for f in seen.values() if isinstance(f.object, KvRecord)})
    assert not records.faults
    facts = Facts(
        host=HOST_FACTS,
        seen=seen,
        sandboxes=FOREIGN,
        ports=ports or HostPorts(),
        zones=tables_of(seen_objects(seen)).text,
        firewall=seen,
        records=records,
        cluster=cluster,
        place=PLACE,
    )
    decision = Decider()(wanted, facts)
    return Looked(desired=decision.desired, objects=decision.objects, plan=compared(decision, wanted, facts))


def seen_objects(seen: Mapping[Key, Seen]) -> Mapping[Key, Object]:
    return {key: found.object for key, found in seen.items()}


def tables_of(objects: Mapping[Key, Object]) -> NameTables:
    found = objects.get(NameTables(digest="").key, NameTables(digest=""))
    assert isinstance(found, NameTables)
    return found


@cache
def running() -> Mapping[Key, Seen]:
    """Give a host on which SPECS were applied. Its settings were other ones before."""
    first = looked(SPECS)
    assert not first.desired.failures
    before = {k: Seen(replace(o, value="9"), is_ours=False) for k, o in first.objects.items() if isinstance(o, Sysctl)}
    settled = looked(SPECS, before).objects
    seen = {key: Seen(found, is_ours=not isinstance(found, Sysctl)) for key, found in settled.items()}
    assert not looked(SPECS, seen).plan.operations
    return seen


def listed(look: Looked, seen: Mapping[Key, Seen]) -> dict[str, str]:
    """Give the inspect documents of the networks."""
    links = frozenset(f.object.unit for f in seen.values() if isinstance(f.object, (VethPair, Macvlan)))
    report = Report(desired=look.desired, plan=look.plan, drift=look.plan, running=links)
    texts = Documents({}, netns_dir=Path("/run/netns")).files(report, Revision()).networks
    return {name: b"".join(pieces).decode() for name, pieces in texts.items()}


def without(*names: str) -> WantedState:
    """What is left of SPECS when the entries of these attachments cannot be read."""
    return replace(SPECS, has_faults=True, attachments=tuple(a for a in MEMBERS if a.name not in names))


def changed(name: str, **more: object) -> WantedState:
    attachments = (replace(a, **more) if a.name == name else a for a in MEMBERS)  # type: ignore[arg-type]
    return replace(SPECS, attachments=tuple(attachments))


def port_taken(name: str) -> tuple[WantedState, ClusterState]:
    return changed(name, ports=(port(99),)), CLUSTER


def unread(*names: str) -> tuple[WantedState, ClusterState]:
    return without(*names), CLUSTER


def refused(*networks: str) -> tuple[WantedState, ClusterState]:
    """Networks that cannot be had: what other hosts declare differently, or a subnet that is no good any more."""
    return SPECS, replace(CLUSTER, refused={name: KvUnavailable(f"network {name}: refused") for name in networks})


FAULTS: dict[str, Callable[[], tuple[WantedState, ClusterState]]] = {
    **{f"{m.name}: port taken": lambda name=m.name: port_taken(name) for m in MEMBERS if m.name != "sub"},  # type: ignore[misc]
    **{f"{m.name}: cannot be read": lambda name=m.name: unread(name) for m in MEMBERS},  # type: ignore[misc]
    "nobody can be read": lambda: unread(*(m.name for m in MEMBERS)),
    **{f"network {n.name} cannot be had": lambda name=n.name: refused(name) for n in NETWORKS},  # type: ignore[misc]
    "no network can be had": lambda: refused(*(n.name for n in NETWORKS)),
    "no file can be read": lambda: (WantedState(networks=(), attachments=(), has_faults=True), CLUSTER),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_nothing_that_runs(fault: str) -> None:
    seen = running()
    wanted, cluster = FAULTS[fault]()

    look = looked(wanted, seen, cluster=cluster, ports=TAKEN)

    assert look.desired.failures or wanted.has_faults
    assert [operation.describe() for operation in look.plan.operations] == []
    fine = listed(looked(SPECS, seen), seen)
    assert all(text == fine[name] for name, text in listed(look, seen).items())


@pytest.mark.parametrize("fault", FAULTS)
def test_what_others_changed_is_put_right_for_those_without_a_fault(fault: str) -> None:
    """Drift of a network's own settings is repaired although a member is held."""
    seen = running()
    wanted, cluster = FAULTS[fault]()
    lan = next(n for n in looked(SPECS, seen).desired.networks if n.name == "lan")
    setting = Sysctl(ns=HOST, name=f"net/ipv4/conf/{lan.link_name}/route_localnet", value="0")
    assert setting.key in seen
    drifted = {**seen, setting.key: Seen(setting, is_ours=False)}

    look = looked(wanted, drifted, cluster=cluster, ports=TAKEN)

    is_decided = any(n.name == "lan" for n in look.desired.networks)
    assert [o.object.key for o in look.plan.operations] == ([setting.key] if is_decided else [])


def test_network_that_nobody_declares_any_more_stays_with_a_member_that_cannot_leave_it() -> None:
    seen = running()
    wanted = changed("db", endpoints=attachment("db", "lan").endpoints, ports=(port(99),))
    left = tuple(each for each in wanted.attachments if each.name != "loopback")
    wanted = replace(wanted, networks=tuple(each for each in NETWORKS if each.name != "side"), attachments=left)

    look = looked(wanted, seen, ports=TAKEN)

    units = {operation.unit for operation in look.plan.operations}
    assert units <= {Unit(attachment="loopback"), NAMES_UNIT}
    told = dict(look.desired.failures)[Unit(network="side")]
    assert str(told) == ("network side is no longer declared, but attachment db stays on it as it is, so it stays too")


def test_overlay_networks_run_on_when_state_and_store_are_lost_at_once() -> None:
    seen = {key: found for key, found in running().items() if not isinstance(found.object, (KvRecord, ClusterRecord))}
    down = ClusterState(host="alpha", is_known=False, outage=KvUnavailable("the store cannot be reached"))

    look = looked(SPECS, seen, cluster=down)

    assert {unit.network for unit, _ in look.desired.failures} == {"over", "other", CLUSTER_UNIT.network}
    assert {operation.object.kind for operation in look.plan.operations} <= {"KvRecord"}
    assert {operation.action for operation in look.plan.operations} == {Action.CREATE}
