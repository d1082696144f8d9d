"""/etc/hosts of one sandbox, as the engine writes it (docs/design/docker.md#hosts)."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, HostFacts
from reconciler.model.identifiers import short_id
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
    """Return the file's text: the local names, extra hosts, links, then the sandbox's own names for each of its addresses.

    A sandbox on the host's stack gets the host's own file; with extra hosts the one that all others get, so that these count
    whatever the host's file says of the same names. host_gateway: what `host-gateway` in extra_hosts stands for; without one such a
    line is left out.
    """
    if attachment.wanted.mode is NetworkMode.HOST and not attachment.wanted.extra_hosts:
        return host.hosts
    extra = "".join(_extra_lines(attachment, host_gateway))
    own = "".join(f"{address}\t{own_names(attachment)}\n" for address in _own_addresses(attachment))
    return _LOCAL + extra + "".join(_link_lines(attachment)) + own


def own_names(attachment: DesiredAttachment) -> str:
    """Return the full name and its first part, or the one name when there is no domain; the short id when no hostname was given.

    The domain may stand in the hostname, in `domainname`, or in both.
    """
    full = attachment.wanted.hostname or short_id(attachment.id)
    domain = attachment.wanted.domainname
    if domain and not full.lower().endswith(f".{domain}".lower()):
        full = f"{full}.{domain}"
    host, dot, _ = full.partition(".")
    return f"{full} {host}" if dot else full


def _extra_lines(attachment: DesiredAttachment, host_gateway: IPAddress | None) -> Iterator[str]:
    for name, address in attachment.wanted.extra_hosts:
        if address != "host-gateway":
            yield f"{address}\t{name}\n"
        elif host_gateway is not None:
            yield f"{host_gateway}\t{name}\n"


def _link_lines(attachment: DesiredAttachment) -> Iterator[str]:
    """Yield what links on the default bridge lead to: alias, the other's hostname and its name (docs/design/docker.md#links)."""
    for link in attachment.links:
        names = " ".join(dict.fromkeys((link.alias, link.hostname, link.target)))
        for address in (link.ipv4, link.ipv6):
            if address is not None:
                yield f"{address}\t{names}\n"


def _own_addresses(attachment: DesiredAttachment) -> Iterator[IPAddress]:
    """Yield them in the order of the interfaces, which is that in which the engine's containers join their networks.

    Left out is the way out of overlay networks, where nobody looks for the sandbox.
    """
    for endpoint in sorted(attachment.endpoints, key=_interface_number):
        for interface in (endpoint.ipv4, endpoint.ipv6):
            if interface is not None and not endpoint.wanted.is_gateway:
                yield interface.ip


def _interface_number(endpoint: DesiredEndpoint) -> tuple[bool, int]:
    """Those with a name without a number come last, in order of preference."""
    digits = endpoint.ifname[len(endpoint.ifname.rstrip("0123456789")) :]
    return not digits, int(digits or 0)
