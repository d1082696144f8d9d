"""What a pass will do, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from reconciler.errors import ReconcilerError
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import (
    ClusterRecord,
    ContainerFile,
    FdbEntry,
    FirewallElement,
    FirewallRules,
    Key,
    KvRecord,
    NameTables,
    Neighbour,
    Object,
    PluginAddress,
    PluginEndpoint,
    PluginLink,
    PluginNetwork,
    PluginNode,
    PluginPool,
    PluginPorts,
    PluginScope,
    SandboxFile,
    Unit,
    VethPair,
)
from reconciler.model.words import without


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Disruption(StrEnum):
    """What traffic notices: nothing; changed while it flows; a short loss; connections lost, as the link is made anew."""

    NONE = "none"
    LIVE = "live"
    FLAP = "flap"
    RECREATE = "recreate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One change of one object. `before` is None when it is created, `after` when it is deleted; keys are equal otherwise.

    affects: names of the attachments whose traffic the disruption hits, sorted.
    """

    action: Action
    before: Object | None
    after: Object | None
    unit: Unit
    disruption: Disruption = Disruption.NONE
    affects: tuple[str, ...] = ()

    @property
    def object(self) -> Object:
        found = self.after if self.after is not None else self.before
        assert found is not None
        return found

    @property
    def key(self) -> Key:
        return self.object.key

    @property
    def is_news(self) -> bool:
        """Say whether it passes on what was promised, or what hosts tell each other: no drift that is put right."""
        return isinstance(self.object, (KvRecord, ClusterRecord, FdbEntry, Neighbour, PluginNode))

    def namespaces(self) -> Iterator[NsRef]:
        """Give the network namespaces in which it changes something, some more than once."""
        for found in (self.before, self.after):
            match found:
                case None | FirewallRules() | FirewallElement() | SandboxFile() | ContainerFile() | NameTables():
                    continue
                case KvRecord() | ClusterRecord():
                    continue
                case VethPair():
                    yield from (found.ns, found.peer_ns)
                case PluginEndpoint() | PluginLink():
                    yield from (HOST, found.ns)
                case PluginNetwork() | PluginPorts() | PluginNode():
                    yield HOST
                case PluginScope() | PluginPool() | PluginAddress():
                    continue
                case _:
                    yield found.ns

    def describe(self) -> str:
        return f"{self.action} {self.object.describe()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Operations in the order to be carried out; problems: units left alone, and why."""

    operations: tuple[Operation, ...] = ()
    problems: tuple[tuple[Unit, ReconcilerError], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one operation. error None: done (or found done). skipped: not tried, `error` is the cause elsewhere."""

    operation: Operation
    error: ReconcilerError | None = None
    skipped: bool = False

    def failure(self) -> str:
        """Say what could not be done and why, each once: errors of the kernel name the operation themselves."""
        what = self.operation.describe()
        return f"{what}: {without(str(self.error), what)}"
