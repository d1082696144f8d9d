"""One look at the host: everything but the firewall and the key-value store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Seen
from reconciler.model.observed import Observed
from reconciler.model.wanted import WantedState
from reconciler.observe.addresses import link_addresses
from reconciler.observe.files import expected_links, sandbox_files
from reconciler.observe.host_facts import host_facts
from reconciler.observe.links import Peers, host_links
from reconciler.observe.memory import Memory, View
from reconciler.observe.routes import unicast_routes
from reconciler.observe.sandboxes import look_into_sandboxes, view
from reconciler.observe.sysctls import host_sysctls
from reconciler.settings import Settings


def observe_host(
    wanted: WantedState,
    settings: Settings,
    namespaces: Namespaces,
    now: str,
    memory: Memory,
    promised_sysctls: Iterable[tuple[NsRef, str]] = (),
) -> Observed:
    """Give what exists and what `wanted` needs to know. now: RFC 3339 with nanoseconds. Changes nothing but `memory`.

    promised_sysctls: settings that were changed before, by namespace and name; looked at even when nobody names them any more.
    What is wrong with one sandbox stands in its fact. Raises KernelError when the host itself cannot be looked at.
    """
    namespaces.refresh()
    if memory.host is None:
        memory.host = view(namespaces, HOST)
    host = memory.host
    sandboxes = look_into_sandboxes(wanted, namespaces, host, memory, promised_sysctls)
    files = _files(wanted, settings, memory)
    seen = [*sandboxes.seen, *_host_objects(host, sandboxes.peers), *host_sysctls(namespaces), *files]
    return Observed(
        host=host_facts(settings, host, now),
        seen={found.object.key: found for found in seen},
        sandboxes=sandboxes.facts,
    )


def _files(wanted: WantedState, settings: Settings, memory: Memory) -> Iterable[Seen]:
    expected = expected_links(wanted)
    if memory.files is None or memory.files[0] != expected:
        memory.files = (expected, tuple(sandbox_files(expected, settings)))
    return memory.files[1]


def _host_objects(host: View, peers: Peers) -> Iterator[Seen]:
    yield from host_links(host.links, peers)
    yield from link_addresses(HOST, host.addresses, host.own_names())
    yield from unicast_routes(HOST, host.routes, host.names())
