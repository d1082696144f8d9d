"""Which driver compiles which network. A new driver is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.drivers import bridge, overlay, sublinks, unmanaged
from reconciler.drivers.protocol import Driver, RemoteDriver

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
