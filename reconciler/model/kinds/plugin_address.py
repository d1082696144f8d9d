"""An endpoint's address as an IPAM plugin was asked for it. address: "" for any. mac: "" where the plugin does not need it."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.kinds.base import Apart, Key, Owners, Traits, all_but, told_plugin
from reconciler.model.units import Unit


class PluginAddress(Apart, frozen=True, kw_only=True):
    """An endpoint's address as an IPAM plugin was asked for it. address: "" for any. mac: "" where the plugin does not need it."""

    kind: ClassVar[str] = "PluginAddress"
    traits: ClassVar[Traits] = told_plugin(25, all_but("incarnation"), is_awaited=True)
    network: str
    attachment: str
    driver: str
    version: int
    pool_id: str
    address: str
    mac: str
    incarnation: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment, str(self.version))

    def describe(self) -> str:
        return f"IPv{self.version} address of {self.attachment} on {self.network} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return Unit(network=self.network, attachment=self.attachment)
