"""The kernel adapters on one host, for tests: apply objects, look again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from msgspec.structs import replace

from reconciler.errors import ReconcilerError
from reconciler.facts import Facts
from reconciler.incremental import Union
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.registry import handlers
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Key, Namespace, Object, Seen
from reconciler.model.plan import Action, Operation, Outcome
from reconciler.model.wanted import AttachmentWanted, SandboxKind, SandboxRef, WantedState
from reconciler.observe.host import observe_host
from reconciler.observe.memory import Memory, Part
from reconciler.settings import Settings
from tests.fakes.world import world
from tests.machine import Machine

NOW = "2026-01-02T03:04:05.000000006Z"


def sandbox(name: str) -> NsRef:
    return NsRef(f"netns:{name}")


def attachment(name: str, kind: SandboxKind = SandboxKind.NETNS, value: str = "", **fields: object) -> AttachmentWanted:
    return AttachmentWanted(name=name, sandbox=SandboxRef(kind, value or name), **fields)  # type: ignore[arg-type]


@dataclass(slots=True, kw_only=True)
class Engine:
    """attachments: whose sandboxes `look` goes into."""

    machine: Machine
    settings: Settings
    namespaces: Namespaces
    attachments: list[AttachmentWanted] = field(default_factory=list)

    def observe(self) -> Facts:
        wanted = WantedState(networks=(), attachments=tuple(self.attachments))
        facts, parts = observe_host(wanted, self.settings, self.namespaces, NOW, Memory())
        self.namespaces.release()
        return replace(facts, seen=Union[Part, Key, Seen]()(parts))

    def look(self, wanted: Object) -> Seen | None:
        """Give what is there under the object's key."""
        return self.observe().seen.get(wanted.key)

    def has(self, *wanted: Object) -> bool:
        """Tell whether all are there, as they shall be."""
        seen = self.observe().seen
        return all((found := seen.get(one.key)) is not None and found.object == one for one in wanted)

    def create(self, *wanted: Object) -> None:
        """Make them one after the other and insist."""
        for one in wanted:
            assert self.create_error(one) is None

    def create_error(self, wanted: Object) -> ReconcilerError | None:
        return self.apply([operation(None, wanted)])[0].error

    def update_error(self, before: Object, after: Object) -> ReconcilerError | None:
        return self.apply([operation(before, after)])[0].error

    def delete_error(self, found: Object) -> ReconcilerError | None:
        return self.apply([operation(found, None)])[0].error

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        with closing(open_sqlite(self.settings.state_dir / "state.db")) as kv:
            own = handlers(world(settings=self.settings, namespaces=self.namespaces, kv=kv))
            return list(own[type(operations[0].object)](operations))

    def make_sandbox(self, name: str) -> NsRef:
        """Make a sandbox of ours and look into it from now on."""
        self.create(Namespace(ns=sandbox(name), name=name))
        self.attachments.append(attachment(name))
        return sandbox(name)


def operation(before: Object | None, after: Object | None) -> Operation:
    action = Action.CREATE if before is None else Action.DELETE if after is None else Action.UPDATE
    found = after if after is not None else before
    assert found is not None
    return Operation(action=action, before=before, after=after, unit=found.unit)


@contextmanager
def engine_on(machine: Machine, host_ns: str) -> Iterator[Engine]:
    """Give an engine whose host is `host_ns`; the calling thread is in there meanwhile."""
    settings = Settings(
        host="alpha",
        state_dir=machine.state_dir,
        status_dir=machine.status_dir,
        run_dir=machine.run_dir,
        netns_dir=machine.netns_dir,
        netns_etc_dir=machine.etc_netns_dir,
    )
    with machine.inside(host_ns), Namespaces(settings.netns_dir, settings.instance) as namespaces:
        yield Engine(machine=machine, settings=settings, namespaces=namespaces)
