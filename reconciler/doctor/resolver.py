"""Whether the host's /etc/resolv.conf can be read and leads to name servers: neither in a circle through a sandbox of ours, or a
stub and one, nor to our own server's address, which is in sandboxes alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from msgspec import Struct

from reconciler.doctor.finding import Finding, error, warning
from reconciler.doctor.place import Place
from reconciler.kernel.sockets import bound_sockets
from reconciler.model.identifiers import EMBEDDED_SERVER
from reconciler.model.ip import address_or_none
from reconciler.model.objects import IPAddress
from reconciler.records.file import beginning
from reconciler.sandbox.resolv_conf import parse_resolv_conf

_FILE = "/etc/resolv.conf"
_STUB = "127.0.0.53"
_BEHIND = "/run/systemd/resolve/resolv.conf"


class Resolver(Struct, frozen=True, kw_only=True):
    """unreadable: why the file is not read. servers, behind: what it names, and what the stub of systemd-resolved asks itself.

    members: addresses of sandboxes, with their names. is_served: somebody listens at our server's address on the host.
    """

    unreadable: str = ""
    servers: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    members: Mapping[IPAddress, str] = {}
    is_served: bool = False


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Resolver) -> Iterator[Finding]:
    if found.unreadable:
        yield error(
            f"{_FILE} cannot be read: {found.unreadable}",
            "sandboxes are given public name servers instead of the host's",
            f"mv {_FILE} {_FILE}.old",
            f"ln -s {_BEHIND} {_FILE}" if found.behind else _public(">"),
        )
        return
    for file, servers in ((_FILE, found.servers), (_BEHIND, found.behind if _STUB in found.servers else ())):
        for server in servers:
            yield from _of_server(server, file, found)
    if not found.servers:
        yield warning(
            f"{_FILE} names no name server",
            "sandboxes are given public ones, and the host itself finds no names",
            _public(">>"),
        )


def _public(redirection: str) -> str:
    return f"printf 'nameserver 9.9.9.9\\n' {redirection} {_FILE}"


def _of_server(server: str, file: str, found: Resolver) -> Iterator[Finding]:
    address = address_or_none(server.partition("%")[0])
    if address is None:
        return
    if str(address) == EMBEDDED_SERVER and not found.is_served:
        yield error(
            f"{file} names {EMBEDDED_SERVER}, where nobody answers on the host",
            "that is our name server's address in sandboxes: what it is asked for goes on to the host's servers, and so to nobody",
            f"sed -i '/^nameserver[[:space:]]*{EMBEDDED_SERVER.replace('.', '[.]')}/d' {file}",
        )
    elif address in found.members:
        name = found.members[address]
        yield warning(
            f"{file} names {server}, which is attachment {name}",
            f"names that {name} does not know go round in a circle when it asks the name server in its sandbox: that asks the "
            f"host's servers, and so {name}; give it `dns:` of its own, and the host has no names while it is down",
        )


def read(place: Place) -> Resolver:
    unreadable, text = "", ""
    try:
        text = beginning(place.root / _FILE.lstrip("/"), 1 << 20)
    except FileNotFoundError:
        pass
    except OSError as failure:
        unreadable = failure.strerror or str(failure)
    desired = None if place.decision is None else place.decision.desired
    members = {
        address.ip: attachment.name
        for attachment in (() if desired is None else desired.members)
        for endpoint in attachment.endpoints
        for address in (endpoint.ipv4, endpoint.ipv6)
        if address is not None
    }
    server = ip_address(EMBEDDED_SERVER)
    return Resolver(
        unreadable=unreadable,
        servers=parse_resolv_conf(text).nameservers,
        behind=parse_resolv_conf(place.file(_BEHIND) or "").nameservers,
        members=members,
        is_served=any(bound.address == server for bound in bound_sockets()),
    )
