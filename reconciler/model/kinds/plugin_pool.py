"""A pool of a network as an IPAM plugin was asked for it, with its gateway and auxiliary addresses."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.kinds.base import Apart, Key, Owners, Traits, all_but, told_plugin
from reconciler.model.units import Unit


class PluginPool(Apart, frozen=True, kw_only=True):
    """A pool of a network as an IPAM plugin was asked for it, with its gateway and auxiliary addresses.

    version: 4 or 6; number: among those of its family. pool, sub_pool, gateway: "" for what is the plugin's choice. aux,
    options: JSON of names and texts. scope_driver: the plugin whose scope decides the address space, "" for a local network.
    incarnation: of the plugin when it was asked, where it wants to be asked again for what was given before it started; else "".
    """

    kind: ClassVar[str] = "PluginPool"
    traits: ClassVar[Traits] = told_plugin(15, all_but("incarnation"), is_awaited=True)
    network: str
    driver: str
    version: int
    number: int
    pool: str
    sub_pool: str
    gateway: str
    aux: str
    options: str
    scope_driver: str
    incarnation: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, str(self.version), str(self.number))

    def describe(self) -> str:
        return f"IPv{self.version} pool {self.pool or self.number} of {self.network} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return Unit(network=self.network)
