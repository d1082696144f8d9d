"""Settings below /proc/sys/net: those of links come with their dumps (linux/ip.h, linux/ipv6.h), others are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from reconciler.errors import ConfigError, KvError, ReconcilerError
from reconciler.kernel.links import (
    DEVCONF_ACCEPT_RA,
    DEVCONF_DISABLE_IPV6,
    DEVCONF_FORCE_FORWARDING,
    IFLA_INET6_CONF,
    IFLA_INET_CONF,
    Link,
)
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.rtnetlink import FAMILIES, attributes, nested_attributes, s32
from reconciler.kernel.sysctl import read_sysctl, write_sysctl
from reconciler.kinds.row import Row, SeenInView, Where
from reconciler.kinds.view import NamespaceView
from reconciler.kinds.world import World
from reconciler.kv.protocol import KvStore, Put
from reconciler.model.identifiers import FORWARDING, HOST, NsRef
from reconciler.model.objects import Seen, Sysctl
from reconciler.model.plan import Operation, Outcome
from reconciler.sandbox.readings import Reading

_IFNAME: Final = "IFNAME"
HOST_SYSCTLS = (
    *FORWARDING.values(),
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/conf/default/forwarding",
    "net/ipv6/conf/default/forwarding",
)

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
    "net/ipv6/conf/{}/force_forwarding": (_AF_INET6, IFLA_INET6_CONF, DEVCONF_FORCE_FORWARDING),
    "net/ipv6/conf/{}/accept_ra": (_AF_INET6, IFLA_INET6_CONF, DEVCONF_ACCEPT_RA),
}
"""Those that forwarding has a say in, or that have one in it."""


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


def host_sysctls(namespaces: Namespaces) -> Iterator[Seen]:
    """Yield the switches of forwarding, and what they override besides settings of links; those that exist."""
    return _read(namespaces, HOST, HOST_SYSCTLS)


def forwarding_sysctls(namespaces: Namespaces, ns: NsRef) -> Iterator[Seen]:
    """Yield what makes a namespace route between its own links."""
    return _read(namespaces, ns, FORWARDING.values())


def sandbox_sysctls(namespaces: Namespaces, ns: NsRef, asked: Iterable[str], ifnames: Iterable[str]) -> Iterator[Seen]:
    """Yield what the settings are in the sandbox. ifnames: our links there, which IFNAME stands for."""
    asked = tuple(asked)
    if not asked:
        return iter(())
    ifnames = tuple(ifnames)
    names = {name for path in asked for name in _expanded(path, ifnames)}
    return _read(namespaces, ns, sorted(names))


def _expanded(path: str, ifnames: Iterable[str]) -> Iterator[str]:
    """Which of our links an endpoint has is not known yet, so its options are read for each."""
    parts = path.split("/")
    if _IFNAME not in parts:
        yield path
        return
    for ifname in ifnames:
        yield "/".join(ifname if part == _IFNAME else part for part in parts)


def _read(namespaces: Namespaces, ns: NsRef, names: Iterable[str]) -> Iterator[Seen]:
    names = tuple(names)
    if not names:
        return
    with namespaces.enter(ns):
        values = {name: _value(name) for name in names}
    for name, value in values.items():
        if value is not None:
            yield Seen(Sysctl(ns=ns, name=name, value=value), is_ours=False)


def _value(name: str) -> str | None:
    """A name that is refused counts as absent here: setting it gives the error to the attachment that asks for it."""
    try:
        return read_sysctl(name)
    except ConfigError:
        return None


def apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
    """Carry out operations on Sysctl; one outcome each, in the same order; never raises for one of them."""
    by_ns: dict[NsRef, list[int]] = {}
    for number, operation in enumerate(operations):
        by_ns.setdefault(_sysctl(operation).ns, []).append(number)
    errors: dict[int, ReconcilerError] = {}
    readings: dict[int, Reading] = {}
    for ns, members in by_ns.items():
        try:
            with world.namespaces.enter(ns):
                for number in members:
                    _set(number, _sysctl(operations[number]), errors, readings)
        except ReconcilerError as error:
            errors.update(dict.fromkeys(members, error))
    errors.update(_noted(readings, world.kv))
    return [Outcome(operation=operation, error=errors.get(number)) for number, operation in enumerate(operations)]


def _set(number: int, sysctl: Sysctl, errors: dict[int, ReconcilerError], readings: dict[int, Reading]) -> None:
    try:
        write_sysctl(sysctl.name, sysctl.value)
        given = read_sysctl(sysctl.name)
    except ReconcilerError as error:
        errors[number] = error
    else:
        if given is not None and given != sysctl.value:
            readings[number] = Reading(ns=sysctl.ns, name=sysctl.name, typed=sysctl.value, given=given)


def _noted(readings: dict[int, Reading], kv: KvStore) -> Iterable[tuple[int, ReconcilerError]]:
    for number, reading in readings.items():
        try:
            kv.transact((), [Put(key=reading.path, value=reading.text().encode())])
        except KvError as error:
            yield number, error


def _sysctl(operation: Operation) -> Sysctl:
    found = operation.after
    assert isinstance(found, Sysctl), "a setting is never deleted"
    return found


ROWS = (Row(Sysctl, SeenInView(Where.SANDBOX, observe), apply),)
