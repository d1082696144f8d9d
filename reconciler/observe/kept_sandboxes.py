"""What was found in sandboxes, put together in tables: a look pays for those that it looked into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from reconciler.errors import PlanError
from reconciler.incremental import Table, Union
from reconciler.kinds.view import Peer
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Key, Seen
from reconciler.model.observed import SandboxFact
from reconciler.observe.glimpse import Glimpse

Place = tuple[int, int]
"""The number that the near end's namespace has for that of the far end, and the far end's index."""


class KeptSandboxes:
    """facts: of those that attachments name or named. seen: what is in all. peers: far ends, by the near end's namespace."""

    def __init__(self) -> None:
        self.facts: Table[NsRef, SandboxFact] = Table()
        self._all: Union[tuple[int], NsRef, SandboxFact] = Union()
        self.seen: Table[Key, Seen] = Table()
        self.peers: defaultdict[NsRef, Table[Place, Peer]] = defaultdict(Table)
        self._facts: Table[NsRef, SandboxFact] = Table()
        self._known: dict[NsRef, Glimpse] = {}

    def take(self, found: Mapping[NsRef, Glimpse], others: Mapping[NsRef, Glimpse]) -> None:
        """Have these and no more. others: of namespaces that no attachment names."""
        now, before = {**others, **found}, self._known
        changed = [ns for ns in before.keys() | now if before.get(ns) is not now.get(ns)]
        gone = [before[ns] for ns in changed if ns in before]
        come = [now[ns] for ns in changed if ns in now]
        self._known = now
        put = {key: seen for glimpse in come for key, seen in glimpse.seen.items()}
        self.seen = self.seen.updated(put, (key for glimpse in gone for key in glimpse.seen))
        self._take_peers(gone, come)
        facts = {ns: found[ns].fact for ns in changed if ns in found}
        kept = self._facts.updated(facts, [ns for ns in changed if ns not in found])
        if kept is not self._facts:
            self._facts, self.facts = kept, self._all({(0,): kept, (1,): dict(_contested(kept))})

    def _take_peers(self, gone: Iterable[Glimpse], come: Iterable[Glimpse]) -> None:
        """Several references may lead to one namespace: what another one tells of it stays."""
        inodes = {glimpse.fact.inode for glimpse in gone if glimpse.peers}
        same = [glimpse for glimpse in self._known.values() if glimpse.fact.inode in inodes] if inodes else []
        for near in {near for glimpse in (*gone, *come) for near in glimpse.peers}:
            put = {place: peer for each in (*same, *come) for place, peer in each.peers.get(near, {}).items()}
            drop = [place for each in gone for place in each.peers.get(near, {})]
            self.peers[near] = self.peers[near].updated(put, drop)


def _contested(facts: Table[NsRef, SandboxFact]) -> Iterator[tuple[NsRef, SandboxFact]]:
    """Name the namespaces that several sandboxes lead to: whose they are is not ours to guess."""
    for inode, several in facts.index(_usable_inode).items():
        if len(several) > 1:
            names = " and ".join(sorted(several))
            error = PlanError(f"sandboxes {names} are the same namespace; give each attachment its own")
            yield from ((ns, SandboxFact(inode=inode, is_ours=facts[ns].is_ours, error=error)) for ns in several)


def _usable_inode(_: NsRef, fact: SandboxFact) -> Iterable[int]:
    return (fact.inode,) if fact.inode and fact.error is None else ()
