"""Every call to an IPAM plugin as it goes over the wire, and what is made of the answers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from reconciler.errors import PluginError, ReconcilerError
from reconciler.ipam.leases import Leases, leases
from reconciler.kinds.plugin_leases import apply
from reconciler.kv.protocol import KvStore
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.objects import PluginAddress, PluginLease, PluginPool, Unit
from reconciler.model.plan import Action, Operation
from reconciler.model.plugins import PluginFacts, PoolLease
from reconciler.model.wanted import (
    AttachmentWanted,
    EndpointWanted,
    NetworkWanted,
    SandboxKind,
    SandboxRef,
    SubnetWanted,
    WantedState,
)
from reconciler.plan.disruption import must_be_made_anew
from reconciler.plugin.client import Plugins
from reconciler.plugin.records import decode_plugin_records
from tests.fakes.scripted_plugin import ScriptedPlugin, raw
from tests.fakes.world import world

RECORDED = Path(__file__).parent / "plugin_ipam_conversation.txt"
POOL_ID = "8e2fa5ef-adcd-4c7f-8d07-74e4a95cde06"


def recorded() -> list[tuple[str, str, str]]:
    lines = [line for line in RECORDED.read_text().splitlines() if line and not line.startswith("#")]
    triples = zip(lines[::3], lines[1::3], lines[2::3], strict=True)
    return [(head.removeprefix("> POST /"), body[1:].strip(), answer[1:].strip()) for head, body, answer in triples]


class Replayed:
    """Answers each method with its recorded answers, one after the other, then with the last one."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = list(answers)

    def __call__(self, _: Any) -> Any:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def recorded_answers() -> dict[str, Any]:
    by_method: dict[str, list[Any]] = {}
    for method, _, answer in recorded():
        by_method.setdefault(method, []).append(json.loads(answer))
    return {method: Replayed(answers) for method, answers in by_method.items()}


class Caller:
    """Our side."""

    def __init__(self, root: Path, kv: KvStore) -> None:
        self.root, self.kv = root, kv
        self.plugins = Plugins(root=root)

    def do(self, action: Action, asked: PluginLease, before: PluginLease | None = None) -> ReconcilerError | None:
        old = asked if action is Action.DELETE else before
        new = None if action is Action.DELETE else asked
        operation = Operation(action=action, before=old, after=new, unit=asked.unit)
        (outcome,) = apply([operation], world(plugins=lambda: self.plugins, kv=self.kv))
        return outcome.error

    def create(self, *asked: PluginLease) -> None:
        assert [self.do(Action.CREATE, each) for each in asked] == [None] * len(asked)

    def facts(self) -> PluginFacts:
        facts, faults = decode_plugin_records({entry.key: entry.value.decode() for entry in self.kv.list("")})
        assert faults == ()
        return facts

    def leased(self, wanted: WantedState) -> Leases:
        return leases(wanted, self.facts(), {"ciao": self.plugins.incarnation("ciao")}, "alpha")


@pytest.fixture
def caller() -> Iterator[Caller]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        kv = open_sqlite(Path(folder) / "state.db")
        yield Caller(Path(folder), kv)
        kv.close()


@pytest.fixture
def plugin(caller: Caller) -> Iterator[ScriptedPlugin]:
    with ScriptedPlugin(answers=recorded_answers()).serving(caller.root / "run/docker/plugins/ciao.sock") as made:
        yield made


def wanted(**fields: Any) -> WantedState:
    subnet = SubnetWanted(
        subnet=ip_network("192.168.111.0/24"),
        ip_range=ip_network("192.168.111.128/25"),
        gateway=ip_address("192.168.111.1"),
        aux_addresses=(("router", ip_address("192.168.111.9")),),
    )
    network = NetworkWanted(name="fabric", ipam_driver="ciao", ipam_options=(("zone", "a"),), subnets=(subnet,))
    endpoint = EndpointWanted(
        network="fabric",
        ipv4_address=ip_address("192.168.111.2"),  # type: ignore[arg-type]
        mac_address="ca:fe:00:00:10:02",
    )
    attachment = AttachmentWanted(name="web", sandbox=SandboxRef(SandboxKind.NETNS, "web"), endpoints=(endpoint,))
    return WantedState(networks=(replace(network, **fields),), attachments=(attachment,))


def pool_of(leased: Leases) -> PluginPool:
    return next(asked for asked in leased.asked if isinstance(asked, PluginPool))


def address_of(leased: Leases) -> PluginAddress:
    return next(asked for asked in leased.asked if isinstance(asked, PluginAddress))


def test_conversation_is_the_recorded_one(caller: Caller, plugin: ScriptedPlugin) -> None:
    (pool,) = caller.leased(wanted()).asked
    caller.create(pool)
    pool, address = caller.leased(wanted()).asked
    caller.create(address)
    for each in (address, pool):
        assert caller.do(Action.DELETE, each) is None

    sent = [(method, body.decode()) for (method, _), (_, body) in zip(plugin.calls, plugin.requests, strict=True)]
    assert sent == [(method, body) for method, body, _ in recorded()]
    assert caller.facts() == PluginFacts()


def test_what_was_given_is_chosen_with_from_then_on(caller: Caller, plugin: ScriptedPlugin) -> None:
    first = caller.leased(wanted())
    assert first.awaiting == {Unit(network="fabric")}
    assert [type(asked) for asked in first.asked] == [PluginPool]

    caller.create(pool_of(first))
    second = caller.leased(wanted())
    assert second.awaiting == {Unit(network="fabric", attachment="web")}

    caller.create(address_of(second))
    third = caller.leased(wanted())
    assert third.awaiting == frozenset()
    (subnet,) = third.networks["fabric"].subnets
    assert (str(subnet.subnet), str(subnet.gateway)) == ("192.168.111.0/24", "192.168.111.1")
    assert str(third.endpoints["fabric", "web"].ipv4_address) == "192.168.111.2"
    assert third.asked == caller.facts().calls[::-1]


def test_pool_asked_for_otherwise_is_asked_for_anew(caller: Caller, plugin: ScriptedPlugin) -> None:
    before = pool_of(caller.leased(wanted()))
    caller.create(before)

    after = caller.leased(wanted(ipam_options=(("zone", "b"),)))

    assert after.awaiting == {Unit(network="fabric")}
    assert must_be_made_anew(before, pool_of(after))


def test_gateway_that_comes_along_with_the_pool_is_not_asked_for(caller: Caller, plugin: ScriptedPlugin) -> None:
    plugin.answers["IpamDriver.RequestPool"] = {
        "PoolID": "p",
        "Pool": "192.168.111.0/24",
        "Data": {"com.docker.network.gateway": "192.168.111.77/24"},
    }
    state = wanted(subnets=())

    caller.create(pool_of(caller.leased(state)))

    assert "IpamDriver.RequestAddress" not in plugin.called()
    assert [str(lease.gateway) for lease in caller.facts().pools.values()] == ["192.168.111.77"]


def test_plugin_without_capabilities_requires_nothing(caller: Caller, plugin: ScriptedPlugin) -> None:
    del plugin.answers["IpamDriver.GetCapabilities"]

    caller.create(pool_of(caller.leased(wanted())))
    caller.create(address_of(caller.leased(wanted())))

    assert plugin.calls[-1][1]["Options"] is None


def test_pool_is_given_back_when_its_gateway_cannot_be_had(caller: Caller, plugin: ScriptedPlugin) -> None:
    plugin.answers["IpamDriver.RequestAddress"] = {"Error": "taken"}

    error = caller.do(Action.CREATE, pool_of(caller.leased(wanted())))

    assert str(error) == "plugin 'ciao': IpamDriver.RequestAddress: taken"
    assert plugin.calls[-1] == ("IpamDriver.ReleasePool", {"PoolID": POOL_ID})
    assert caller.facts().calls == ()


def test_pool_is_given_back_by_the_next_pass_when_the_plugin_died_meanwhile(
    caller: Caller, plugin: ScriptedPlugin
) -> None:
    plugin.answers["IpamDriver.RequestAddress"] = raw(b"")
    pool = pool_of(caller.leased(wanted()))
    assert isinstance(caller.do(Action.CREATE, pool), PluginError)
    (told,) = caller.facts().calls
    assert not told.is_complete
    assert isinstance(told, PluginPool)
    assert must_be_made_anew(told, pool)

    caller.plugins = Plugins(root=caller.root)
    assert caller.do(Action.DELETE, told) is None

    assert plugin.calls[-1] == ("IpamDriver.ReleasePool", {"PoolID": POOL_ID})


def test_plugin_started_anew_is_asked_again_only_where_it_requires_that(caller: Caller) -> None:
    path = caller.root / "run/docker/plugins/ciao.sock"
    for needs_replay in (False, True):
        plugin = ScriptedPlugin(answers=recorded_answers())
        plugin.answers["IpamDriver.GetCapabilities"] = {"RequiresRequestReplay": needs_replay}
        caller.plugins = Plugins(root=caller.root)
        with plugin.serving(path):
            caller.create(pool_of(caller.leased(wanted())))
            before = pool_of(caller.leased(wanted()))
            assert caller.facts().calls == (before,)
        with ScriptedPlugin(answers=recorded_answers()).serving(path):
            after = pool_of(caller.leased(wanted()))

        assert (after != before) == needs_replay
        assert not must_be_made_anew(before, after)


def test_pool_under_another_id_is_no_replay(caller: Caller, plugin: ScriptedPlugin) -> None:
    pool = pool_of(caller.leased(wanted()))
    caller.create(pool)
    plugin.answers["IpamDriver.RequestPool"] = {"PoolID": "other", "Pool": "192.168.111.0/24"}

    error = caller.do(Action.UPDATE, replace(pool, incarnation="new"), before=pool)

    assert "under another id than before" in str(error)
    assert caller.facts().calls == (pool,)


def test_lease_is_read_back_as_it_was_written(caller: Caller, plugin: ScriptedPlugin) -> None:
    pool = pool_of(caller.leased(wanted()))
    caller.create(pool)

    assert caller.facts().pools == {
        pool.key: PoolLease(
            pool_id=POOL_ID,
            pool=ip_network("192.168.111.0/24"),
            gateway=ip_address("192.168.111.1"),
            aux=(("router", ip_address("192.168.111.9")),),
            needs_mac=True,
        )
    }
