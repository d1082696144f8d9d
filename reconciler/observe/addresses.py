"""From dumped addresses to the objects that they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from reconciler.kernel.addresses import AddressEntry
from reconciler.model.identifiers import NsRef
from reconciler.model.objects import Address, Seen


def link_addresses(ns: NsRef, entries: Iterable[AddressEntry], names: Mapping[int, str]) -> Iterator[Seen]:
    """Yield the addresses on the links of `names` (by index) but those that the kernel made by itself."""
    for entry in entries:
        ifname = names.get(entry.ifindex)
        if ifname is not None and not entry.is_kernel_made:
            yield Seen(Address(ns=ns, ifname=ifname, interface=entry.interface()), is_ours=entry.is_ours)
