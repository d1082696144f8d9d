"""What is told of a change: fields of the specs, who is hit, who reaches whom, names, addresses."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.errors import SpecError
from reconciler.model.objects import Unit
from reconciler.model.plan import Action, Disruption
from reconciler.model.report import Report
from reconciler.model.wanted import Source, SpecWarning
from reconciler.spec.document import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of an entry. path: its keys with dots. before, after: as typed, None where it is not given.

    source: where it stands, or stood when it is gone.
    """

    path: str
    before: Tree
    after: Tree
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChange:
    """One network or attachment, as one host sees it. source: of the entry. is_before: it stands there no more."""

    unit: Unit
    action: Action
    source: Source
    is_before: bool = False
    fields: tuple[FieldChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedChange:
    """The same change on all hosts that it concerns; an entry that goes from some and comes to others moves."""

    unit: Unit
    source: Source
    is_before: bool
    fields: tuple[FieldChange, ...]
    hosts: tuple[tuple[Action, tuple[str, ...]], ...]

    def on(self, action: Action) -> tuple[str, ...]:
        return dict(self.hosts).get(action, ())


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Flow:
    """Who reaches whom. what: the port, or what it is about. versions: of IP, sorted. how: in a few words."""

    client: str
    server: str
    what: str
    how: str
    versions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class NameKnown:
    """A name of an attachment on a network. only_to: the one who alone knows it, by a link; "" for all on the network."""

    network: str
    attachment: str
    name: str
    only_to: str = ""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Move:
    """An address of an endpoint that becomes another; "" is one that only the host will choose."""

    attachment: str
    network: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReview:
    """One host. hit: the worst that an attachment's traffic notices. gained, lost: flows; one in both goes on in another way."""

    host: str
    report: Report
    hit: tuple[tuple[str, Disruption], ...] = ()
    gained: tuple[Flow, ...] = ()
    lost: tuple[Flow, ...] = ()
    names_gained: tuple[NameKnown, ...] = ()
    names_lost: tuple[NameKnown, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def is_changed(self) -> bool:
        return bool(self.report.plan.operations or self.gained or self.lost or self.names_gained or self.names_lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """All hosts. against: as a person would name it. faults, warnings: of the specs that are reviewed, each once."""

    against: str
    changes: tuple[SharedChange, ...]
    hosts: tuple[HostReview, ...]
    faults: tuple[SpecError, ...] = ()
    warnings: tuple[SpecWarning, ...] = field(default=())
