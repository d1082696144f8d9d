"""How a link of ours takes part in IPv6. These settings cannot be given in the message that makes a link: files alone have them."""

from __future__ import annotations

import errno

from reconciler.errors import KernelError
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.sysctl import write_sysctl
from reconciler.model.identifiers import NsRef


def set_ipv6(ns: NsRef, ifname: str, namespaces: Namespaces, *, is_on: bool) -> None:
    """Switch IPv6 on or off, and have the link heed no router: for one that is down yet, before anybody can reach it.

    The advertisements of a sandbox would else give the host addresses and its way out. Nor does it look for others that have its
    link-local address, which is made of a MAC of ours: a router asks for neighbours from that, so a new bridge would forward
    nothing to them for two seconds, and whoever is on it could keep it from ever having one. Where the link has no IPv6 there is
    nothing to set. Raises KernelError.
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
