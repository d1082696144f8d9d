"""What a watcher keeps of its status gives the files that one who knows nothing but the last summary writes."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reconciler.errors import KernelError, NameConflict, PruneRefused, ReconcilerError, SandboxMissing, SpecError
from reconciler.model.desired import DesiredAttachment, DesiredNetwork, DesiredState, RemoteEndpoint
from reconciler.model.identifiers import HOST
from reconciler.model.objects import CLUSTER_UNIT, HOST_UNIT, NAMES_UNIT, Macvlan, Unit
from reconciler.model.plan import Action, Operation, Outcome, Plan
from reconciler.model.report import Report
from reconciler.status.files import Documents
from reconciler.status.summary import Revision
from tests.fakes.desired import attachment, endpoint, host_facts, network

NETWORKS = ("back", "bridge", "front", "none")
ATTACHMENTS = tuple(f"a{number}" for number in range(6))
ERRORS = (NameConflict("x"), SandboxMissing("gone"), PruneRefused("p"), KernelError(1, "make it"))


class Host:
    """Changes by chance from pass to pass."""

    def __init__(self, chance: random.Random) -> None:
        self._chance, self._passes = chance, 0
        self._networks: dict[str, DesiredNetwork] = {}
        self._attachments: dict[str, DesiredAttachment] = {}
        self._problems: tuple[tuple[Unit, ReconcilerError], ...] = ()
        self._digest = ""

    def report(self) -> Report:
        self._passes += 1
        self._change()
        chance = self._chance
        held = tuple(each for each in self._attachments.values() if chance.random() < 0.05)
        faults = (SpecError("a.yaml", 1, 1, "m"),) if chance.random() < 0.1 else ()
        units = self._units()
        if chance.random() < 0.4:
            self._problems = tuple(
                (chance.choice(units), chance.choice(ERRORS)) for _ in range(chance.choice((0, 0, 1, 2)))
            )
        remark = (chance.choice(units), "one thing")
        desired = DesiredState(
            host=replace(host_facts(), now=f"t{self._passes}", hostname=chance.choice(("alpha", "alpha", "omega"))),
            networks=tuple(self._networks[name] for name in sorted(self._networks)),
            attachments=tuple(each for _, each in sorted(self._attachments.items()) if each not in held),
            has_faults=bool(faults),
            remarks=(remark,) if chance.random() < 0.3 else (),
            held=held,
        )
        return Report(
            desired=desired,
            plan=Plan(),
            outcomes=tuple(Outcome(operation=_made(chance.choice(units))) for _ in range(chance.choice((0, 0, 1)))),
            drift=Plan(
                operations=tuple(_made(unit) for unit in units if unit.attachment and chance.random() < 0.03),
                problems=self._problems,
            ),
            spec_faults=faults,
            digest=self._digest,
            running=frozenset(unit for unit in units if chance.random() < 0.5),
        )

    def _units(self) -> list[Unit]:
        named = (HOST_UNIT, NAMES_UNIT, CLUSTER_UNIT, *(Unit(network=name) for name in NETWORKS))
        members = list(self._attachments.values())
        return [*named, *(each.unit for each in members), *(e.unit for each in members for e in each.endpoints)]

    def _change(self) -> None:
        chance = self._chance
        name, net = chance.choice(ATTACHMENTS), chance.choice(NETWORKS)
        pool = f"10.{NETWORKS.index(net)}.0"
        match chance.choice(
            ("nothing", "attachment", "attachment", "end", "network", "no network", "elsewhere", "specs")
        ):
            case "attachment":
                joined = chance.sample(NETWORKS, chance.choice((0, 1, 2)))
                places = [(on, f"10.{NETWORKS.index(on)}.0.{chance.randint(1, 254)}/24") for on in joined]
                self._attachments[name] = attachment(name, [endpoint(name, *place) for place in places])
            case "end":
                self._attachments.pop(name, None)
            case "network":
                made = network(net, f"{pool}.0/24", mtu=chance.choice((1400, 1500)))
                self._networks[net] = replace(made, id=chance.choice((made.id, "f" * 64)))
            case "no network":
                self._networks.pop(net, None)
            case "elsewhere" if net in self._networks:
                numbers = sorted(chance.sample((1, 2, 3, 10, 12), chance.choice((0, 1, 2, 4))), key=str)
                more = tuple(_elsewhere(net, number, pool) for number in numbers)
                self._networks[net] = replace(self._networks[net], remote_endpoints=more)
            case "specs":
                self._digest = chance.choice(("d1", "d2"))


def _elsewhere(net: str, number: int, pool: str) -> RemoteEndpoint:
    return RemoteEndpoint(
        network=net,
        id=(str(number) * 64)[:64],
        name=f"far{number}",
        host="beta",
        vtep=ip_address("192.0.2.1"),
        mac="02:42:00:00:00:09",
        ipv4=ip_interface(f"{pool}.{number}/24"),  # type: ignore[arg-type]  # of version 4
    )


def _made(unit: Unit) -> Operation:
    link = Macvlan(unit=unit, ns=HOST, ifname="eth0", mac="02:42:00:00:00:01", mtu=1500, parent="up", mode="bridge")
    return Operation(action=Action.CREATE, before=None, after=link, unit=unit)


def _whole(texts: Mapping[str, tuple[bytes, ...]]) -> dict[str, str]:
    return {name: b"".join(pieces).decode() for name, pieces in texts.items()}


class Shown:
    """The folder, as far as texts are told."""

    def __init__(self) -> None:
        self.summary = "{}"
        self.networks: dict[str, str] = {}
        self.attachments: dict[str, str] = {}

    def tell(self, documents: Documents, report: Report) -> None:
        files = documents.files(report, Revision("c0ffee"))
        self.summary = files.summary
        for there, texts, kept in (
            (self.networks, _whole(files.networks), files.kept_networks),
            (self.attachments, files.attachments, files.kept_attachments),
        ):
            there.update(texts)
            for name in there.keys() - texts.keys() - kept if files.is_pruning else ():
                del there[name]


def from_nothing(summary: str) -> Documents:
    return Documents(json.loads(summary), netns_dir=Path("/run/netns"))


@given(st.randoms(use_true_random=False), st.integers(1, 25))
def test_status_that_is_kept_is_the_one_made_from_nothing(chance: random.Random, passes: int) -> None:
    host, kept, fresh = Host(chance), Shown(), Shown()
    documents = from_nothing("{}")

    for _ in range(passes):
        report = host.report()
        kept.tell(documents, report)
        fresh.tell(from_nothing(fresh.summary), report)

        assert vars(kept) == vars(fresh)
