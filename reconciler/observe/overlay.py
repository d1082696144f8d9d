"""Looking into the namespaces that overlay networks have on this host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from reconciler.errors import ReconcilerError
from reconciler.incremental import Kept
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.namespace import NAMED, seen_namespace
from reconciler.kinds.neighbours import Entries
from reconciler.kinds.registry import objects_in_link, objects_in_view
from reconciler.kinds.row import Where
from reconciler.kinds.sysctl import forwarding_sysctls
from reconciler.kinds.view import NamespaceView, Peers
from reconciler.model.identifiers import OVERLAY_PREFIX, NsRef
from reconciler.model.objects import Seen
from reconciler.model.observed import Keyed, keyed
from reconciler.observe.memory import Memory, Overlay, Part
from reconciler.observe.sandboxes import named_namespaces, view

_OVERLAY = f"{NAMED}{OVERLAY_PREFIX}"


def look_into_overlays(namespaces: Namespaces, memory: Memory) -> None:
    """Have `memory` know every namespace with such a name, None for one that this instance did not make.

    Never raises for one of them: what is gone meanwhile is left out.
    """
    known, memory.overlays = memory.overlays, {}
    stale, memory.stale_entries = memory.stale_entries, frozenset()
    for ns in sorted(ns for ns in named_namespaces(namespaces, memory) if ns.startswith(_OVERLAY)):
        named = (ns.removeprefix(NAMED), namespaces.present_inode(ns))
        keys = [key for where, key in stale if where == ns]
        try:
            overlay = known[named] if named in known else _overlay(namespaces, ns)
            if overlay is not None and (keys or named not in known):
                entries = memory.entries.setdefault(named, Entries())
                socket, devices = namespaces.socket(ns), overlay.devices()
                if named in known:
                    entries.read_again(ns, socket, devices, keys)
                else:
                    entries.read(ns, socket, devices)
        except ReconcilerError:
            continue
        memory.overlays[named] = overlay
    for named in memory.entries.keys() - memory.overlays.keys():
        del memory.entries[named]


def overlay_parts(memory: Memory, peers: Mapping[NsRef, Peers]) -> Iterator[tuple[Part, Keyed]]:
    """Yield what is in these namespaces. peers: far ends of their pairs, as the sandboxes tell."""
    for named, overlay in memory.overlays.items():
        if overlay is not None:
            yield (2, overlay.ns), overlay.objects(peers[overlay.ns])
            yield (2, f"{overlay.ns} entries"), memory.entries[named].seen


def _overlay(namespaces: Namespaces, ns: NsRef) -> Overlay | None:
    if not namespaces.is_made_by_us(ns):
        namespaces.forget(ns)
        return None
    seen = view(namespaces, ns)
    settings = tuple(forwarding_sysctls(namespaces, ns))
    return Overlay(ns=ns, seen=seen, objects=partial(Kept(), partial(_objects, ns, seen, settings)))


def _objects(ns: NsRef, seen: NamespaceView, settings: tuple[Seen, ...], peers: Peers) -> Keyed:
    return keyed((*overlay_objects(ns, seen, peers), *settings))


def overlay_objects(ns: NsRef, seen: NamespaceView, peers: Peers) -> Iterator[Seen]:
    """Yield everything of ours in such a namespace but for entries, and the foreign links that may be in its way."""
    yield seen_namespace(ns)
    for link in seen.links:
        yield from objects_in_link(ns, link, seen.by_index, peers)
    yield from objects_in_view(Where.OVERLAY, ns, seen)
