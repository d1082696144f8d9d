"""Bridges of others that networks adopt: taken over in place, and given back as they were found.

Taking over changes the marks (link group and alias) and holds the MAC fast: a bridge whose MAC nobody set takes the lowest of its
ports, so that ours coming and going would change it (br_stp_recalculate_bridge_id). Nothing is taken down for that.
"""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.errors import KernelError
from reconciler.kernel.links import (
    ADOPTED_GROUP,
    IFLA_INET_CONF,
    IPV4_DEVCONF_PROMOTE_SECONDARIES,
    Link,
    LinkChange,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import FAMILIES, attributes, nested_attributes, s32
from reconciler.kernel.sysctl import write_sysctl
from reconciler.kinds.ipv6 import ipv6_of
from reconciler.kinds.links import change, foreign, found_link, needed_link
from reconciler.kinds.row import SeenInView, Where, scripted
from reconciler.kinds.scripts import Script
from reconciler.kinds.view import NamespaceView
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import AdoptedBridge, Seen


def observe(ns: NsRef, view: NamespaceView) -> Iterator[Seen]:
    """Yield the bridges of others; those that are adopted are ours to change."""
    for link in view.bridges_of_others:
        bridge = AdoptedBridge(
            ns=ns,
            ifname=link.ifname,
            mtu=link.mtu,
            has_ipv6=ipv6_of(link).is_on,
            is_up=link.is_up,
            mark=link.alias,
            is_adopted=link.is_adopted,
        )
        yield Seen(bridge, is_ours=link.is_adopted)


def promotes_secondaries(link: Link) -> bool:
    """Return whether an IPv4 address that goes leaves others of its subnet there. Raises CodecError."""
    spec = attributes(link.af_spec, 0, len(link.af_spec))
    conf = nested_attributes(link.af_spec, spec.get(FAMILIES[4])).get(IFLA_INET_CONF)
    at = conf[0] + 4 * (IPV4_DEVCONF_PROMOTE_SECONDARIES - 1) if conf is not None else 0
    return conf is not None and at + 4 <= conf[1] and bool(s32(link.af_spec, (at, at + 4)))


def adopt(bridge: AdoptedBridge, namespaces: Namespaces) -> Script:
    """Mark it first: what is changed after that is put back whenever this ends."""
    what = f"adopt {bridge.describe()}"
    link = yield from needed_link(bridge.ns, bridge.ifname, what)
    if link.kind != "bridge" or link.is_ours:
        raise foreign(link, bridge.ns)
    marks = LinkChange(group=ADOPTED_GROUP, alias=bridge.mark, mac=link.mac, promotes_secondaries=True)
    yield from change(bridge.ns, link.ifindex, marks, what)
    yield from _settle(link, bridge, namespaces, what)


def update(_: AdoptedBridge, bridge: AdoptedBridge, namespaces: Namespaces) -> Script:
    what = f"update {bridge.describe()}"
    link = yield from needed_link(bridge.ns, bridge.ifname, what)
    if not link.is_adopted:
        raise foreign(link, bridge.ns)
    if link.alias != bridge.mark:
        yield from change(bridge.ns, link.ifindex, LinkChange(alias=bridge.mark), what)
    yield from _settle(link, bridge, namespaces, what)


def _settle(link: Link, bridge: AdoptedBridge, namespaces: Namespaces, what: str) -> Script:
    """Change what is otherwise, and no more."""
    if ipv6_of(link).is_on != bridge.has_ipv6:
        _write(f"net/ipv6/conf/{link.ifname}/disable_ipv6", str(int(not bridge.has_ipv6)), bridge.ns, namespaces)
    wanted = LinkChange(
        mtu=bridge.mtu if link.mtu != bridge.mtu else None, is_up=bridge.is_up if link.is_up != bridge.is_up else None
    )
    if wanted != LinkChange():
        yield from change(bridge.ns, link.ifindex, wanted, what)


def release(bridge: AdoptedBridge, namespaces: Namespaces) -> Script:
    """Put back what it was found with, and the marks last of all. One that is gone, or was given back, is done."""
    what = f"release {bridge.describe()}"
    link = yield from found_link(bridge.ns, bridge.ifname, what)
    if link is None or not link.is_adopted:
        return
    yield from _put_back(link, bridge, namespaces, what)
    found = bridge.found
    marks = LinkChange(group=found.group if found else 0, alias=found.alias if found else "")
    yield from change(bridge.ns, link.ifindex, marks, what)


def _put_back(link: Link, bridge: AdoptedBridge, namespaces: Namespaces, what: str) -> Script:
    """Where the record of how it was found is lost, it stays as it is."""
    found = bridge.found
    if found is None:
        return
    if link.mac != found.mac:
        yield from change(bridge.ns, link.ifindex, LinkChange(mac=found.mac), what)
    if not found.promotes_secondaries:
        _write(f"net/ipv4/conf/{link.ifname}/promote_secondaries", "0", bridge.ns, namespaces)
    as_found = AdoptedBridge(
        ns=bridge.ns, ifname=link.ifname, mtu=found.mtu, has_ipv6=found.has_ipv6, is_up=found.is_up
    )
    yield from _settle(link, as_found, namespaces, what)


def _write(path: str, value: str, ns: NsRef, namespaces: Namespaces) -> None:
    with namespaces.enter(ns):
        try:
            write_sysctl(path, value)
        except KernelError as error:
            if not error.is_gone:  # without IPv6, or with too small an MTU for it, there is no such setting
                raise


ROWS = (scripted(AdoptedBridge, seen=SeenInView(Where.HOST, observe), create=adopt, update=update, remove=release),)
