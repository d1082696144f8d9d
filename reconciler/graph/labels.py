"""What all forms say of networks and places, in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.graph.topology import Attachment, Host, Mark, Network, Place
from reconciler.model.drivers import DRIVER_TRAITS
from reconciler.model.words import some

SIGNS: Final = {
    Mark.SAME: " ",
    Mark.ADDED: "+",
    Mark.REMOVED: "-",
    Mark.MOVED: ">",
    Mark.CHANGED: "~",
    Mark.DRIFTED: "!",
}
"""One character for what a change does, before what it does it to."""

DRIVER_COLOURS: Final = {
    "bridge": "#2f6fb3",
    "overlay": "#8a4fb5",
    "macvlan": "#2c7f4f",
    "ipvlan": "#0f7d86",
    "host": "#5d6673",
    "null": "#5d6673",
}
"""Of the drivers of our own; white text on each has a contrast of 4.5 or more (WCAG 2.1, 1.4.3)."""

PLUGIN_COLOUR: Final = "#a3590f"
UNATTACHED: Final = "on no network"
_HOSTS_SHOWN: Final = 6


def driver_class(driver: str) -> str:
    """Return a word for styles: the driver's name, `plugin` for all that are not our own."""
    return driver if driver in DRIVER_COLOURS else "null" if driver in DRIVER_TRAITS else "plugin"


def driver_colour(driver: str) -> str:
    return DRIVER_COLOURS.get(driver, DRIVER_COLOURS["null"] if driver in DRIVER_TRAITS else PLUGIN_COLOUR)


def network_words(network: Network) -> Iterator[str]:
    """Yield what is to be said of a network beside its name."""
    if network.driver != network.name:
        yield network.driver
    if network.is_internal:
        yield "internal"
    for subnet in network.subnets:
        yield subnet.subnet
        if subnet.gateway:
            yield f"gateway {subnet.gateway}"
        if subnet.vni is not None:
            yield f"VNI {subnet.vni}"
    yield from network.traits
    if network.is_shared and network.hosts:
        yield f"spans {some(network.hosts, _HOSTS_SHOWN)}"


def place_words(place: Place) -> Iterator[str]:
    """Yield what is to be said of a place beside its addresses and ports."""
    if place.is_gateway:
        yield "way out"
    yield from (f"alias {alias}" for alias in place.aliases)
    if place.is_default and place.mark is Mark.CHANGED:
        yield "default route"
    if place.was:
        yield f"was {', '.join(place.was)}"


def place_mark(attachment: Attachment, place: Place) -> Mark:
    """Return what happens to a place: all of those of one that comes, goes or moves do the same."""
    is_whole = attachment.mark in (Mark.ADDED, Mark.REMOVED, Mark.MOVED, Mark.DRIFTED)
    return attachment.mark if is_whole else place.mark


def on_no_network(host: Host) -> tuple[Attachment, ...]:
    return tuple(attachment for attachment in host.attachments if not attachment.places)
