"""/etc/hosts of one sandbox, as the engine writes it (docker-networking section 7.6)."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.model.desired import DesiredAttachment, HostFacts
from reconciler.model.objects import IPAddress
from reconciler.model.wanted import NetworkMode

_LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts_text(attachment: DesiredAttachment, host: HostFacts, host_gateway: IPAddress | None) -> str:
    """Give the file's text: the local names, extra hosts, links, then the sandbox's own names for each of its addresses.

    A sandbox on the host's stack gets the host's own file with the extra hosts appended.
    host_gateway: what `host-gateway` in extra_hosts stands for; without one such a line is left out.
    """
    extra = "".join(_extra_lines(attachment, host_gateway))
    if attachment.wanted.mode is NetworkMode.HOST:
        return _terminated(host.hosts) + extra
    own = "".join(f"{address}\t{own_names(attachment)}\n" for address in _own_addresses(attachment))
    return _LOCAL + extra + "".join(_link_lines(attachment)) + own


def own_names(attachment: DesiredAttachment) -> str:
    """Give `host.domain host`, or the one name when there is no domain; the short id when no hostname was given."""
    hostname = attachment.wanted.hostname or attachment.id[:12]
    domain = attachment.wanted.domainname
    return f"{hostname}.{domain} {hostname}" if domain else hostname


def _extra_lines(attachment: DesiredAttachment, host_gateway: IPAddress | None) -> Iterator[str]:
    for name, address in attachment.wanted.extra_hosts:
        if address != "host-gateway":
            yield f"{address}\t{name}\n"
        elif host_gateway is not None:
            yield f"{host_gateway}\t{name}\n"


def _link_lines(attachment: DesiredAttachment) -> Iterator[str]:
    """Give what links on the default bridge lead to: alias, the other's hostname and its name (docker-networking section 8)."""
    for link in attachment.links:
        names = " ".join(dict.fromkeys((link.alias, link.hostname, link.target)))
        for address in (link.ipv4, link.ipv6):
            if address is not None:
                yield f"{address}\t{names}\n"


def _own_addresses(attachment: DesiredAttachment) -> Iterator[IPAddress]:
    for endpoint in attachment.endpoints:
        for interface in (endpoint.ipv4, endpoint.ipv6):
            if interface is not None:
                yield interface.ip


def _terminated(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
