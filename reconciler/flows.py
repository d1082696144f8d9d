"""Which tracked connections a change has made stale: to a published port or an address that is another's now, or nobody's. Pure.

Connection tracking keeps a translation as long as packets come, so a peer that keeps sending would reach the old sandbox for ever
(moby#8795).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface

from msgspec import Struct

from reconciler.firewall.published import Translation, translations
from reconciler.incremental import changed_keys, indexed, only
from reconciler.ipam.promises import RECORD_MAX
from reconciler.model.objects import IPAddress, Key, KvRecord, Seen, seen_differ
from reconciler.records.document import Misfit
from reconciler.records.fields import Fields


class StaleFlows(Struct, frozen=True, kw_only=True):
    """withdrawn: translations that no longer hold. arrived: of UDP, whose senders may have been heard by the host itself before.

    addresses: of endpoints that are gone.
    """

    withdrawn: frozenset[Translation] = frozenset()
    arrived: frozenset[Translation] = frozenset()
    addresses: frozenset[IPAddress] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.withdrawn or self.arrived or self.addresses)


def stale_flows(before: Mapping[Key, Seen], after: Mapping[Key, Seen]) -> StaleFlows:
    """Compare what was seen before a change with what was seen after it."""
    changed = changed_keys(before, after, seen_differ)
    old, new = only(before, changed).values(), only(after, changed).values()
    gone = frozenset(_addresses(old)) - frozenset(_addresses(new))
    held, hold = _translations(old), _translations(new)
    return StaleFlows(
        withdrawn=held - hold,
        arrived=frozenset(t for t in hold - held if t[0].protocol == "udp"),
        addresses=gone - indexed(after, _address_of).keys() if gone else gone,
    )


def _translations(seen: Iterable[Seen]) -> frozenset[Translation]:
    return frozenset(translation for _, translation in translations(seen))


def _addresses(seen: Iterable[Seen]) -> Iterator[IPAddress]:
    return (address for found in seen for address in _address_of(found.object.key, found))


def _address_of(key: Key, found: Seen) -> Iterator[IPAddress]:
    """Read the addresses that an endpoint was promised; a record that is damaged has none."""
    if isinstance(found.object, KvRecord) and found.object.path.startswith("endpoint/"):
        with suppress(Misfit):
            fields = Fields.of(found.object.value, RECORD_MAX)
            both = fields.interface("ipv4", IPv4Interface), fields.interface("ipv6", IPv6Interface)
            yield from [interface.ip for interface in both if interface is not None]
