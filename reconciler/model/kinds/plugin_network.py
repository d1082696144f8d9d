"""A network as a plugin was told of it (NetworkDriver.CreateNetwork)."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import ALL_FIELDS, Apart, Disruption, Felt, Key, Owners, Traits, told_plugin
from reconciler.model.units import Unit


class PluginNetwork(Apart, frozen=True, kw_only=True):
    """A network as a plugin was told of it (NetworkDriver.CreateNetwork).

    id: 64 hex digits. options, ipv4, ipv6: JSON, as they go to the plugin, but for the address space.
    address_space: "" for the default of the plugin's scope. is_complete: as observed False when nobody knows whether the call was
    made, because we were killed meanwhile or no usable answer came.
    """

    kind: ClassVar[str] = "PluginNetwork"
    traits: ClassVar[Traits] = told_plugin(20, ALL_FIELDS, Felt(update=Disruption.NONE, delete=Disruption.RECREATE))
    network: str
    driver: str
    id: str
    options: str
    ipv4: str = "[]"
    ipv6: str = "[]"
    address_space: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network)

    def describe(self) -> str:
        return f"network {self.network} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return Unit(network=self.network)

    def touches(self) -> tuple[NsRef, ...]:
        return (HOST,)
