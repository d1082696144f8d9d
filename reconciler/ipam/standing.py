"""Attachments whose every choice is what they were promised. They keep it, whatever is chosen for others that want nothing of it.

So only the others are chosen for, beside what stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from reconciler.ipam.leases import Leases
from reconciler.ipam.macs import MAC, mac_of_ipv4
from reconciler.ipam.parents import is_passthru
from reconciler.ipam.promises import EndpointPromise, Promises
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredNetwork
from reconciler.model.wanted import EndpointWanted, NetworkMode

Shelf = tuple[str, int]
"""A network, and which family of addresses, or MAC addresses."""
_Thing = tuple[Shelf, int | str]


class Standing(Struct):
    """What stands, by name, and who has which addresses."""

    attachments: dict[str, DesiredAttachment] = field(default_factory=dict)
    holders: defaultdict[Shelf, dict[int | str, str]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, attachment: DesiredAttachment) -> bool:
        """Let it stand; False when another has what it has."""
        things = list(_things(attachment))
        if any(thing in self.holders[shelf] for shelf, thing in things):
            return False
        self.attachments[attachment.name] = attachment
        for shelf, thing in things:
            self.holders[shelf][thing] = attachment.name
        return True

    def discard(self, name: str) -> None:
        attachment = self.attachments.pop(name, None)
        for shelf, thing in _things(attachment) if attachment is not None else ():
            del self.holders[shelf][thing]

    def clear(self) -> None:
        self.attachments.clear()
        self.holders.clear()

    def in_the_way(self, wanted: Iterable[EndpointWanted], promised: Iterable[EndpointPromise]) -> Iterator[str]:
        """Yield who stands on what others declare or were promised too: who has it is to be chosen anew, for both."""
        for shelf, thing in (*_declared(wanted), *_promised(promised)):
            holder = self.holders[shelf].get(thing)
            if holder is not None:
                yield holder


def _things(attachment: DesiredAttachment) -> Iterator[_Thing]:
    for endpoint in attachment.endpoints:
        for each in (endpoint.ipv4, endpoint.ipv6):
            if each is not None:
                yield (endpoint.network, each.version), int(each)
        if endpoint.mac:
            yield (endpoint.network, MAC), endpoint.mac


def _declared(endpoints: Iterable[EndpointWanted]) -> Iterator[_Thing]:
    for endpoint in endpoints:
        for each in (endpoint.ipv4_address, endpoint.ipv6_address):
            if each is not None:
                yield (endpoint.network, each.version), int(each)
        if endpoint.mac_address:
            yield (endpoint.network, MAC), endpoint.mac_address


def _promised(promises: Iterable[EndpointPromise]) -> Iterator[_Thing]:
    for promise in promises:
        for each in (promise.ipv4, promise.ipv6):
            if each is not None:
                yield (promise.network, each.version), int(each)
        if promise.ipv4 is not None:
            yield (promise.network, MAC), mac_of_ipv4(promise.ipv4)
        if promise.mac:
            yield (promise.network, MAC), promise.mac


def stands(
    decided: DesiredAttachment, promises: Promises, networks: Mapping[str, DesiredNetwork], leases: Leases
) -> bool:
    """Return whether all that was decided is what is promised by now, so that the same would be decided again.

    Whose choices are not made of the specs and promises alone never stands: a plugin has a say, or only one of several is let in.
    """
    if decided.wanted.mode is not NetworkMode.NETWORKS:
        return all((each.network, decided.name) not in promises.endpoints for each in decided.endpoints)
    if len(decided.endpoints) != len(decided.wanted.endpoints):
        return False
    for endpoint in decided.endpoints:
        key, network = (endpoint.network, decided.name), networks[endpoint.network].wanted
        is_plain = key not in leases.endpoints and key not in promises.answers and not is_passthru(network)
        if not is_plain or not _is_as_promised(endpoint, promises.endpoints.get(key)):
            return False
    return True


def _is_as_promised(endpoint: DesiredEndpoint, promise: EndpointPromise | None) -> bool:
    return promise is not None and (
        (endpoint.id, endpoint.ifname, endpoint.mac, endpoint.ipv4, endpoint.ipv6)
        == (promise.id, promise.ifname, promise.mac, promise.ipv4, promise.ipv6)
    )
