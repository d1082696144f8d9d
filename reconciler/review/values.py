"""What is told of a change: fields of the specs, who is hit, who reaches whom, names, addresses."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from reconciler.errors import SpecError
from reconciler.model.desired import DesiredState
from reconciler.model.objects import Key, Unit
from reconciler.model.plan import Action, Disruption, Operation
from reconciler.model.report import Report
from reconciler.model.wanted import Source, SpecWarning
from reconciler.spec.document import Tree
from reconciler.spec.load import LoadedSpecs


class Planned(Struct, frozen=True, kw_only=True):
    """The plan for one host, and what it starts from.

    before, had: the specs that were applied last, and what they bring about; `report.desired` itself where that is no change.
    after: the specs that count now. unmet: what they expect in vain. drift: the keys of what the host lacks of `had`, and shall
    have still.
    """

    before: LoadedSpecs
    after: LoadedSpecs
    had: DesiredState
    report: Report
    unmet: tuple[SpecError, ...] = ()
    drift: frozenset[Key] = frozenset()


class FieldChange(Struct, frozen=True, kw_only=True):
    """One field of an entry. path: its keys with dots. before, after: as typed, None where it is not given.

    source: where it stands, or stood when it is gone.
    """

    path: str
    before: Tree
    after: Tree
    source: Source


class EntryChange(Struct, frozen=True, kw_only=True):
    """One network or attachment, as one host sees it. source: of the entry. is_before: it stands there no more."""

    unit: Unit
    action: Action
    source: Source
    is_before: bool = False
    fields: tuple[FieldChange, ...] = ()


class SharedChange(Struct, frozen=True, kw_only=True):
    """The same change on all hosts that it concerns; an entry that goes from some and comes to others moves."""

    unit: Unit
    source: Source
    is_before: bool
    fields: tuple[FieldChange, ...]
    hosts: tuple[tuple[Action, tuple[str, ...]], ...]

    def on(self, action: Action) -> tuple[str, ...]:
        return dict(self.hosts).get(action, ())


class ReviewFlow(Struct, frozen=True, order=True, kw_only=True):
    """Each client reaches each server, but none itself. what: the port, "pings", or "" for all. versions: of IP, sorted.

    how: in a few words. count: of pairs. is_from_outside: whether one of the clients is outside.
    """

    clients: tuple[str, ...]
    servers: tuple[str, ...]
    what: str
    how: str
    versions: tuple[int, ...] = ()
    count: int = 1
    is_from_outside: bool = False


class FlowChanges(Struct, frozen=True, kw_only=True):
    """altered: what goes on, but is seen in another manner."""

    gained: tuple[ReviewFlow, ...] = ()
    lost: tuple[ReviewFlow, ...] = ()
    altered: tuple[ReviewFlow, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost or self.altered)


NO_CHANGES: Final = FlowChanges()


class NameKnown(Struct, frozen=True, order=True, kw_only=True):
    """A name of an attachment on a network. only_to: the one who alone knows it, by a link; "" for all on the network."""

    network: str
    attachment: str
    name: str
    only_to: str = ""


class Move(Struct, frozen=True, order=True, kw_only=True):
    """An address of an endpoint that becomes another; "" is one that only the host will choose."""

    attachment: str
    network: str
    before: str
    after: str


class HostReview(Struct, frozen=True, kw_only=True):
    """One host. hit: the worst that an attachment's traffic notices. flows: those that no other host has a part in.

    drift: what of the plan puts the host back to what was applied last.
    """

    host: str
    report: Report
    hit: tuple[tuple[str, Disruption], ...] = ()
    drift: tuple[Operation, ...] = ()
    flows: FlowChanges = NO_CHANGES
    names_gained: tuple[NameKnown, ...] = ()
    names_lost: tuple[NameKnown, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def is_changed(self) -> bool:
        return bool(self.report.plan.operations or self.flows or self.names_gained or self.names_lost)


class NetworkPart(Struct, frozen=True, kw_only=True):
    """What changes on one host of a network that several share. come, go: attachments."""

    host: str
    come: tuple[str, ...] = ()
    go: tuple[str, ...] = ()
    names_gained: tuple[NameKnown, ...] = ()
    names_lost: tuple[NameKnown, ...] = ()
    moves: tuple[Move, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.come or self.go or self.names_gained or self.names_lost or self.moves)


class SharedNetwork(Struct, frozen=True, kw_only=True):
    """A network that attachments of several hosts are on. hosts: these, before or after; parts: of those where it changes."""

    name: str
    hosts: tuple[str, ...]
    parts: tuple[NetworkPart, ...]


class Review(Struct, frozen=True, kw_only=True):
    """All hosts. against: as a person would name it. between: flows that several hosts have a part in.

    shared: networks of several hosts that change; each host's review has its part, too.
    faults, warnings: of the specs that are reviewed, each once. is_of_pass: it tells what a pass on the one host would do.
    """

    against: str
    changes: tuple[SharedChange, ...]
    hosts: tuple[HostReview, ...]
    between: FlowChanges = NO_CHANGES
    shared: tuple[SharedNetwork, ...] = ()
    faults: tuple[SpecError, ...] = ()
    warnings: tuple[SpecWarning, ...] = ()
    is_of_pass: bool = False

    @property
    def is_changed(self) -> bool:
        """Return whether something is to be done; to the specs of hosts that nobody asked, whatever differs counts."""
        if self.is_of_pass:
            return any(host.report.plan.operations for host in self.hosts)
        return bool(self.changes) or any(host.is_changed for host in self.hosts)
