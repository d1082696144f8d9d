"""How a link of ours takes part in IPv6, as its dump tells and as it is set."""

from __future__ import annotations

import errno
from typing import NamedTuple

from reconciler.errors import KernelError
from reconciler.kernel.links import (
    ADDR_GEN_EUI64,
    ADDR_GEN_NONE,
    DEVCONF_ACCEPT_RA,
    DEVCONF_AUTOCONF,
    DEVCONF_DISABLE_IPV6,
    IFLA_INET6_ADDR_GEN_MODE,
    IFLA_INET6_CONF,
    Link,
    LinkChange,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import FAMILIES, Span, attributes, nested_attributes, s32, u8
from reconciler.kernel.sysctl import write_sysctl
from reconciler.kinds.links import change
from reconciler.kinds.scripts import Script
from reconciler.model.identifiers import NsRef


class Ipv6(NamedTuple):
    """How a link takes part in IPv6: not at all where the kernel has none, or the link's MTU is too small for it.

    has_link_local: it makes itself an address. heeds_routers: it takes addresses or routes from router advertisements.
    """

    is_on: bool = False
    has_link_local: bool = False
    heeds_routers: bool = False


def ipv6_of(link: Link) -> Ipv6:
    """Read it from the link's dump. Raises CodecError."""
    spec = attributes(link.af_spec, 0, len(link.af_spec))
    inet6 = nested_attributes(link.af_spec, spec.get(FAMILIES[6]))
    conf = inet6.get(IFLA_INET6_CONF)
    if conf is None:
        return Ipv6()
    heeded = (_devconf(link.af_spec, conf, place) for place in (DEVCONF_ACCEPT_RA, DEVCONF_AUTOCONF))
    return Ipv6(
        is_on=not _devconf(link.af_spec, conf, DEVCONF_DISABLE_IPV6),
        has_link_local=u8(link.af_spec, inet6.get(IFLA_INET6_ADDR_GEN_MODE), ADDR_GEN_NONE) == ADDR_GEN_EUI64,
        heeds_routers=any(heeded),
    )


def _devconf(af_spec: bytes, conf: Span, place: int) -> int:
    at = conf[0] + 4 * place
    return s32(af_spec, (at, min(at + 4, conf[1])) if at < conf[1] else None)


def set_ipv6(ns: NsRef, ifname: str, namespaces: Namespaces, *, is_on: bool) -> None:
    """Switch IPv6 on or off, and have the link heed no router: for one that is down yet, before anybody can reach it.

    These settings cannot be given in the message that makes a link: files alone have them. The advertisements of a sandbox would
    else give the host addresses and its way out. Nor does it look for others that have its link-local address, which is made of a
    MAC of ours: a router asks for neighbours from that, so a new bridge would forward nothing to them for two seconds, and whoever
    is on it could keep it from ever having one. Where the link has no IPv6 there is nothing to set. Raises KernelError.
    """
    settings = {"accept_ra": "0", "autoconf": "0", "accept_dad": "0", "disable_ipv6": str(int(not is_on))}
    with namespaces.enter(ns):
        for setting, value in settings.items():
            try:
                write_sysctl(f"net/ipv6/conf/{ifname}/{setting}", value)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise
                return


def set_parent_up(
    ns: NsRef, ifname: str, namespaces: Namespaces, what: str, *, has_ipv6: bool, mtu: int | None = None
) -> Script:
    """Bring up what links of sandboxes sit on.

    IPv6 is switched off before, as it has a carrier at once: the host shall neither be reached by it nor heed routers.
    """
    set_ipv6(ns, ifname, namespaces, is_on=has_ipv6)
    yield from change(ns, ifname, LinkChange(mtu=mtu, address_generation=ADDR_GEN_NONE), what)
    yield from change(ns, ifname, LinkChange(is_up=True), what)
