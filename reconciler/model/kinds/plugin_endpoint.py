"""An endpoint as a plugin was told of it (CreateEndpoint and Join)."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import ALL_FIELDS, Apart, Disruption, Felt, Key, Owners, Traits, told_plugin
from reconciler.model.units import Unit


class PluginEndpoint(Apart, frozen=True, kw_only=True):
    """An endpoint as a plugin was told of it (CreateEndpoint and Join).

    interface, options, join_options: JSON, as they go to the plugin. ns, inode: the sandbox that was joined; the
    inode is 0 while it does not exist. network_told: digest of what the plugin was told of the network: with that made anew, its
    endpoints are. is_complete: as for PluginNetwork; also False when the link that the plugin made is lost.
    """

    kind: ClassVar[str] = "PluginEndpoint"
    traits: ClassVar[Traits] = told_plugin(30, ALL_FIELDS, Felt(update=Disruption.NONE, delete=Disruption.RECREATE))
    network: str
    attachment: str
    driver: str
    network_id: str
    network_told: str
    id: str
    ns: NsRef
    inode: int
    interface: str
    options: str
    join_options: str
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment)

    def describe(self) -> str:
        return f"endpoint of {self.attachment} on {self.network} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return Unit(network=self.network, attachment=self.attachment)

    def touches(self) -> tuple[NsRef, ...]:
        return HOST, self.ns

    def is_endpoint(self) -> bool:
        return self.is_complete
