"""A link that a plugin made in the host's namespace, moved into a sandbox: when it goes, it is moved back."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import NO_FIELDS, Disruption, Felt, Kind, OfLink, Traits, inside_out


class PluginLink(OfLink, frozen=True, kw_only=True):
    """A link that a plugin made in the host's namespace, moved into a sandbox: when it goes, it is moved back.

    mac: "" for whatever it has. src_name: what it was called and shall be called again; src_index: by which it is found there, a
    namesake is not it. endpoint: short id of the endpoint. As observed the first and the third are as the link's alias tells.
    """

    kind: ClassVar[str] = "PluginLink"
    traits: ClassVar[Traits] = Traits(
        rank=inside_out(30),
        immutable=NO_FIELDS,
        felt=Felt(update=Disruption.NONE, delete=Disruption.RECREATE),
        is_exclusive=True,
        is_endpoint_link=True,
        memory="",
    )
    uncompared: ClassVar[frozenset[str]] = Kind.uncompared | {"mac", "src_name", "src_index", "endpoint"}
    ns: NsRef
    ifname: str
    mac: str = ""
    src_name: str = ""
    src_index: int = 0
    endpoint: str = ""

    def describe(self) -> str:
        return f"link {self.ifname} in {self.ns}, a plugin's {self.src_name}"

    def touches(self) -> tuple[NsRef, ...]:
        return HOST, self.ns

    def sandbox(self) -> NsRef:
        return self.ns
