"""What was seen before, so that a process that stays looks again only where something may have changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.kernel.addresses import AddressEntry
from reconciler.kernel.links import Link
from reconciler.kernel.routes import RouteEntry
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import Seen
from reconciler.model.observed import SandboxFact
from reconciler.observe.links import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the kernel says of one namespace."""

    links: tuple[Link, ...]
    addresses: tuple[AddressEntry, ...]
    routes: tuple[RouteEntry, ...]

    def names(self) -> dict[int, str]:
        return {link.ifindex: link.ifname for link in self.links}

    def own_names(self) -> dict[int, str]:
        return {link.ifindex: link.ifname for link in self.links if link.is_ours}


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """What one look into a namespace gave.

    asked: the settings that it was asked for. peers: far ends found there, by the host's number for the namespace and the index.
    """

    fact: SandboxFact
    asked: frozenset[str] = frozenset()
    seen: tuple[Seen, ...] = ()
    peers: tuple[tuple[tuple[int, int], Peer], ...] = ()


@dataclass(slots=True)
class Memory:
    """Kept from pass to pass; a new one remembers nothing, so that everything is looked at.

    host: the host's own namespace. sandboxes: those that attachments name. others: namespaces under other names, by name and
    inode, with what was found in them. files: all sandbox files, with the attachments they were looked up for. firewall: our tables.
    """

    host: View | None = None
    sandboxes: dict[NsRef, Glimpse] = field(default_factory=dict)
    others: dict[tuple[str, int], Glimpse] = field(default_factory=dict)
    files: tuple[Mapping[str, str], tuple[Seen, ...]] | None = None
    firewall: tuple[Seen, ...] | None = None

    def forget(self, namespaces: Iterable[NsRef]) -> None:
        """Look again into these at the next occasion. What is not remembered is fine."""
        for ns in namespaces:
            if ns == HOST:
                self.host = None
            else:
                self.sandboxes.pop(ns, None)
                self.others = {key: found for key, found in self.others.items() if f"netns:{key[0]}" != ns}

    def forget_all(self) -> None:
        self.host = self.files = self.firewall = None
        self.sandboxes.clear()
        self.others.clear()
