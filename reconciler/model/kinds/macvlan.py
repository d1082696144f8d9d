"""A macvlan link in a sandbox, on a link of the host's own namespace. Its own state is a `LinkUp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from reconciler.model.identifiers import NsRef
from reconciler.model.kinds.base import FELT_AS_LINK, OnParent, Traits, inside_out, these, where


@dataclass(frozen=True, slots=True, kw_only=True)
class Macvlan(OnParent):
    """A macvlan link in a sandbox, on a link of the host's own namespace. Its own state is a `LinkUp`.

    parent: as observed "" when it sits on no link of the host. mode: bridge, private, vepa or passthru. mtu: bytes.
    """

    kind: ClassVar[str] = "Macvlan"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(30),
        immutable=these("parent", "mode"),
        felt=FELT_AS_LINK.flapping("mac"),
        is_exclusive=True,
        is_endpoint_link=True,
        memory="",
        link_kind="macvlan",
    )
    ns: NsRef
    ifname: str
    parent: str
    mode: str
    mac: str
    mtu: int

    def describe(self) -> str:
        return f"macvlan {self.ifname} on {self.parent or '?'} ({self.mode}, mtu {self.mtu}){where(self.ns)}"
