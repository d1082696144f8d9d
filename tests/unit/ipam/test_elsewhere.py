"""Endpoints on other hosts that come and go: whoever decided before decides as one who begins, and for few of ours anew."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.cluster.global_networks import with_global_networks
from reconciler.cluster.question import ClusterQuestion
from reconciler.cluster.state import StateDecoder
from reconciler.incremental import Table
from reconciler.ipam import assign as stage
from reconciler.ipam.assign import Assigner, assign
from reconciler.ipam.promises import Promises
from reconciler.model.cluster import ClusterState
from reconciler.model.desired import DesiredState
from reconciler.model.wanted import WantedState
from tests.fakes.cluster import NOW, overlay, placed, stored, texts
from tests.fakes.desired import host_facts
from tests.unit.ipam.builders import attachment, on, promised, wanted_state

QUESTION = ClusterQuestion(
    host="alpha",
    instance="i-alpha",
    followed=frozenset(("over",)),
    now=NOW,
    grace_s=86_400,
    nodes_folder="nodes/",
)
HOST = replace(host_facts(), vtep=ip_address("192.0.2.1"))
NAMES = ("a", "b", "c", "d", "x", "y")
WANTED = wanted_state(
    [overlay().wanted],
    [
        attachment("a", "over"),
        attachment("b", "over"),
        attachment("c", on("over", "10.0.9.5")),
        attachment("d", on("over", "10.0.9.6")),
    ],
)
STEPS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from((None, 2, 3, 4, 5, 6)), st.booleans()), min_size=1, max_size=12
)


class Hosts:
    """What the others have in the cluster's store, and how it is seen by one who looks again and again."""

    def __init__(self) -> None:
        self._decode = StateDecoder()
        self._records: Table[str, str] = Table(stored("alpha", "beta"))

    def put(self, name: str, last: int | None) -> None:
        """Let an endpoint be there, or none."""
        found = texts(placed(name, f"10.0.9.{last or 2}/24", host="beta", mac=f"02:42:0a:00:09:{last or 2:02x}"))
        self._records = self._records.updated(found if last else {}, found)

    def cluster(self) -> ClusterState:
        return self._decode(self._records, QUESTION)


def shared(cluster: ClusterState) -> tuple[WantedState, ClusterState]:
    return with_global_networks(WANTED, cluster, {}, instance="i-alpha", is_advertised=True)


def shown(state: DesiredState) -> Sequence[object]:
    errors = [(unit, str(error)) for unit, error in (*state.failures, *state.withdrawn)]
    return state.networks, state.attachments, errors, state.tunnels, state.nodes, state.remarks


@settings(max_examples=40)
@given(STEPS)
def test_who_decided_before_decides_as_one_who_begins(steps: list[tuple[str, int | None, bool]]) -> None:
    hosts, assigner, promises = Hosts(), Assigner(), Promises()

    for name, last, is_applied in steps:
        hosts.put(name, last)
        wanted, cluster = shared(hosts.cluster())
        kept = assigner(wanted, HOST, promises, cluster)
        anew = assign(wanted, HOST, promises, cluster)
        assert shown(kept) == shown(anew)
        if is_applied:
            promises = promised(anew)


def test_only_those_are_decided_for_whom_it_may_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, assigner = Hosts(), Assigner()
    promises = Promises()
    for _ in range(3):
        wanted, cluster = shared(hosts.cluster())
        promises = promised(assigner(wanted, HOST, promises, cluster))
    asked: list[tuple[str, ...]] = []
    choose = stage._choose_for

    def counted(given: object, names: Sequence[str], *rest: Any, **more: Any) -> object:
        asked.append(tuple(names))
        return choose(given, names, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "_choose_for", counted)
    for name, last in (("x", 9), ("y", 6), ("a", 8), ("x", None)):
        hosts.put(name, last)
        assigner(wanted, HOST, promises, shared(hosts.cluster())[1])

    assert asked[0] == ()
    assert set(asked[1]) == {"d"}
    assert set(asked[2]) >= {"a"}
    assert not {"b", "c"} & {name for names in asked for name in names}
