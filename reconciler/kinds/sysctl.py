"""Settings below /proc/sys/net: those of links come with their dumps (linux/ip.h, linux/ipv6.h)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.kernel.links import (
    DEVCONF_ACCEPT_RA,
    DEVCONF_DISABLE_IPV6,
    IFLA_INET6_CONF,
    IFLA_INET_CONF,
    Link,
)
from reconciler.kernel.rtnetlink import FAMILIES, attributes, nested_attributes, s32
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Seen, Sysctl

_AF_INET, _AF_INET6 = FAMILIES[4], FAMILIES[6]

SYSCTLS: Final = {
    "net/ipv4/conf/{}/route_localnet": (_AF_INET, IFLA_INET_CONF, 25),
    "net/ipv6/conf/{}/accept_ra": (_AF_INET6, IFLA_INET6_CONF, DEVCONF_ACCEPT_RA),
    "net/ipv6/conf/{}/disable_ipv6": (_AF_INET6, IFLA_INET6_CONF, DEVCONF_DISABLE_IPV6),
}
"""Settings that a link dump carries along: family, attribute and place in its array.

Places count from 0; linux/ip.h, unlike linux/ipv6.h, numbers them from 1.
"""

FORWARDING_SYSCTLS: Final = {
    "net/ipv4/conf/{}/forwarding": (_AF_INET, IFLA_INET_CONF, 0),
    "net/ipv6/conf/{}/forwarding": (_AF_INET6, IFLA_INET6_CONF, 0),
    "net/ipv6/conf/{}/accept_ra": (_AF_INET6, IFLA_INET6_CONF, DEVCONF_ACCEPT_RA),
}
"""Those that forwarding has a say in."""


def sysctl_values(link: Link, settings: Mapping[str, tuple[int, int, int]] = SYSCTLS) -> dict[str, str]:
    """Return those of the link's settings that its dump carried, by path. Raises CodecError."""
    spec = attributes(link.af_spec, 0, len(link.af_spec))
    values = {}
    for path, (family, kind, place) in settings.items():
        conf = nested_attributes(link.af_spec, spec.get(family)).get(kind)
        if conf is not None and conf[0] + 4 * place + 4 <= conf[1]:
            at = conf[0] + 4 * place
            values[path.format(link.ifname)] = str(s32(link.af_spec, (at, at + 4)))
    return values


def link_sysctls(ns: NsRef, link: Link, settings: Mapping[str, tuple[int, int, int]] = SYSCTLS) -> Iterator[Seen]:
    """Yield the settings that came with the link's dump."""
    for name, value in sysctl_values(link, settings).items():
        yield Seen(Sysctl(ns=ns, name=name, value=value), is_ours=False)


def observe(ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    """Yield the settings of those links in a sandbox that we joined to a network."""
    for link in view.links:
        if link.is_ours and link.kind:
            yield from link_sysctls(ns, link)
