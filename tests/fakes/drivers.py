"""What a driver compiles in all: a network with its endpoints here and elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reconciler.drivers.protocol import Driver
from reconciler.drivers.registry import REMOTE
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, HostFacts
from reconciler.model.objects import Object


def compiler_of(driver: Driver) -> Callable[[DesiredNetwork, Sequence[DesiredEndpoint], HostFacts], Iterator[Object]]:
    def compile_network(
        network: DesiredNetwork, endpoints: Sequence[DesiredEndpoint], host: HostFacts
    ) -> Iterator[Object]:
        yield from driver.compile_network(network, endpoints, host)
        for endpoint in endpoints:
            yield from driver.compile_endpoint(network, endpoint, host)
        if network.remote_endpoints:
            compile_remote = REMOTE[network.wanted.driver].remote_compiler(network, endpoints, host)
            for remote in network.remote_endpoints:
                yield from compile_remote(remote)

    return compile_network
