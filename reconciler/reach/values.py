"""What is asked and what is answered: parties, packets, answers with their reasons."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from reconciler.model.objects import IPAddress, Unit


class PartyKind(StrEnum):
    ATTACHMENT = "attachment"
    HOST = "host"
    OUTSIDE = "outside"


class Party(Struct, frozen=True, order=True):
    """Who sends or answers. host: where it is. name: an attachment's, or the host's link that the outside is on, "" for any."""

    kind: PartyKind
    host: str
    name: str = ""

    def __str__(self) -> str:
        return self.name if self.kind is PartyKind.ATTACHMENT else str(self.kind)


class Packet(Struct, frozen=True, kw_only=True):
    """The first packet of a flow. protocol: icmp (of either family), tcp, udp or sctp. port: 0 for icmp."""

    client: Party
    address: IPAddress
    protocol: str
    port: int = 0

    @property
    def version(self) -> int:
        return self.address.version


class StepKind(StrEnum):
    """What a step is about."""

    ADDRESS = "address"
    ROUTE = "route"
    NETWORK = "network"
    FIREWALL = "firewall"
    PORT = "port"
    """A port that is published."""

    UNKNOWN = "not known"
    """What decides is in no spec."""


class Step(Struct, frozen=True):
    """One reason, and whose declaration it stands on; None for what holds everywhere. field: of a network's declaration, the way
    to what says so; () for all of it."""

    text: str
    kind: StepKind
    unit: Unit | None = None
    field: tuple[str, ...] = ()


class ReachAnswer(Struct, frozen=True, kw_only=True):
    """Who answers, None for nobody; steps: the way there, the last one says why it ends.

    seen_as: the client's address as the server sees it; None where it is one of the host's own addresses that no spec names.
    is_known: False where what decides is in no spec, as in a plugin's network; then no server is named.
    """

    server: Party | None
    steps: tuple[Step, ...]
    seen_as: IPAddress | None = None
    is_known: bool = True

    def after(self, *steps: Step) -> ReachAnswer:
        return replace(self, steps=(*steps, *self.steps))


def refused(text: str, kind: StepKind, unit: Unit | None = None, *field: str) -> ReachAnswer:
    return ReachAnswer(server=None, steps=(Step(text, kind, unit, field),))


def not_known(text: str, unit: Unit | None = None) -> ReachAnswer:
    return ReachAnswer(server=None, steps=(Step(text, StepKind.UNKNOWN, unit),), is_known=False)
