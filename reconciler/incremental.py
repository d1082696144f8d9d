"""Tables that know what changed, so that an edit costs what it changes and not what there is. Pure.

Identity says "unchanged": whoever makes a value again that is equal to the one before gives that one. `Table` is a mapping,
`Made` makes a value for each key once, `Union` puts the parts that many keys have together. What any of them gives depends on
nothing but what it is given; a new one gives the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import (
    Callable,
    Collection,
    Hashable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    Set,
    ValuesView,
)
from enum import Enum
from functools import cached_property
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
P = TypeVar("P", bound=tuple[Any, ...])
Q = ParamSpec("Q")
X = TypeVar("X", bound=Hashable)
N = TypeVar("N")


class _Nothing(Enum):
    HERE = 0


_NOTHING: Final = _Nothing.HERE


Differ = Callable[[Any, Any], bool]
"""Says whether two values are to be told apart, either of which may be missing: for values whose equality passes something over."""


def _differ(one: object, other: object) -> bool:
    return one is not other and one != other


class Table(Mapping[K, V]):
    """A mapping that never changes, and tells what is otherwise in one that was made from it or that it was made from.

    The newest version has the entries, an older one what it had otherwise (Baker, "Shallow Binding Makes Functional Arrays Fast",
    1991). So a version costs what it changes, and one that nobody holds goes. In which order entries come says nothing.
    """

    __slots__ = ("_differ", "_entries", "_indexes", "_newer", "_was")

    def __init__(self, entries: Mapping[K, V] | Iterable[tuple[K, V]] = (), differ: Differ = _differ) -> None:
        self._differ = differ
        self._entries: dict[K, V] = dict(entries)
        self._indexes: dict[object, _Index[K, V, Any]] = {}
        self._newer: Table[K, V] | None = None
        self._was: dict[K, V | _Nothing] = {}

    def __getitem__(self, key: K) -> V:
        if self._newer is None:
            return self._entries[key]
        found = self._old(key, _NOTHING)
        if found is _NOTHING:
            raise KeyError(key)
        return cast(V, found)

    def get(self, key: K, default: Any = None) -> Any:
        return self._entries.get(key, default) if self._newer is None else self._old(key, default)

    def __contains__(self, key: object) -> bool:
        return self.get(cast(K, key), _NOTHING) is not _NOTHING

    def __iter__(self) -> Iterator[K]:
        return iter(self._all())

    def __len__(self) -> int:
        here = self._newest()._entries
        return len(here) + sum((was is not _NOTHING) - (key in here) for key, was in self._was.items())

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Table) or other._newest() is not self._newest():
            return self is other or super().__eq__(other)
        keys = other._was.keys() | self._was.keys()
        return all(self.get(key, _NOTHING) == other.get(key, _NOTHING) for key in keys)

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> KeysView[K]:
        return self._all().keys()

    def items(self) -> ItemsView[K, V]:
        return self._all().items()

    def values(self) -> ValuesView[V]:
        return self._all().values()

    def updated(self, put: Mapping[K, V], drop: Iterable[K] = ()) -> Table[K, V]:
        """Return the table with these entries, and without those. Equal values stay the ones that are here."""
        if self._newer is not None:
            return Table(self._all(), self._differ).updated(put, drop)
        entries, was, differ = self._entries, self._was, self._differ
        changes: dict[K, V | _Nothing] = {
            key: new for key, new in put.items() if differ(entries.get(key, _NOTHING), new)
        }
        changes |= {key: _NOTHING for key in drop if key in entries and key not in put}
        if not changes:
            return self
        newer: Table[K, V] = Table((), differ)
        newer._entries, newer._indexes = entries, self._indexes
        self._entries, self._indexes, self._newer = {}, {}, newer
        for key, new in changes.items():
            was[key] = old = entries.get(key, _NOTHING)
            if new is _NOTHING:
                del entries[key]
            else:
                entries[key] = new
            for index in newer._indexes.values():
                index.change(key, old, new)
        return newer

    def changed_since(self, before: Mapping[K, V]) -> Set[K]:
        """Return the keys under which there is something else than in `before`, on one side nothing perhaps."""
        if before is self:
            return frozenset()
        if isinstance(before, Table) and before._newest() is self._newest():
            keys = before._was.keys() | self._was.keys()
        else:
            keys = before.keys() | self.keys()
        return {key for key in keys if self._differ(before.get(key, _NOTHING), self.get(key, _NOTHING))}

    def index(self, of: Callable[[K, V], Iterable[X]]) -> Mapping[X, Collection[K]]:
        """Return the keys by what `of` gives for each entry. of: pure; asked once for each, so it is a function of a module.

        The index goes over to the next version, brought up to date by what that changes: look at it at once.
        """
        found = self._indexes.get(of)
        if found is None:
            found = _Index(of)
            for key, value in self.items():
                found.add(key, value)
            self._indexes[of] = found
        return found.keys

    def _newest(self) -> Table[K, V]:
        """Return the version that has the entries. This one then knows by itself what it has otherwise."""
        newer = self._newer
        while newer is not None and newer._newer is not None:
            for key, value in newer._was.items():
                self._was.setdefault(key, value)
            self._newer = newer = newer._newer
        return self if newer is None else newer

    def _old(self, key: K, default: Any) -> Any:
        newest = self._newest()
        found = self._was[key] if key in self._was else newest._entries.get(key, _NOTHING)
        return default if found is _NOTHING else found

    def _all(self) -> dict[K, V]:
        newest = self._newest()
        if newest is self:
            return self._entries
        return {key: value for key, value in {**newest._entries, **self._was}.items() if value is not _NOTHING}


class _Index(Generic[K, V, X]):
    def __init__(self, of: Callable[[K, V], Iterable[X]]) -> None:
        self.keys: dict[X, dict[K, None]] = {}
        self._of = of

    def change(self, key: K, before: V | _Nothing, after: V | _Nothing) -> None:
        if before is not _NOTHING:
            for found in self._of(key, before):
                keys = self.keys.get(found, {})
                keys.pop(key, None)
                if not keys:
                    self.keys.pop(found, None)
        if after is not _NOTHING:
            self.add(key, after)

    def add(self, key: K, value: V) -> None:
        for found in self._of(key, value):
            self.keys.setdefault(found, {})[key] = None


class By(Generic[X, N]):
    """The values of a sequence by a key that each has, kept from one to the next, at the cost of what differs between them.

    Where both begin and end alike nothing is looked at, so of a sequence in some order a change costs little.
    """

    def __init__(self, key: Callable[[N], X]) -> None:
        self.values: dict[X, N] = {}
        self._key = key
        self._last: Sequence[N] = ()

    def __call__(self, now: Sequence[N]) -> tuple[Mapping[X, N], Mapping[X, N]]:
        """Take the next one; return what is no more and what is new, by key. What is equal to one before is neither."""
        if now is self._last:
            return {}, {}
        before, after = _middles(self._last, now)
        self._last = now
        old, new = ({id(value): value for value in values} for values in (before, after))
        gone = {self._key(value): value for id_, value in old.items() if id_ not in new}
        come = {self._key(value): value for id_, value in new.items() if id_ not in old}
        for key in gone.keys() - come.keys():
            del self.values[key]
        self.values.update(come)
        same = {key for key in gone.keys() & come.keys() if gone[key] == come[key]}
        return _without(gone, same), _without(come, same)


def _middles(one: Sequence[N], other: Sequence[N]) -> tuple[Sequence[N], Sequence[N]]:
    """Return what is left of both without the beginning and the end that they share."""
    head = _shared(one, other)
    one, other = one[head:], other[head:]
    tail = _shared(one[::-1], other[::-1])
    return one[: len(one) - tail], other[: len(other) - tail]


def _shared(one: Sequence[N], other: Sequence[N], step: int = 256) -> int:
    """Return how many values both begin with. Slices are compared in C, which passes identical values over."""
    at, end = 0, min(len(one), len(other))
    while step:
        while at + step <= end and one[at : at + step] == other[at : at + step]:
            at += step
        step //= 4
    return at


class Ordered(Generic[X, N]):
    """Values in the order of their keys. One put in or taken out costs a look for its place."""

    def __init__(self) -> None:
        self._keys: list[Any] = []
        self._values: list[N] = []
        self._given: tuple[N, ...] | None = ()

    def values(self) -> tuple[N, ...]:
        """Return the very same as before where nothing was put in or taken out."""
        if self._given is None:
            self._given = tuple(self._values)
        return self._given

    def put(self, key: X, value: N) -> None:
        at = bisect_left(self._keys, key)
        if self._is_at(at, key):
            self._values[at] = value
        else:
            self._keys.insert(at, key)
            self._values.insert(at, value)
        self._given = None

    def drop(self, key: X) -> None:
        """What is not there is fine."""
        at = bisect_left(self._keys, key)
        if self._is_at(at, key):
            del self._keys[at], self._values[at]
            self._given = None

    def _is_at(self, at: int, key: X) -> bool:
        return at < len(self._keys) and bool(self._keys[at] == key)


class Each(Generic[X, N, V]):
    """What is made of each value of a sequence, by key, as a table that goes along: made again only of what is another value."""

    def __init__(self, key: Callable[[N], X]) -> None:
        self._by = By(key)
        self._depends: tuple[Any, ...] | None = None
        self._made: Table[X, V] = Table((), is_other)

    def __call__(
        self, now: Sequence[N], make: Callable[[N], V], depends: tuple[Any, ...] = (), again: Iterable[X] = ()
    ) -> Table[X, V]:
        """make: a pure function of the value, of what `depends` has, and of what has changed under the keys in `again`."""
        gone, come = self._by(now)
        before, self._depends = self._depends, None  # were `make` to raise, all would be made again
        if before == depends:
            come = {**come, **only(self._by.values, again)}
        else:
            come, self._made = self._by.values, Table((), is_other)
        if come or gone:
            self._made = self._made.updated(
                {key: make(value) for key, value in come.items()}, gone.keys() - come.keys()
            )
        self._depends = depends
        return self._made


def is_other(one: object, other: object) -> bool:
    """Return true for equal values that are not the very same, for a table of what is costly to compare."""
    return one is not other


class Made(Generic[K, V]):
    """What a pure function makes of the inputs of each key, made again only where one of them is another value than before."""

    def __init__(self, make: Callable[..., V]) -> None:
        self._make = make
        self._known: dict[K, tuple[tuple[Any, ...], V]] = {}

    def __call__(self, inputs: Mapping[K, tuple[Any, ...]]) -> dict[K, V]:
        """Return what is made of each; what is not asked for is forgotten."""
        known, self._known = self._known, {}
        for key, given in inputs.items():
            before = known.get(key)
            # Tuples compare identical members without calling their __eq__, so the usual hit costs nothing.
            self._known[key] = before if before is not None and before[0] == given else (given, self._make(*given))
        return {key: made for key, (_, made) in self._known.items()}


class Kept:
    """Calls pure functions: one that is asked the same again gives its last answer."""

    def __init__(self) -> None:
        self._last: dict[object, tuple[tuple[tuple[object, ...], dict[str, object]], Any]] = {}

    def __call__(self, function: Callable[Q, V], *args: Q.args, **kwargs: Q.kwargs) -> V:
        asked, last = (args, kwargs), self._last.get(function)
        if last is None or last[0] != asked:
            last = self._last[function] = (asked, function(*args, **kwargs))
        answer: V = last[1]
        return answer


class Union(Generic[P, K, V]):
    """One table of many parts. A key that several parts have is that of the last of them, in the order of their names."""

    def __init__(self, differ: Differ = _differ) -> None:
        self._parts: dict[P, Mapping[K, V]] = {}
        self._named: Table[P, Mapping[K, V]] | None = None
        self._givers: dict[K, tuple[P, ...]] = {}
        self._differ = differ
        self._table: Table[K, V] = Table((), differ)

    def __call__(self, parts: Mapping[P, Mapping[K, V]]) -> Table[K, V]:
        """Put these parts together. One that is the very same as before is not looked into; none may be changed afterwards.

        Of a table only those are looked at that it says have changed.
        """
        before, named = self._parts, self._named
        self._named = parts if isinstance(parts, Table) else None
        if self._named is not None and named is not None:
            changed = self._named.changed_since(named)
            put = only(parts, changed)
            return self.updated(put, changed - put.keys())
        put = {name: part for name, part in parts.items() if before.get(name) is not part}
        return self.updated(put, before.keys() - parts.keys() if len(before) + len(put) > len(parts) else ())

    def updated(self, put: Mapping[P, Mapping[K, V]], drop: Iterable[P]) -> Table[K, V]:
        """Have these parts, and no longer those; the others stay."""
        if not self._parts:
            return self._begun_with(put)
        changed: set[K] = set()
        for name in drop:
            changed |= self._exchange(name, self._parts.pop(name), {})
        for name, part in put.items():
            changed |= self._exchange(name, self._parts.get(name) or {}, part)
            self._parts[name] = part
        last = {key: max(givers) for key in changed if (givers := self._givers.get(key))}
        put_in = {key: self._parts[name][key] for key, name in last.items()}
        self._table = self._table.updated(put_in, changed - put_in.keys())
        return self._table

    def _begun_with(self, put: Mapping[P, Mapping[K, V]]) -> Table[K, V]:
        """Have these parts after none. Most parts share no key with another."""
        entries: dict[K, V] = {}
        shared: set[K] = set()
        for name, part in put.items():
            if not entries.keys().isdisjoint(part):
                shared.update(entries.keys() & part.keys())
            entries.update(part)
            self._givers.update(dict.fromkeys(part, (name,)))
        givers: dict[K, list[P]] = {key: [] for key in shared}
        for name, part in put.items() if shared else ():
            for key in shared.intersection(part):
                givers[key].append(name)
        for key, names in givers.items():
            self._givers[key] = tuple(names)
            entries[key] = put[max(names)][key]
        self._parts.update(put)
        self._table = self._table.updated(entries, ())
        return self._table

    def _exchange(self, name: P, old: Mapping[K, V], new: Mapping[K, V]) -> Set[K]:
        """Note who gives what; return the keys under which the part has something else."""
        changed = changed_keys(old, new, self._differ)
        alone = (name,)
        for key in changed:
            if key not in new:
                left = tuple(giver for giver in self._givers.pop(key) if giver != name)
                if left:
                    self._givers[key] = left
            elif key not in old:
                others = self._givers.get(key)
                self._givers[key] = alone if others is None else (*others, name)
        return changed


def changed_keys(before: Mapping[K, V], after: Mapping[K, V], differ: Differ = _differ) -> Set[K]:
    """Return the keys under which the two have something else; at the cost of the change where both are versions of a table."""
    if not before:
        return after.keys()
    if isinstance(after, Table):
        return after.changed_since(before)
    return {key for key in before.keys() | after.keys() if differ(before.get(key, _NOTHING), after.get(key, _NOTHING))}


def only(entries: Mapping[K, V], keys: Iterable[K]) -> dict[K, V]:
    """Return the entries under these keys, as far as there are any."""
    return {key: entries[key] for key in keys if key in entries}


def indexed(entries: Mapping[K, V], of: Callable[[K, V], Iterable[X]]) -> Mapping[X, Collection[K]]:
    """Return the keys by what `of` gives for each entry: see `Table.index`."""
    return (entries if isinstance(entries, Table) else Table(entries)).index(of)


class Later(Mapping[K, V]):
    """A mapping that is made when somebody looks into it."""

    def __init__(self, make: Callable[[], Mapping[K, V]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[K, V]:
        return self._make()

    def __getitem__(self, key: K) -> V:
        return self._made[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _without(entries: Mapping[X, N], keys: Set[X]) -> Mapping[X, N]:
    return {key: value for key, value in entries.items() if key not in keys} if keys else entries
