"""Which tracked connections a change has made stale: to a published port or an address that is another's now, or nobody's. Pure.

Connection tracking keeps a translation as long as packets come, so a peer that keeps sending would reach the old sandbox for ever
(moby#8795).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface

from msgspec import Struct

from reconciler.firewall.published import Translation, translations
from reconciler.ipam.promises import RECORD_MAX
from reconciler.model.objects import IPAddress, Key, KvRecord, Seen
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
    if before is after:
        return StaleFlows()
    old, new = _translations(before), _translations(after)
    return StaleFlows(
        withdrawn=old - new,
        arrived=frozenset(t for t in new - old if t[0].protocol == "udp"),
        addresses=frozenset(_addresses(before)) - frozenset(_addresses(after)),
    )


def _translations(seen: Mapping[Key, Seen]) -> frozenset[Translation]:
    return frozenset(translation for _, translation in translations(seen.values()))


def _addresses(seen: Mapping[Key, Seen]) -> Iterator[IPAddress]:
    """Read the addresses that endpoints were promised; a record that is damaged has none."""
    for found in seen.values():
        if isinstance(found.object, KvRecord) and found.object.path.startswith("endpoint/"):
            with suppress(Misfit):
                fields = Fields.of(found.object.value, RECORD_MAX)
                both = fields.interface("ipv4", IPv4Interface), fields.interface("ipv6", IPv6Interface)
                yield from [interface.ip for interface in both if interface is not None]
