"""What the stages before and after a driver must know of it. Pure; `drivers/` compiles, this says what there is to be known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace


class DriverTraits(Struct, frozen=True, kw_only=True):
    """One driver's answers. Each is required, so that a new driver gives them all.

    is_plugin: another program's. is_predefined: its one network is built in, nothing is allocated for it (host, null).
    has_host_bridge: endpoints are ports of a bridge in the host's namespace, which routes, masquerades and publishes ports.
    dead_end_prefix: "" for drivers whose endpoints are no links on one of the host's, the parent; else the engine's prefix of the
    link that stands in for a parent that is not named. is_vxlan: networks are shared by all hosts of the cluster, in a namespace
    of their own, each subnet with a VNI; the way out is another network's. takes_mac: endpoints get the MAC address asked for.
    has_endpoint_options: it knows those of `driver_opts` below an attachment's network.
    """

    is_plugin: bool
    is_predefined: bool
    has_host_bridge: bool
    dead_end_prefix: str
    is_vxlan: bool
    takes_mac: bool
    has_endpoint_options: bool

    @property
    def has_parent(self) -> bool:
        return self.dead_end_prefix != ""

    @property
    def may_be_shared(self) -> bool:
        """Return whether hosts may share its networks; a plugin's only where it says so."""
        return self.is_vxlan or self.is_plugin


_PLUGIN: Final = DriverTraits(
    is_plugin=True,
    is_predefined=False,
    has_host_bridge=False,
    dead_end_prefix="",
    is_vxlan=False,
    takes_mac=True,
    has_endpoint_options=False,
)
_OURS: Final = replace(_PLUGIN, is_plugin=False)
_PREDEFINED: Final = replace(_OURS, is_predefined=True)

DRIVER_TRAITS: Final[Mapping[str, DriverTraits]] = {
    "bridge": replace(_OURS, has_host_bridge=True, has_endpoint_options=True),
    "host": _PREDEFINED,
    "ipvlan": replace(_OURS, dead_end_prefix="di-", takes_mac=False, has_endpoint_options=True),
    "macvlan": replace(_OURS, dead_end_prefix="dm-", has_endpoint_options=True),
    "none": _PREDEFINED,
    "null": _PREDEFINED,
    "overlay": replace(_OURS, is_vxlan=True),
}
"""Those of our own; every other name is a plugin's. `none` is how people call `null`."""


def traits_of(driver: str) -> DriverTraits:
    return DRIVER_TRAITS.get(driver, _PLUGIN)
