"""A host of the cluster that a plugin was told of (DiscoverNew)."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import Apart, Key, Owners, Traits, all_but, told_plugin
from reconciler.model.units import Unit, nodes_unit


class PluginNode(Apart, frozen=True, kw_only=True):
    """A host of the cluster that a plugin was told of (DiscoverNew).

    incarnation: of the plugin that was told, "" where nothing tells one from another: one that was started anew is told again.
    """

    kind: ClassVar[str] = "PluginNode"
    traits: ClassVar[Traits] = told_plugin(10, all_but("incarnation"), is_news=True)
    driver: str
    address: str
    bind_address: str
    is_self: bool
    incarnation: str = ""
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.driver, self.address)

    def describe(self) -> str:
        return f"node {self.address} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return nodes_unit(self.driver)

    def touches(self) -> tuple[NsRef, ...]:
        return (HOST,)
