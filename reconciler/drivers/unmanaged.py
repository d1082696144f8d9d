"""The `host` and `null` drivers: networks without a link of their own. Their endpoints exist for inspect only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.objects import Object


def compile_network(network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts) -> Iterable[Object]:
    """Return nothing: the sandbox is the host's own stack, or holds its loopback alone."""
    return ()


def compile_endpoint(network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterable[Object]:
    """Return nothing, as for the network."""
    return ()
