"""One look at the host: everything but the firewall and the key-value store."""

from __future__ import annotations

from typing import Final

from reconciler.facts import Facts
from reconciler.ipam.promises import NOTHING_PROMISED, Promises
from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import HOST, vlan_of
from reconciler.model.observed import Keyed, keyed
from reconciler.model.wanted import WantedState
from reconciler.observe.files import expected_links, files_of, sandbox_files
from reconciler.observe.host_facts import host_facts
from reconciler.observe.memory import Memory
from reconciler.observe.overlay import look_into_overlays
from reconciler.observe.sandboxes import (
    NearEnds,
    look_into_sandboxes,
    refreshed_view,
    view,
)
from reconciler.observe.sysctls import host_sysctls
from reconciler.observe.view import View
from reconciler.settings import Settings


def observe_host(
    wanted: WantedState,
    settings: Settings,
    namespaces: Namespaces,
    now: str,
    memory: Memory,
    promises: Promises = NOTHING_PROMISED,
) -> Facts:
    """Give what exists and what `wanted` needs to know. now: RFC 3339 with nanoseconds. Changes nothing but `memory`.

    promises: where to look as well, although no attachment may name it any more. What is wrong with one sandbox stands in its
    fact. Raises KernelError when the host itself cannot be looked at.
    """
    host = host_view(namespaces, memory)
    memory.overlays = look_into_overlays(namespaces, memory.overlays, memory.entries)
    overlays = [overlay for overlay in memory.overlays.values() if overlay is not None]
    nears = NearEnds({HOST: host.links, **{overlay.ns: overlay.seen.links for overlay in overlays}})
    sandboxes = look_into_sandboxes(wanted, namespaces, nears, memory, promises)
    seen = sandboxes.seen
    for overlay in overlays:
        seen.update(overlay.objects(sandboxes.peers[overlay.ns]))
    seen.update(memory.host_objects(host, sandboxes.peers[HOST]))
    seen.update(keyed(host_sysctls(namespaces)))
    seen.update(_files(wanted, settings, memory))
    return Facts(host=host_facts(settings, host, now, _parents(wanted)), seen=seen, sandboxes=sandboxes.facts)


_FEW_LINKS: Final = 128
"""Up to so many are asked for one by one; the dump of a thousand takes as long as some three hundred."""


def host_view(namespaces: Namespaces, memory: Memory) -> View:
    """Look at the host's own namespace, as far as `memory` does not know it."""
    namespaces.refresh()
    memory.host = _fresh_view(namespaces, memory)
    memory.stale_links = None
    return memory.host


def _fresh_view(namespaces: Namespaces, memory: Memory) -> View:
    if memory.host is None or (memory.stale_links is not None and len(memory.stale_links) > _FEW_LINKS):
        return view(namespaces, HOST)
    if memory.stale_links is None:
        return memory.host
    return refreshed_view(namespaces, HOST, memory.host, memory.stale_links)


def _parents(wanted: WantedState) -> frozenset[str]:
    """Name the links that networks sit on, and those below that VLANs are on."""
    named = {network.sublink.parent for network in wanted.networks if network.sublink is not None} - {""}
    return frozenset(named | {vlan[0] for name in named if (vlan := vlan_of(name)) is not None})


def _files(wanted: WantedState, settings: Settings, memory: Memory) -> Keyed:
    """Give the files; where attachments have only come, theirs alone are looked up."""
    expected = expected_links(wanted)
    known = memory.files
    if known is None or known[0].items() - expected.items():
        memory.files = (expected, keyed(sandbox_files(expected, settings)))
    elif added := dict(expected.items() - known[0].items()):
        memory.files = (expected, {**known[1], **keyed(files_of(added, settings))})
    assert memory.files is not None
    return memory.files[1]
