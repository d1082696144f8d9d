"""Which settings sandboxes are asked for, and which defaults they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from reconciler.drivers.sandbox_side import ENDPOINT_SYSCTLS
from reconciler.incremental import Each, Table, changed_keys, indexed
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.wanted import AttachmentWanted, NetworkMode, SandboxKind
from reconciler.sandbox.compile import sysctl_path

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


class AskedSettings:
    """Says which settings to ask each sandbox for."""

    def __init__(self) -> None:
        self._each: Each[str, AttachmentWanted, tuple[NsRef, frozenset[str]] | None] = Each(attrgetter("name"))
        self._of: Table[str, tuple[NsRef, frozenset[str]] | None] = Table()
        self._promised: Mapping[tuple[NsRef, str], object] = {}
        self._asked: Table[NsRef, frozenset[str]] = Table()

    def __call__(
        self, attachments: Sequence[AttachmentWanted], promised: Mapping[tuple[NsRef, str], object]
    ) -> Table[NsRef, frozenset[str]]:
        """promised: settings that were changed for us, by namespace and name."""
        before, self._of = self._of, self._each(attachments, _asked_of)
        changed, tables = self._of.changed_since(before), (before, self._of)
        touched = {found[0] for table in tables for name in changed if (found := table.get(name)) is not None}
        touched |= {ns for ns, _ in changed_keys(self._promised, promised) if ns != HOST}
        self._promised = promised
        put = {ns: names for ns in touched if (names := self._names(ns)) is not None}
        self._asked = self._asked.updated(put, touched - put.keys())
        return self._asked

    def _names(self, ns: NsRef) -> frozenset[str] | None:
        """Return what to ask a namespace for, None where nobody is interested."""
        asking = [found for name in self._of.index(_sandbox).get(ns, ()) if (found := self._of[name]) is not None]
        promised = indexed(self._promised, _namespace).get(ns, ())
        names = frozenset[str]().union(*(names for _, names in asking), (name for _, name in promised))
        return names if asking or promised else None


def _sandbox(_: str, asked: tuple[NsRef, frozenset[str]] | None) -> tuple[NsRef, ...]:
    return () if asked is None else (asked[0],)


def _namespace(setting: tuple[NsRef, str], _: object) -> tuple[NsRef]:
    return (setting[0],)


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


def _endpoint_paths(given: str) -> Iterator[str]:
    """Take `net.ipv4.conf.IFNAME.log_martians=1,...` apart."""
    for assignment in filter(None, given.split(",")):
        yield assignment.partition("=")[0].strip().replace(".", "/")
