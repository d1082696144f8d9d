"""Which settings sandboxes are asked for, and which defaults they have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.drivers.sandbox_side import ENDPOINT_SYSCTLS
from reconciler.incremental import Made
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


def _endpoint_paths(given: str) -> Iterator[str]:
    """Take `net.ipv4.conf.IFNAME.log_martians=1,...` apart."""
    for assignment in filter(None, given.split(",")):
        yield assignment.partition("=")[0].strip().replace(".", "/")
