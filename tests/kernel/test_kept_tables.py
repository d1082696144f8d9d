"""What a watcher keeps of the host is what a look at everything finds, whatever was done to it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from reconciler.apply.executor import carry_out
from reconciler.backends import Backends, open_backends
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import Plain
from reconciler.model.objects import (
    Address,
    Bridge,
    Key,
    LinkUp,
    Namespace,
    Object,
    Route,
    SandboxFile,
    Sysctl,
    VethPair,
    Vlan,
)
from reconciler.model.plan import Action, Operation
from reconciler.model.wanted import AttachmentWanted, SandboxKind, SandboxRef, WantedState
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Memory
from reconciler.settings import Settings
from reconciler.watch.kernel_events import KernelEvents
from reconciler.watch.passes import Passes
from reconciler.watch.source import Watched
from tests.machine import Machine
from tests.waiting import eventually

pytestmark = pytest.mark.kernel

NOW = "2026-01-02T03:04:05.000000006Z"
STEPS = 40
NAMES = ("n0", "n1", "n2", "n3")
FOREIGN = (
    "ip link set br-{0} down",
    "ip link set br-{0} up",
    "ip link set rcv{0} down && ip link set rcv{0} name moved{0}",
    "ip link del rcv{0}",
    "ip link del br-{0}",
    "ip link set br-{0} down && ip link set br-{0} name br-x && ip link set br-x name br-{0}",
    "for i in 0 1; do ip link set rcv$i down; ip link set rcv$i name x$i; done; ip link set x0 name rcv1; ip link set x1 name rcv0",
    "ip link set rcv{0} nomaster",
    "ip link set rcv{0} type bridge_slave hairpin on",
    "ip link set rcv{0} mtu 1300",
    "ip link set rcv{0} group 0",
    "ip link add foreign{0} type dummy",
    "ip link del foreign{0}",
    "ip address add 10.{0}.9.1/24 dev br-{0}",
    "ip address flush dev br-{0}",
    "ip route add 192.0.2.{0}/32 dev br-{0}",
    "ip route del 192.0.2.{0}/32",
    "sysctl -qw net.ipv4.conf.br-{0}.route_localnet=1",
    "ip -n n{0} link set lo up",
    "ip -n n{0} link set eth0 down",
    "ip -n n{0} link set eth0 name eth7",
    "ip -n n{0} link set eth0 address 02:00:00:00:00:0{0}",
    "ip -n n{0} address add 10.{0}.8.2/24 dev eth0",
    "ip -n n{0} link del eth0",
    "ip netns del n{0}",
    "ip netns add n{0}",
    "ip netns add m{0}",
    "ip link set foreign{0} netns n{0}",
)


class Host(Struct):
    """A watcher's way to look, without its loop."""

    machine: Machine
    settings: Settings
    backends: Backends
    events: KernelEvents
    wanted: WantedState

    def look(self, memory: Memory) -> dict[Key, tuple[bool, dict[str, Plain]]]:
        """Return what is there, as plain as can be; a foreign setting of links that are gone again is nobody's."""
        _, parts = observe_host(self.wanted, self.settings, self.backends.namespaces, NOW, memory)
        return {key: (found.is_ours, found.object.attributes()) for key, found in memory.seen(parts).items()}

    def differences(self) -> dict[Key, tuple[object, object]]:
        kept, fresh = self.look(self.backends.memory), self.look(Memory())
        self.backends.namespaces.release()
        return {key: (kept.get(key), fresh.get(key)) for key in kept.keys() | fresh if kept.get(key) != fresh.get(key)}

    def arm(self) -> None:
        """Follow what was seen, as the loop does after a pass, and hear of it what was missed."""
        known = self.backends.memory.sandboxes.items()
        sandboxes = {ns: found.fact.inode for ns, found in known if found.fact.inode}
        missed = self.events.arm(Watched(namespaces={HOST: 0, **sandboxes}))
        self.backends.memory.forget(missed.namespaces)

    def apply(self, operations: list[Operation]) -> None:
        carry_out(operations, self.backends.handlers(self.settings, operations))
        self.backends.memory.forget_touched(operations)


@pytest.fixture
def host(machine: Machine, host_ns: str, tmp_path: Path) -> Iterator[Host]:
    settings = Settings(host="alpha", state_dir=tmp_path / "state", specs_dir=tmp_path, run_dir=tmp_path / "run")
    attachments = [AttachmentWanted(name=name, sandbox=SandboxRef(SandboxKind.NETNS, name)) for name in NAMES]
    with machine.inside(host_ns), open_backends(settings) as backends:
        events, nothing = KernelEvents(backends.namespaces), Any
        Passes(settings, backends, nothing, events, None, nothing, None)  # type: ignore[arg-type]  # heard in each look
        wanted = WantedState(networks=(), attachments=tuple(attachments))
        yield Host(machine=machine, settings=settings, backends=backends, events=events, wanted=wanted)
        events.close()


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_is_what_a_look_at_everything_finds(host: Host, seed: int) -> None:
    """Operations of ours and of others in any order, several between looks, listened to at once or only later."""
    chooser = random.Random(seed)
    host.look(host.backends.memory)
    done: list[str] = []
    for _ in range(STEPS):
        if chooser.random() < 0.7:
            host.arm()
        for _ in range(chooser.randint(1, 3)):
            number = chooser.randrange(len(NAMES))
            if chooser.random() < 0.5:
                operations = list(_ours(chooser, number))
                done.append(f"{[each.describe() for each in operations]}")
                host.apply(operations)
            else:
                done.append(chooser.choice(FOREIGN).format(number))
                host.machine.run("H", "sh", "-c", done[-1], check=False)
        # A carrier or a device that goes with its namespace is told a moment later.
        assert eventually(lambda: not host.differences()), (done[-8:], host.differences())


def _ours(chooser: random.Random, number: int) -> Iterator[Operation]:
    """One to three operations, whatever is there: those that do not fit fail."""
    ns, bridge = NsRef(f"netns:n{number}"), f"br-{chooser.randrange(2)}"
    pair = VethPair(
        ns=HOST,
        ifname=f"rcv{number}",
        master=bridge,
        mtu=1500,
        peer_ns=ns,
        peer_ifname="eth0",
        peer_mac=f"02:42:0a:00:00:0{number}",
        is_hairpin=chooser.random() < 0.3,
        is_up=True,
    )
    made: list[Object] = [
        Namespace(ns=ns, name=f"n{number}"),
        Bridge(ns=HOST, ifname=bridge, mac="02:42:00:00:00:01", mtu=1500, has_ipv6=chooser.random() < 0.5, is_up=True),
        pair,
        LinkUp(ns=ns, ifname="eth0"),
        Address(ns=ns, ifname="eth0", interface=ip_interface(f"10.{number}.0.2/16")),
        Address(ns=HOST, ifname=bridge, interface=ip_interface(f"10.{number}.0.1/16")),
        Route(ns=ns, destination=ip_network("0.0.0.0/0"), gateway=None, ifname="eth0"),
        Route(ns=HOST, destination=ip_network(f"198.51.100.{number}/32"), gateway=None, ifname=bridge),
        Sysctl(ns=HOST, name=f"net/ipv4/conf/{bridge}/route_localnet", value=chooser.choice("01")),
        SandboxFile(attachment=f"n{number}", name="hosts", content=str(chooser.random()), netns_name=f"n{number}"),
        Vlan(ns=HOST, ifname=f"dm-{number}", parent=bridge, vlan_id=7, has_ipv6=False, is_up=True),
    ]
    start = chooser.randrange(len(made))
    for found in made[start : start + chooser.randint(1, 4)]:
        action = Action.DELETE if chooser.random() < 0.3 and not isinstance(found, (LinkUp, Sysctl)) else Action.CREATE
        before, after = (found, None) if action is Action.DELETE else (None, found)
        if isinstance(found, (VethPair, Bridge, SandboxFile)) and chooser.random() < 0.3 and after is not None:
            action, before = Action.UPDATE, found
        yield Operation(action=action, before=before, after=after, unit=found.unit)
