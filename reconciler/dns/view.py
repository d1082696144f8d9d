"""What one sandbox sees: which names lead to which endpoints, in which order they are looked for. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

from reconciler.dns.zones import NetworkZone, SandboxZone, ServedEndpoint

if TYPE_CHECKING:
    from reconciler.model.objects import IPNetwork

READY_MAX: Final = 1 << 15
"""Answers kept by all views together, at some 500 bytes each; but no view less than READY_LEAST."""

READY_LEAST: Final = 64

_Links = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
_ViewKey = tuple[tuple[str, ...], _Links, bool, tuple[IPv4Network | IPv6Network, ...]]


class NameMatch(Struct, frozen=True):
    """Endpoints that have a name, and the network they have it on."""

    endpoints: tuple[ServedEndpoint, ...]
    network: str


class Ready(Struct, frozen=True):
    """An answer ready to be sent to whoever asks the same again.

    head: the reply's bytes 2 to 12. question_end: up to where the asker's own bytes are repeated.
    records: to be shuffled. edns: comes last.
    """

    head: bytes
    question_end: int
    records: tuple[bytes, ...]
    edns: bytes


class NetworkTable:
    """One network's names, shared by the views of all sandboxes on it."""

    __slots__ = ("_pointers", "by_name", "by_pointer", "name", "zone")

    def __init__(self, zone: NetworkZone, before: NetworkTable | None = None) -> None:
        """before: its table of before, from which endpoints that are the very same are taken over."""
        self.zone = zone
        self.name = zone.name
        by_name: defaultdict[str, list[ServedEndpoint]] = defaultdict(list)
        known = {} if before is None else before._pointers
        self.by_pointer: dict[str, ServedEndpoint] = {}
        self._pointers: dict[int, tuple[str, ...]] = {}
        for endpoint in zone.endpoints:
            for name in endpoint.names:
                by_name[name].append(endpoint)
            pointers = known.get(id(endpoint))
            if pointers is None:
                pointers = tuple(address.reverse_pointer for address in endpoint.addresses)
            self._pointers[id(endpoint)] = pointers
            self.by_pointer.update(dict.fromkeys(pointers, endpoint))
        self.by_name: Mapping[str, tuple[ServedEndpoint, ...]] = {name: tuple(found) for name, found in by_name.items()}


class DnsView(Struct, kw_only=True):
    """What a sandbox sees; sandboxes with equal networks and links share one.

    links: beside each table the private aliases of its network. subnets: nobody else names their addresses.
    ready: answers given by UDP, by the query without its id in lower case: see `answer.answer`.
    """

    tables: tuple[NetworkTable, ...]
    links: tuple[Mapping[str, str], ...]
    is_ndots_set: bool
    ready_max: int
    subnets: tuple[IPNetwork, ...] = ()
    ready: dict[bytes, Ready] = field(default_factory=dict)
    network_names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.network_names = frozenset(table.name.lower() for table in self.tables)

    def look_anew(self, other: DnsView) -> None:
        """See what another view of the same networks does."""
        self.tables, self.links, self.network_names = other.tables, other.links, other.network_names
        self.ready.clear()


class Views:
    """What every sandbox sees. Sandboxes hold on to their view, which follows changes of its networks."""

    def __init__(self) -> None:
        self.tables: dict[str, NetworkTable] = {}
        self._keys: dict[str, _ViewKey] = {}
        self._views: dict[_ViewKey, DnsView] = {}
        self._users: Counter[_ViewKey] = Counter()

    def of(self, sandbox: str) -> DnsView:
        return self._views[self._keys[sandbox]]

    def update(self, networks: Mapping[str, NetworkZone | None], sandboxes: Mapping[str, SandboxZone | None]) -> None:
        """Take over what is otherwise than before, None for what is gone."""
        for name, network in networks.items():
            before = self.tables.pop(name, None)
            if network is not None:
                self.tables[name] = NetworkTable(network, before)
        for name, sandbox in sandboxes.items():
            self._leave(name)
            if sandbox is not None:
                self._keys[name] = key = _view_key(sandbox)
                self._users[key] += 1
        share = max(READY_LEAST, READY_MAX // max(1, len(self._users)))
        for key in self._users.keys() - self._views.keys():
            self._views[key] = _view(key, self.tables, share)
        for key, view in self._views.items():
            view.ready_max = share
            if not networks.keys().isdisjoint(key[0]):
                view.look_anew(_view(key, self.tables, share))

    def _leave(self, sandbox: str) -> None:
        key = self._keys.pop(sandbox, None)
        if key is not None:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._views[key]


def _view_key(sandbox: SandboxZone) -> _ViewKey:
    return sandbox.networks, sandbox.links, sandbox.is_ndots_set, sandbox.subnets


def _view(key: _ViewKey, tables: Mapping[str, NetworkTable], ready_max: int) -> DnsView:
    networks, links, is_ndots_set, subnets = key
    aliases = {network: dict(pairs) for network, pairs in links}
    present = [network for network in networks if network in tables]
    return DnsView(
        tables=tuple(tables[network] for network in present),
        links=tuple(aliases.get(network, {}) for network in present),
        is_ndots_set=is_ndots_set,
        ready_max=ready_max,
        subnets=subnets,
    )


def holders(name: str, view: DnsView) -> Iterator[NameMatch]:
    """Yield everybody who has the name in any reading, best first."""
    for step in readings(name, view):
        yield from step


def readings(name: str, view: DnsView) -> Iterator[Iterator[NameMatch]]:
    """Yield the ways to read a name, best first (libnetwork's ResolveName; docs/design/docker.md#names).

    `a.b.c` is that name on every network, else `a.b` on network `c`, else `a` on `b.c`; each first as a link's alias.
    """
    for own, network in _splits(name, view):
        yield _linked(own, network, view)
        yield _listed(own, network, view)


def _splits(name: str, view: DnsView) -> Iterator[tuple[str, str]]:
    yield name, ""
    at = name.rfind(".")
    while at > 0:
        if name[at + 1 :] in view.network_names:
            yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def _linked(name: str, network: str, view: DnsView) -> Iterator[NameMatch]:
    for table, aliases in zip(view.tables, view.links, strict=True):
        target = aliases.get(name)
        if target is not None and network in ("", table.name.lower()) and target in table.by_name:
            yield NameMatch(table.by_name[target], table.name)


def _listed(name: str, network: str, view: DnsView) -> Iterator[NameMatch]:
    """A link's alias hides what has the same name on that network, even while its target is absent."""
    for table, aliases in zip(view.tables, view.links, strict=True):
        if network in ("", table.name.lower()) and name not in aliases and name in table.by_name:
            yield NameMatch(table.by_name[name], table.name)


def pointed_at(name: str, view: DnsView) -> Iterator[NameMatch]:
    """Yield whose address the reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5) stands for, network after network."""
    for table in view.tables:
        endpoint = table.by_pointer.get(name)
        if endpoint is not None:
            yield NameMatch((endpoint,), table.name)


class ReverseBlock(Struct, frozen=True):
    """The addresses that a reverse name stands for. is_exact: the name is theirs, not one below it."""

    network: IPNetwork
    is_exact: bool


_DIGITS: Final = {10: frozenset("0123456789"), 16: frozenset("0123456789abcdef")}
_REVERSE: Final = ((".in-addr.arpa", 4, 10, 3), (".ip6.arpa", 32, 16, 1))
"""For each family: domain, labels of a whole address, their base, and how long each is at most."""


def reverse_block(name: str) -> ReverseBlock | None:
    """Read a name in lower case (RFC 1035 section 3.5, RFC 3596 section 2.5); None when it is no reverse name."""
    for domain, count, base, length in _REVERSE:
        if name.endswith(domain):
            labels = name.removesuffix(domain).split(".")[::-1]
            parts = list(takewhile(lambda part: part >= 0, (_part(label, base, length) for label in labels[:count])))
            return ReverseBlock(_block(parts, count), is_exact=len(parts) == len(labels))
    return None


def _part(label: str, base: int, length: int) -> int:
    """Return the label's value, -1 when it has none."""
    if not (0 < len(label) <= length and set(label) <= _DIGITS[base]):
        return -1
    value = int(label, base)
    return value if value < 256 else -1


def _block(parts: Sequence[int], count: int) -> IPNetwork:
    width = 8 if count == 4 else 4
    value = 0
    for part in parts:
        value = value << width | part
    left = (count - len(parts)) * width
    address = value << left
    if count == 4:
        return IPv4Network((address, 32 - left))
    return IPv6Network((address, 128 - left))
