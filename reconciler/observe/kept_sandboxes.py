"""What was found in sandboxes, put together in tables: a look pays for those that it looked into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set

from reconciler.errors import PlanError
from reconciler.incremental import Table, Union, is_other, only
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
        self.seen: Table[Key, Seen] = Table()
        self.peers: defaultdict[NsRef, Table[Place, Peer]] = defaultdict(Table)
        self._facts: Table[NsRef, SandboxFact] = Table()
        self._all: Union[tuple[int], NsRef, SandboxFact] = Union()
        self._contested: Set[int] = frozenset()
        self._known: Table[NsRef, Glimpse] = Table((), is_other)

    def take(self, found: Mapping[NsRef, Glimpse], others: Mapping[NsRef, Glimpse], looked: Iterable[NsRef]) -> None:
        """Have these and no more. others: of namespaces that no attachment names. looked: of `found` all that may be otherwise."""
        names = {*looked, *others, *(self._known.keys() - found.keys())}
        now = {**only(others, names), **only(found, names)}
        before, self._known = self._known, self._known.updated(now, names - now.keys())
        changed = self._known.changed_since(before)
        gone, come = ([table[ns] for ns in changed if ns in table] for table in (before, self._known))
        put = {key: seen for glimpse in come for key, seen in glimpse.seen.items()}
        self.seen = self.seen.updated(put, (key for glimpse in gone for key in glimpse.seen))
        self._take_peers(gone, come)
        facts = {ns: found[ns].fact for ns in changed if ns in found}
        self._take_facts(self._facts.updated(facts, changed - facts.keys()))

    def with_sublinks(self) -> Iterator[tuple[NsRef, Glimpse]]:
        """Yield the sandboxes in which links of ours on links of the host are."""
        return ((ns, self._known[ns]) for ns in self._known.index(_has_sublinks).get(True, ()))

    def _take_peers(self, gone: Iterable[Glimpse], come: Iterable[Glimpse]) -> None:
        """Several references may lead to one namespace: what another one tells of it stays."""
        inodes = {glimpse.fact.inode for glimpse in gone if glimpse.peers}
        named = self._known.index(_inode)
        same = [self._known[ns] for inode in inodes for ns in named.get(inode, ())]
        for near in {near for glimpse in (*gone, *come) for near in glimpse.peers}:
            put = {place: peer for each in (*same, *come) for place, peer in each.peers.get(near, {}).items()}
            drop = [place for each in gone for place in each.peers.get(near, {})]
            self.peers[near] = self.peers[near].updated(put, drop)

    def _take_facts(self, facts: Table[NsRef, SandboxFact]) -> None:
        before, self._facts = self._facts, facts
        changed = facts.changed_since(before)
        touched = {table[ns].inode for table in (before, facts) for ns in changed if ns in table}
        several = facts.index(_usable_inode)
        now = {inode for inode in touched if len(several.get(inode, ())) > 1}
        self._contested = (self._contested - touched) | now
        contested = {ns: fact for inode in self._contested for ns, fact in _contested(facts, several[inode])}
        self.facts = self._all({(0,): facts, (1,): contested})


def _contested(facts: Mapping[NsRef, SandboxFact], several: Collection[NsRef]) -> Iterator[tuple[NsRef, SandboxFact]]:
    """Name the sandboxes that lead to one namespace: whose it is is not ours to guess."""
    names = " and ".join(sorted(several))
    error = PlanError(f"sandboxes {names} are the same namespace; give each attachment its own")
    for ns in several:
        yield ns, SandboxFact(inode=facts[ns].inode, is_ours=facts[ns].is_ours, error=error)


def _usable_inode(_: NsRef, fact: SandboxFact) -> Iterable[int]:
    return (fact.inode,) if fact.inode and fact.error is None else ()


def _inode(_: NsRef, glimpse: Glimpse) -> Iterable[int]:
    return (glimpse.fact.inode,)


def _has_sublinks(_: NsRef, glimpse: Glimpse) -> Iterable[bool]:
    return (True,) if glimpse.sublinks else ()
