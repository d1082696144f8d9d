"""Reading the settings that links do not tell about themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.drivers.sandbox_side import ENDPOINT_SYSCTLS
from reconciler.errors import ConfigError
from reconciler.incremental import Made
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.identifiers import FORWARDING, HOST, NsRef
from reconciler.model.objects import Seen, Sysctl
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind
from reconciler.sandbox.compile import sysctl_path

if TYPE_CHECKING:  # `validate` reads settings too, and enters no namespace
    from reconciler.kernel.netns import Namespaces

_IFNAME = "IFNAME"
HOST_SYSCTLS = (
    *FORWARDING.values(),
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/conf/default/forwarding",
    "net/ipv6/conf/default/forwarding",
)


_PORTS = ("net/ipv4/ip_unprivileged_port_start", "0")
_PING_GROUPS = ("net/ipv4/ping_group_range", "0 2147483647")
_GROUPS = Path("/proc/thread-self/gid_map")


def sandbox_defaults() -> tuple[tuple[str, str], ...]:
    """Return what the engines give a container's namespace: whoever runs in it may bind port 80 and ping.

    In a user namespace that lacks some of the groups the kernel refuses the range, and engines leave it out.
    """
    groups = [line.split() for line in _GROUPS.read_bytes().splitlines()]
    has_all = any(int(first) == 0 and int(count) > 2147483647 for first, _, count in groups)
    return (_PORTS, _PING_GROUPS) if has_all else (_PORTS,)


def host_sysctls(namespaces: Namespaces) -> Iterator[Seen]:
    """Yield the switches of forwarding, and what they override besides settings of links; those that exist."""
    return _read(namespaces, HOST, HOST_SYSCTLS)


def forwarding_sysctls(namespaces: Namespaces, ns: NsRef) -> Iterator[Seen]:
    """Yield what makes a namespace route between its own links."""
    return _read(namespaces, ns, FORWARDING.values())


class AskedSettings:
    """Says which settings to ask each sandbox for; the very same mapping as long as that stays."""

    def __init__(self) -> None:
        self._of: Made[str, tuple[NsRef, frozenset[str]] | None] = Made(_asked_of)
        self._last: tuple[Sequence[AttachmentWanted], Collection[tuple[NsRef, str]]] = ((), ())
        self._asked: dict[NsRef, frozenset[str]] = {}

    def __call__(
        self, attachments: Sequence[AttachmentWanted], promised: Collection[tuple[NsRef, str]]
    ) -> Mapping[NsRef, frozenset[str]]:
        """promised: settings that were changed for us."""
        if self._last[0] is not attachments or self._last[1] != promised:
            self._last = (attachments, promised)
            self._asked = {}
            for found in self._of({attachment.name: (attachment,) for attachment in attachments}).values():
                if found is not None:
                    self._ask(*found)
            for ns, name in promised:
                if ns != HOST:
                    self._ask(ns, frozenset((name,)))
        return self._asked

    def _ask(self, ns: NsRef, names: frozenset[str]) -> None:
        self._asked[ns] = self._asked[ns] | names if ns in self._asked else names


def _asked_of(attachment: AttachmentWanted) -> tuple[NsRef, frozenset[str]] | None:
    """Return an attachment's sandbox and the paths of what it may need there; None for one on the host.

    Defaults where the namespace may be ours, what `sysctls` names and the sysctl options of endpoints, with IFNAME in them.
    """
    if attachment.mode is NetworkMode.HOST:
        return None
    names = {sysctl_path(name) for name, _ in attachment.sysctls}
    if attachment.sandbox.kind is SandboxKind.NETNS:
        names.update((_PORTS[0], _PING_GROUPS[0]))
    for endpoint in attachment.endpoints:
        if endpoint.options:
            names.update(_endpoint_paths(dict(endpoint.options).get(ENDPOINT_SYSCTLS, "")))
    return attachment.sandbox.ns, frozenset(names)


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


def _endpoint_paths(given: str) -> Iterator[str]:
    """Take `net.ipv4.conf.IFNAME.log_martians=1,...` apart."""
    for assignment in filter(None, given.split(",")):
        yield assignment.partition("=")[0].strip().replace(".", "/")


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
