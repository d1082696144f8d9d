"""One look at the host: everything but the firewall and the key-value store."""

from __future__ import annotations

from typing import Final

from reconciler.facts import Facts
from reconciler.ipam.promises import NOTHING_PROMISED, Promises
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.sysctl import host_sysctls
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import HOST
from reconciler.model.observed import Keyed, keyed
from reconciler.model.wanted import WantedState, adopting_bridges, named_parents
from reconciler.observe.adoption import bridges_of_others
from reconciler.observe.host_facts import host_facts
from reconciler.observe.memory import Memory, Part
from reconciler.observe.overlay import look_into_overlays, overlay_parts
from reconciler.observe.sandboxes import (
    NearEnds,
    look_into_sandboxes,
    refreshed_view,
    view,
)
from reconciler.settings import Settings


def observe_host(
    wanted: WantedState,
    settings: Settings,
    namespaces: Namespaces,
    now: str,
    memory: Memory,
    promises: Promises = NOTHING_PROMISED,
) -> tuple[Facts, dict[Part, Keyed]]:
    """Return what `wanted` needs to know, and what exists, in parts. now: RFC 3339 with nanoseconds. Changes nothing but `memory`.

    promises: where to look as well, although no attachment may name it any more. What is wrong with one sandbox stands in its
    fact. Raises KernelError when the host itself cannot be looked at.
    """
    host = host_view(namespaces, memory)
    look_into_overlays(namespaces, memory)
    overlays = [overlay for overlay in memory.overlays.values() if overlay is not None]
    nears = NearEnds({HOST: host, **{overlay.ns: overlay.seen for overlay in overlays}})
    parts = dict(look_into_sandboxes(wanted, namespaces, nears, memory, promises))
    kept = memory.kept
    parts.update(overlay_parts(memory, kept.peers))
    parts[3, "host"] = memory.host_objects(host, kept.peers[HOST])
    parts[4, "settings"] = keyed(host_sysctls(namespaces))
    parts[5, "files"] = memory.files.look(wanted.attachments, settings)
    bridges = bridges_of_others(host, adopting_bridges(wanted))
    facts = host_facts(settings, host, now, named_parents(wanted), bridges, memory.ask)
    return Facts(host=facts, sandboxes=kept.facts), parts


_FEW_LINKS: Final = 128
"""Up to so many are asked for one by one; the dump of a thousand takes as long as some three hundred."""


def host_view(namespaces: Namespaces, memory: Memory) -> NamespaceView:
    """Look at the host's own namespace, as far as `memory` does not know it."""
    namespaces.refresh()
    memory.hear()
    memory.host = _fresh_view(namespaces, memory)
    memory.stale_links, memory.stale_names = None, frozenset()
    return memory.host


def _fresh_view(namespaces: Namespaces, memory: Memory) -> NamespaceView:
    links, names = memory.stale_links, memory.stale_names
    if memory.host is None or (links is not None and len(links) + len(names) > _FEW_LINKS):
        return view(namespaces, HOST)
    if links is None:
        return memory.host
    return refreshed_view(namespaces, HOST, memory.host, links, names)
