"""Taking a snapshot of a host, and planning from one where the host is not. A plan writes nothing and needs no rights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from reconciler.backends import Backends
from reconciler.decide import Decider
from reconciler.errors import ConfigError, FileUnreadable
from reconciler.facts import Facts
from reconciler.gather import gather
from reconciler.guard.expected import unmet_expectations
from reconciler.guard.guarded import guarded
from reconciler.guard.orders import NO_ORDERS, Orders
from reconciler.guard.recovery import instead
from reconciler.guard.state_file import read_fields, write_fields
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.place import place
from reconciler.kinds.view import NamespaceView
from reconciler.kv.protocol import TRANSACTION_BYTES_MAX, TRANSACTION_KEYS_MAX, KvStore, Put, is_key
from reconciler.kv.sqlite import open_sqlite
from reconciler.model.identifiers import HOST, OVERLAY_PREFIX, NsRef
from reconciler.model.marks import Mark, read_mark
from reconciler.model.objects import FirewallElement, FirewallRules
from reconciler.model.wanted import AttachmentWanted, SandboxKind, SandboxRef, WantedState
from reconciler.observe.host_facts import host_facts
from reconciler.observe.marks import HostMarks, host_marks
from reconciler.observe.memory import Memory
from reconciler.observe.occupants import observe_occupants
from reconciler.observe.ports import all_ports
from reconciler.observe.sandboxes import NearEnds, look_into_sandboxes
from reconciler.pipeline import Standpoint, load, plan_at
from reconciler.records.file import content
from reconciler.records.sealed import LENGTH_MAX, sealed, unsealed
from reconciler.review.values import Planned
from reconciler.settings import PruneLimit, Settings
from reconciler.snapshot.codec import decoded, encoded
from reconciler.snapshot.replay import facts_for
from reconciler.snapshot.typed import is_typed
from reconciler.snapshot.values import KIND, STATE_FILES, Outside, Snapshot
from reconciler.status.revision import specs_revision

_VERSION: Final = "2"
_READ: Final = (_VERSION, "1 of 0.1.0")
"""What is read. What differs between them, `snapshot.codec` knows."""


def snapshot_text(settings: Settings, backends: Backends) -> str:
    """Look at the host, and give the file. What the cluster keeps from sandboxes, and how its store is reached, is not in there."""
    return sealed(KIND, _VERSION, {"snapshot": encoded(_taken(settings, backends))})


def _taken(settings: Settings, backends: Backends) -> Snapshot:
    marks = host_marks(backends.namespaces, backends.memory)
    loaded, orders, _ = instead(load(settings), settings, NO_ORDERS)
    wanted = guarded(loaded, settings, backends.kv, orders, marks).wanted
    facts = gather(wanted, settings, backends)
    host = backends.memory.host
    assert host is not None
    others = dict(_others(facts, backends.namespaces, host))
    inside = [*facts.sandboxes, *others]
    parents = host_facts(settings, host, facts.host.now, frozenset(link.ifname for link in host.links)).parents
    return Snapshot(
        host=settings.host,
        state=settings.state_folder,
        specs=settings.specs_folder,
        is_bridge_enabled=settings.is_bridge_enabled,
        store="".join(settings.cluster_store.partition("://")[:2]),
        prune_limit=(settings.prune_limit.count, settings.prune_limit.percent),
        place=place(),
        files={name: found for name in STATE_FILES if (found := read_fields(settings.state_dir / name)) is not None},
        records={entry.key: entry.value.decode(errors="replace") for entry in backends.kv.list("")},
        marks=marks.marks,
        has_members=marks.has_members,
        facts=replace(
            facts, host=replace(facts.host, parents=parents), cluster=replace(facts.cluster, seed=""), firewall={}
        ),
        ports=all_ports(),
        own=frozenset(ip_address(entry.address) for entry in host.addresses),
        others=others,
        occupants=observe_occupants(inside, backends.namespaces),
    )


def _others(facts: Facts, namespaces: Namespaces, host: NamespaceView) -> Iterator[tuple[NsRef, Outside]]:
    """Look into the named namespaces that no spec tells of: other specs may."""
    known = {fact.inode for fact in facts.sandboxes.values()} | {namespaces.present_inode(HOST)}
    refs = [SandboxRef(SandboxKind.NETNS, name) for name in namespaces.names() if not name.startswith(OVERLAY_PREFIX)]
    refs = [ref for ref in refs if namespaces.present_inode(ref.ns) not in known]
    asking = WantedState(networks=(), attachments=tuple(AttachmentWanted(name=ref.value, sandbox=ref) for ref in refs))
    memory = Memory()
    look_into_sandboxes(asking, namespaces, NearEnds({HOST: host}), memory)
    for ref in refs:
        seen = tuple(memory.sandboxes[ref.ns].seen.values())
        yield ref.ns, Outside(fact=memory.kept.facts[ref.ns], seen=seen)


def plan_from(file: str, settings: Settings, hosts: str, orders: Orders) -> Planned:
    """Return what a pass would do on the host as it was. hosts: whom the person means, "" for whose snapshot it is.

    Raises FileUnreadable for a file that is no snapshot of this version, ConfigError for another host's.
    """
    snapshot = read_snapshot(file)
    if hosts not in ("", snapshot.host):
        raise ConfigError(f"{file} is a snapshot of host {snapshot.host}, not of {hosts}")
    with _state_of(snapshot) as (state_dir, kv):
        settings = replace(
            settings,
            host=snapshot.host,
            state_dir=state_dir,
            is_bridge_enabled=snapshot.is_bridge_enabled,
            cluster_store=snapshot.store,
            prune_limit=PruneLimit(count=snapshot.prune_limit[0], percent=snapshot.prune_limit[1]),
        )
        loaded = load(settings)
        planned = plan_at(_standpoint(snapshot, kv, settings), replace(loaded, folder=snapshot.specs), settings, orders)
        return replace(planned, unmet=unmet_expectations(loaded, settings))


def read_snapshot(file: str) -> Snapshot:
    """Raises FileUnreadable."""
    try:
        fields = unsealed(file, content(file, bytes_max=LENGTH_MAX), KIND, _READ)
        found: Snapshot = decoded(fields["snapshot"])
    except OSError as error:
        raise FileUnreadable(f"{file} cannot be read: {error.strerror}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FileUnreadable(f"{file} is no snapshot that this program wrote: make it again") from error
    if not is_typed(found, Snapshot) or any(key != seen.object.key for key, seen in found.facts.seen.items()):
        raise FileUnreadable(f"{file} is no snapshot: make it again")
    firewall = {key: seen for key, seen in found.facts.seen.items() if key[0] in _FIREWALL}
    return replace(found, facts=replace(found.facts, firewall=firewall))


_FIREWALL: Final = (FirewallRules.kind, FirewallElement.kind)


def _standpoint(snapshot: Snapshot, kv: KvStore, settings: Settings) -> Standpoint:
    marks = tuple(_moved(mark, snapshot.state, settings) for mark in snapshot.marks)

    def facts(wanted: WantedState, _: Settings) -> Facts:
        found, there = facts_for(snapshot, wanted), snapshot.facts.place
        if there is None or not found.cluster.is_known:
            return found
        revision = specs_revision(settings.specs_dir)
        return replace(found, place=replace(there, revision=(revision.commit, revision.is_dirty)))

    def occupants(sandboxes: Iterable[NsRef]) -> Mapping[NsRef, str]:
        return {ns: snapshot.occupants[ns] for ns in sandboxes if ns in snapshot.occupants}

    return Standpoint(
        kv=kv,
        marks=HostMarks(marks=marks, has_members=snapshot.has_members),
        facts=facts,
        decide=Decider(),
        occupants=occupants,
    )


def _moved(mark: Mark, state: str, settings: Settings) -> Mark:
    """Return the mark as if the state folder had always been where it is laid out."""
    moved = read_mark(replace(mark, state=settings.state_folder).text()) if mark.is_of_state(state) else None
    return moved or mark


@contextmanager
def _state_of(snapshot: Snapshot) -> Iterator[tuple[Path, KvStore]]:
    """Lay out the state folder for a while, with the store."""
    with tempfile.TemporaryDirectory(prefix="reconcile-") as folder:
        state_dir = Path(folder)
        for name in STATE_FILES:
            if name in snapshot.files:
                write_fields(state_dir / name, _here(snapshot.files[name], snapshot.place))
        with closing(open_sqlite(state_dir / "state.db")) as kv:
            for writes in _batches(snapshot.records):
                kv.transact((), writes)
            yield state_dir, kv


def _batches(records: Mapping[str, str]) -> Iterator[list[Put]]:
    batch, size = list[Put](), 0
    for key, text in records.items():
        value = text.encode(errors="replace")
        if not is_key(key):
            continue
        if len(batch) == TRANSACTION_KEYS_MAX or (batch and size + len(value) > TRANSACTION_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(Put(key=key, value=value))
        size += len(value)
    if batch:
        yield batch


def _here(fields: Mapping[str, object], where: str) -> Mapping[str, object]:
    """Return a file of the state folder as if it had been written in this place."""
    return {**fields, "place": place()} if fields.get("place") == where else fields
