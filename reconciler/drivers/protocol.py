"""What a driver is: a compiler without I/O. It sees nothing of what exists and decides no order; `plan` does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.objects import Object


class Driver(Protocol):
    """Compiles one network type."""

    def compile_network(
        self, network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts
    ) -> Iterable[Object]:
        """Give every object this host must have for the network and its endpoints, in any order, each with its unit."""
