"""What a plugin said of the scope of its networks (NetworkDriver.GetCapabilities), for as long as it has this one."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.kinds.base import ALL_FIELDS, Apart, Key, Owners, Traits, told_plugin
from reconciler.model.units import Unit


class PluginScope(Apart, frozen=True, kw_only=True):
    """What a plugin said of the scope of its networks (NetworkDriver.GetCapabilities), for as long as it has this one."""

    kind: ClassVar[str] = "PluginScope"
    traits: ClassVar[Traits] = told_plugin(5, ALL_FIELDS, is_awaited=True)
    network: str
    driver: str
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network)

    def describe(self) -> str:
        return f"scope of {self.network} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return Unit(network=self.network)
