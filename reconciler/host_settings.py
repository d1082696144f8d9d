"""What becomes of other settings of the host when it begins to forward packets for our networks, and what was before. Pure.

The kernel writes them along with the switch (inet_forward_change in net/ipv4/devinet.c, addrconf_forward_change in
net/ipv6/addrconf.c), and a link that forwards no longer heeds routers: the default route that the host has by router advertisement
goes. So such links are told to heed them all the same before the switch is set, and every setting that would not come
back by itself with the switch is remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from reconciler.incremental import indexed
from reconciler.model.identifiers import FORWARDING, HOST, NsRef
from reconciler.model.objects import Key, Seen, Sysctl

IF_NOT_FORWARDING: Final = "1"
ALWAYS: Final = "2"
"""Of accept_ra: when a link heeds router advertisements (ip-sysctl.rst)."""

_SWITCHED_OFF: Final = {"forwarding": "0", "force_forwarding": "0", "accept_redirects": "1"}
"""What the kernel makes of these when it is told not to forward any more."""


def advertised_setting(ifname: str) -> str:
    return f"net/ipv6/conf/{ifname}/accept_ra"


def switch_of(name: str) -> str | None:
    """Return the switch that a setting of the host depends on; None for the switches themselves and for what depends on none."""
    match name.split("/"):
        case ["net", "ipv4", "conf", "all", "accept_redirects"]:
            return FORWARDING[4]
        case ["net", "ipv4", "conf", link, "forwarding"] if link != "all":
            return FORWARDING[4]
        case ["net", "ipv6", "conf", link, "forwarding" | "force_forwarding" | "accept_ra"] if link != "all":
            return FORWARDING[6]
    return None


def overridden(switch: Sysctl, seen: Mapping[Key, Seen]) -> Iterator[Sysctl]:
    """Yield the settings as they are that the switch overrides, and that putting it back would not bring back."""
    for found in seen.values():
        setting = found.object
        if isinstance(setting, Sysctl) and setting.ns == HOST and switch_of(setting.name) == switch.name:
            after = _SWITCHED_OFF.get(setting.name.rpartition("/")[2])
            if after is not None and setting.value != after:
                yield setting


def still_heeding(uplinks: Collection[str], seen: Mapping[Key, Seen], *, is_switch_ours: bool) -> Iterator[Sysctl]:
    """Yield what links of the host need that heed routers, but do not when they forward.

    is_switch_ours: it is we who made them forward.
    """
    for ifname in uplinks:
        heeds = _value(seen, advertised_setting(ifname)) == IF_NOT_FORWARDING
        forwards = _value(seen, f"net/ipv6/conf/{ifname}/forwarding") != "0"
        if heeds and (is_switch_ours or not forwards):
            yield Sysctl(ns=HOST, name=advertised_setting(ifname), value=ALWAYS)


def forwarding_before(promised: Mapping[tuple[NsRef, str], str]) -> Iterator[tuple[int, str]]:
    """Yield the links by which what came in was forwarded before us, with the version of IP; "" for links that come later.

    promised: what settings were before us. IPv4 asks the link alone that a packet comes in by (ip_route_input_slow in
    net/ipv4/route.c), IPv6 the switch of the host (ip6_forward in net/ipv6/ip6_output.c).
    """
    for (ns, name), before in promised.items():
        match name.split("/"):
            case ["net", "ipv4", "conf", link, "forwarding"] if ns == HOST and before != "0":
                yield 4, "" if link == "default" else link


def forced_links(seen: Mapping[Key, Seen]) -> Collection[str]:
    """Return the links by which IPv6 packets are forwarded whatever the switch of the host says (force_forwarding, Linux 6.17)."""
    return indexed(seen, _forced).keys()


def _forced(_: Key, found: Seen) -> Iterator[str]:
    setting = found.object
    if isinstance(setting, Sysctl) and setting.ns == HOST and setting.value == "1":
        match setting.name.split("/"):
            case ["net", "ipv6", "conf", link, "force_forwarding"]:
                yield link


def _value(seen: Mapping[Key, Seen], name: str) -> str | None:
    found = seen.get(Sysctl(ns=HOST, name=name, value="").key)
    return found.object.value if found is not None and isinstance(found.object, Sysctl) else None
