"""Which host ports are taken, and by whom: a port on all addresses needs each single one, and the other way round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from reconciler.model.objects import IPAddress
from reconciler.model.observed import BoundSocket
from reconciler.ports.demands import ANY


class TakenPorts:
    """Host ports given to attachments."""

    def __init__(self) -> None:
        self._holders: defaultdict[tuple[str, int], dict[int, dict[IPAddress, str]]] = defaultdict(dict)

    def holder(self, protocol: str, host_ip: IPAddress, port: int) -> str | None:
        """Return who has this port on this address, or one that excludes it; None when it is free."""
        on_port = self._holders[protocol, host_ip.version].get(port)
        if not on_port:
            return None
        if host_ip.is_unspecified:
            return next(iter(on_port.values()))
        return on_port.get(host_ip) or on_port.get(ANY[host_ip.version])

    def take(self, protocol: str, host_ip: IPAddress, port: int, holder: str) -> None:
        self._holders[protocol, host_ip.version].setdefault(port, {}).setdefault(host_ip, holder)

    def give_back(self, protocol: str, host_ip: IPAddress, port: int) -> None:
        self._holders[protocol, host_ip.version].get(port, {}).pop(host_ip, None)


class Sockets:
    """The sockets of the host's processes, by port."""

    def __init__(self, sockets: Iterable[BoundSocket]) -> None:
        self._by_port: defaultdict[tuple[str, int], list[BoundSocket]] = defaultdict(list)
        for socket in sockets:
            self._by_port[socket.protocol, socket.port].append(socket)

    def holder(self, protocol: str, host_ip: IPAddress, port: int) -> BoundSocket | None:
        """Return a socket that would lose packets to this port; None when there is none."""
        for socket in self._by_port.get((protocol, port), ()):
            if socket.address is None:
                return socket
            is_any = host_ip.is_unspecified or socket.address.is_unspecified
            if socket.address.version == host_ip.version and (is_any or socket.address == host_ip):
                return socket
        return None
