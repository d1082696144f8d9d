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
        """Return every object this host must have for the network but for its endpoints, in any order, each with its unit.

        endpoints: those of this host, for what they share.
        """

    def compile_endpoint(self, network: DesiredNetwork, endpoint: DesiredEndpoint, host: HostFacts) -> Iterable[Object]:
        """Return every object this host must have for one endpoint; others on the network say nothing in that."""


class RemoteDriver(Protocol):
    """Compiles what leads to endpoints on other hosts, one by one."""

    def remote_compiler(
        self, network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts
    ) -> RemoteCompiler:
        """Return what compiles a single one. endpoints: those of this host."""
