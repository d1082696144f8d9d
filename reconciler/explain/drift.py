"""What was put right on a network, and what was left as it drifted: from the status and the events of this host."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from reconciler.records.lenient import mapping_of, text_of
from reconciler.status.entry import read_entry

_TOLD = frozenset({"repaired", "drifted"})
_SHOWN_MAX = 50
"""The last ones matter."""


class Repair(Struct, frozen=True, kw_only=True):
    """event: `repaired`, or `drifted` where it was left. attachment: "" for the network itself."""

    time: str
    event: str
    attachment: str
    message: str


class Drift(Struct, frozen=True, kw_only=True):
    """repaired: changes that put something of the network itself back, since its status began. repairs: the last, oldest first.

    is_known: the last pass had the network, or events tell of it.
    """

    network: str
    repaired: int
    repairs: tuple[Repair, ...]
    is_known: bool


def drift_of(network: str, summary: Mapping[str, object], events: Iterable[Mapping[str, object]]) -> Drift:
    """Return the drift of a network and of those on it. summary: of the last pass, {} without one."""
    repairs = tuple(
        Repair(
            time=text_of(event, "time"),
            event=text_of(event, "event"),
            attachment=text_of(event, "attachment"),
            message=text_of(event, "message"),
        )
        for event in events
        if text_of(event, "network") == network and text_of(event, "event") in _TOLD
    )
    networks = mapping_of(summary, "networks")
    return Drift(
        network=network,
        repaired=read_entry(mapping_of(networks, network)).drift_repaired,
        repairs=repairs[-_SHOWN_MAX:],
        is_known=network in networks or bool(repairs),
    )
