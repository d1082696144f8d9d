"""One look at the host: everything but the firewall and the key-value store."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.kernel.netns import Namespaces
from reconciler.model.identifiers import HOST
from reconciler.model.objects import Seen
from reconciler.model.observed import Observed
from reconciler.model.wanted import WantedState
from reconciler.observe.addresses import link_addresses
from reconciler.observe.files import sandbox_files
from reconciler.observe.host_facts import host_facts
from reconciler.observe.links import Peers, host_links
from reconciler.observe.routes import unicast_routes
from reconciler.observe.sandboxes import View, look_into_sandboxes, view
from reconciler.observe.sysctls import host_sysctls
from reconciler.settings import Settings


def observe_host(wanted: WantedState, settings: Settings, namespaces: Namespaces, now: str) -> Observed:
    """Give what exists and what `wanted` needs to know. now: RFC 3339 with nanoseconds. Changes nothing.

    What is wrong with one sandbox stands in its fact. Raises KernelError when the host itself cannot be looked at.
    """
    namespaces.refresh()
    host = view(namespaces, HOST)
    sandboxes = look_into_sandboxes(wanted, namespaces, host)
    seen = [*sandboxes.seen, *_host_objects(host, sandboxes.peers), *host_sysctls(namespaces)]
    seen += sandbox_files(wanted, settings)
    return Observed(
        host=host_facts(settings, host, now),
        seen={found.object.key: found for found in seen},
        sandboxes=sandboxes.facts,
    )


def _host_objects(host: View, peers: Peers) -> Iterator[Seen]:
    yield from host_links(host.links, peers)
    yield from link_addresses(HOST, host.addresses, host.own_names())
    yield from unicast_routes(HOST, host.routes, host.names())
