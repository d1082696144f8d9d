"""Forget tracked connections that lead where nobody is any more."""

from __future__ import annotations

import logging
from collections.abc import Callable

from reconciler.errors import ReconcilerError
from reconciler.flows import StaleFlows
from reconciler.kernel.conntrack import TrackedConnection, forget_flows
from reconciler.kernel.netns import Namespaces
from reconciler.kinds.address import decode_address, dump_addresses
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress
from reconciler.ports.demands import ANY

log = logging.getLogger(__name__)


def forget_stale_flows(stale: StaleFlows, namespaces: Namespaces) -> None:
    """Delete the connections of the host that `stale` describes. Never raises: what stays ends by itself when its packets do."""
    if not stale:
        return
    try:
        entries = namespaces.socket(HOST).dump(dump_addresses(), decode_address) if stale.arrived else ()
        count = forget_flows(is_stale(stale, frozenset(entry.interface().ip for entry in entries)))
    except ReconcilerError as error:
        log.warning("connections to ports and addresses that changed could not be forgotten: %s", error)
        return
    if count:
        log.info("forgot %d tracked connections to ports and addresses that changed", count)


def is_stale(stale: StaleFlows, own_addresses: frozenset[IPAddress]) -> Callable[[TrackedConnection], bool]:
    """Return the question. own_addresses: of the host, which a datagram may have reached before its port was published."""
    withdrawn = {(b.protocol, b.host_ip, b.host_port, address, b.target) for b, address in stale.withdrawn}
    arrived = {(b.protocol, b.host_ip, b.host_port) for b, _ in stale.arrived}

    def is_stale(flow: TrackedConnection) -> bool:
        original, reply = flow.original, flow.reply
        if original.source in stale.addresses or reply.source in stale.addresses:
            return True
        is_translated = reply.source != original.destination
        for host_ip in (original.destination, ANY[original.destination.version]):
            place = (flow.protocol, host_ip, original.destination_port)
            if is_translated and (*place, reply.source, reply.source_port) in withdrawn:
                return True
            if not is_translated and place in arrived and original.destination in own_addresses:
                return True
        return False

    return is_stale
