"""What a driver is: a compiler without I/O. It sees nothing of what exists and decides no order; `plan` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts, RemoteEndpoint
from reconciler.model.objects import Object

RemoteCompiler = Callable[[RemoteEndpoint], Iterable[Object]]
"""Gives every object this host must have for one endpoint on another host, with the network's unit."""


class Driver(Protocol):
    """Compiles one network type."""

    def compile_network(
        self, network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts
    ) -> Iterable[Object]:
        """Return every object this host must have for the network and its endpoints, in any order, each with its unit."""


class RemoteDriver(Protocol):
    """Compiles what leads to endpoints on other hosts, one by one."""

    def remote_compiler(
        self, network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts
    ) -> RemoteCompiler:
        """Return for a single one what `compile_network` does for all. endpoints: those of this host."""
