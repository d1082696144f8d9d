"""An address with its prefix length on a link; IPv6 without duplicate address detection. Broadcast is derived."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.ip import IPInterface
from reconciler.model.kinds.base import (
    FELT_AS_LINK,
    NO_FIELDS,
    Disruption,
    Key,
    OnLink,
    Places,
    Traits,
    addresses_of,
    inside_out,
    where,
)


class Address(OnLink, frozen=True, kw_only=True):
    """An address with its prefix length on a link; IPv6 without duplicate address detection. Broadcast is derived.

    is_as_found: it was there when its bridge was adopted: put back without our mark, so that it stays when that is given back.
    """

    uncompared: ClassVar[frozenset[str]] = frozenset({"unit", "is_as_found"})
    kind: ClassVar[str] = "Address"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(60),
        immutable=NO_FIELDS,
        felt=FELT_AS_LINK,
        is_exclusive=False,
        is_endpoint_link=False,
        memory="",
    )
    ns: NsRef
    ifname: str
    interface: IPInterface
    is_as_found: bool = False

    @property
    def key(self) -> Key:
        return (self.kind, self.ns, self.ifname, str(self.interface))

    def describe(self) -> str:
        return f"address {self.interface} on {self.ifname}{where(self.ns)}"

    def disruption_of_delete(self) -> Disruption:
        """Every connection of a sandbox's address dies with it. A gateway has few of its own, members only change their way out."""
        return Disruption.FLAP if self.ns == HOST else Disruption.RECREATE

    def may_carry(self) -> Places:
        """The kernel flushes a link's routes with its last address (fib_disable_ip in net/ipv4/fib_frontend.c)."""
        return (addresses_of(self.ns, self.ifname),)
