"""Which processes are in which sandboxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reconciler.kernel.netns import Namespaces
from reconciler.kernel.netns_mounts import occupants
from reconciler.kernel.processes import command
from reconciler.model.identifiers import NsRef


def observe_occupants(sandboxes: Iterable[NsRef], namespaces: Namespaces) -> Mapping[NsRef, str]:
    """Name one process, its command too, for each of the sandboxes that has one. Walks /proc once, and not for nothing."""
    inodes = {ns: namespaces.present_inode(ns) for ns in sandboxes}
    running = occupants() if any(inodes.values()) else {}
    pids = {ns: running[inode] for ns, inode in inodes.items() if inode in running}
    return {ns: f"process {pid} ({command(pid)})" for ns, pid in pids.items()}
