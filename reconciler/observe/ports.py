"""What the choice of host ports depends on, read from the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.kernel.netns import Namespaces
from reconciler.kernel.sockets import bound_sockets
from reconciler.kernel.sysctl import read_sysctl
from reconciler.kinds.route import get_route, is_to_ourselves
from reconciler.model.identifiers import HOST
from reconciler.model.objects import IPAddress
from reconciler.model.observed import HostPorts, PortRange
from reconciler.model.wanted import WantedState

_DEFAULT = HostPorts()


def host_ports(wanted: WantedState) -> HostPorts:
    """Return the ephemeral range and who holds which ports. Looks nothing up when nobody publishes ports. Raises KernelError."""
    return all_ports() if any(attachment.ports for attachment in wanted.attachments) else _DEFAULT


def all_ports() -> HostPorts:
    """Return the same, whoever publishes ports."""
    ephemeral = tuple(_ranges((read_sysctl("net/ipv4/ip_local_port_range") or "").replace(" ", "-")))
    return HostPorts(
        ephemeral=ephemeral[0] if ephemeral else _DEFAULT.ephemeral,
        reserved=tuple(_ranges(read_sysctl("net/ipv4/ip_local_reserved_ports") or "")),
        sockets=tuple(sorted(bound_sockets(), key=lambda s: (s.protocol, s.port, str(s.address)))),
    )


def absent_addresses(addresses: Iterable[IPAddress], namespaces: Namespaces) -> frozenset[IPAddress]:
    """Return those that the host does not have. Raises KernelError."""
    asked = sorted(set(addresses), key=lambda address: (address.version, address))
    replies = namespaces.socket(HOST).batch([get_route(address) for address in asked])
    return frozenset(
        address
        for address, reply in zip(asked, replies, strict=True)
        if not any(is_to_ourselves(a.buffer, a.start, a.end) for a in reply.answers)
    )


def _ranges(text: str) -> Iterator[PortRange]:
    """Read `1-5,8` as the kernel writes it; what is no number or range is passed over."""
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            yield int(first), int(last or first)
