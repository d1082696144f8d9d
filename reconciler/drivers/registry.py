"""Which driver compiles which network. A new driver is one module and one line here, and one in `model.drivers`."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.drivers import bridge, overlay, remote, sublinks, unmanaged
from reconciler.drivers.protocol import Driver, RemoteDriver
from reconciler.model.drivers import traits_of

DRIVERS: Mapping[str, Driver] = {
    "bridge": bridge,
    "host": unmanaged,
    "ipvlan": sublinks,
    "macvlan": sublinks,
    "null": unmanaged,
    "overlay": overlay,
}

REMOTE: Mapping[str, RemoteDriver] = {"overlay": overlay}
"""Those whose networks have endpoints on other hosts."""


def driver_of(name: str) -> Driver:
    """Return the driver of a name; those that are none of ours are plugins'."""
    return remote if traits_of(name).is_plugin else DRIVERS[name]
