"""The ports that a plugin was told to publish at an endpoint (ProgramExternalConnectivity). options: as for PluginEndpoint."""

from __future__ import annotations

from typing import ClassVar

from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import ALL_FIELDS, Apart, Disruption, Felt, Key, Owners, Traits, told_plugin
from reconciler.model.units import Unit


class PluginPorts(Apart, frozen=True, kw_only=True):
    """The ports that a plugin was told to publish at an endpoint (ProgramExternalConnectivity). options: as for PluginEndpoint."""

    kind: ClassVar[str] = "PluginPorts"
    traits: ClassVar[Traits] = told_plugin(40, ALL_FIELDS, Felt(update=Disruption.NONE, delete=Disruption.LIVE))
    network: str
    attachment: str
    driver: str
    network_id: str
    endpoint_id: str
    options: str
    is_complete: bool = True

    @property
    def key(self) -> Key:
        return (self.kind, self.network, self.attachment)

    def describe(self) -> str:
        return f"ports of {self.attachment} on {self.network} at plugin {self.driver}"

    def owner(self, owners: Owners) -> Unit | None:
        return Unit(network=self.network, attachment=self.attachment)

    def touches(self) -> tuple[NsRef, ...]:
        return (HOST,)
