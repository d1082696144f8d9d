"""Where clients and servers are, and which of them are alike: values of the computation by classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from msgspec import Struct

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint
from reconciler.model.objects import IPAddress, IPNetwork
from reconciler.reach.reachability import Bits


class ReachPlace(Struct, frozen=True, eq=False):
    """A subnet of a network. gateway: the host's own address there. There is one value for each."""

    network: str
    subnet: IPNetwork
    gateway: IPAddress | None


class HostWay(Struct, frozen=True, eq=False):
    """By which gateway of a place some come to the host."""

    place: ReachPlace
    gateway: IPAddress | None


class Member(NamedTuple):
    attachment: DesiredAttachment
    endpoint: DesiredEndpoint
    address: IPAddress
    place: ReachPlace
    bit: Bits


class Clients(NamedTuple):
    """Some that are alike to a server. kind: what their answer depends on.

    sample: who of them may be asked, 0 for any. at: where that one asks, None for where all do.
    """

    kind: Hashable
    bits: Bits
    sample: Bits = 0
    at: IPAddress | None = None


class Server(Struct, frozen=True, kw_only=True):
    """What answers depend on of a member that is asked. kind: all but who asks; exactly: it shares that with nobody.

    alike: the same for those to whom all clients stand in the same relation.
    """

    member: Member
    default: str
    places: frozenset[ReachPlace]
    networks: frozenset[str]
    kind: Hashable
    alike: int
    exactly: str

    def relation(self, place: ReachPlace) -> Hashable:
        network = place.network
        is_same = network == self.member.endpoint.network
        return is_same, network == self.default, place in self.places, network in self.networks, self.exactly


class Some:
    """Clients by their way to the host, arranged by network and by kind."""

    def __init__(self, ways: Iterable[tuple[HostWay, int, Bits]]) -> None:
        self.bits: dict[HostWay, Bits] = {}
        self.kinds: dict[HostWay, int] = {}
        self.of_network: dict[str, list[HostWay]] = defaultdict(list)
        self.of_kind: dict[int, list[HostWay]] = defaultdict(list)
        for way, kind, bits in ways:
            self.bits[way], self.kinds[way] = bits, kind
            self.of_network[way.place.network].append(way)
            self.of_kind[kind].append(way)
        self.bits_of_kind = {kind: self.union(found) for kind, found in self.of_kind.items()}

    def union(self, ways: Iterable[HostWay]) -> Bits:
        found: Bits = 0
        for way in ways:
            found |= self.bits[way]
        return found
