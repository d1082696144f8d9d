"""What a person should know of networks that are as declared and still may not carry what they should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.model.desired import DesiredState
from reconciler.model.objects import Unit


def forwarding_remarks(desired: DesiredState, foreign_drops: Sequence[str]) -> Iterator[tuple[Unit, str]]:
    """Tell every network that leads outside by the host whose rules beside ours must agree. foreign_drops: their chains."""
    chains = ", ".join(foreign_drops)
    for network in desired.networks if foreign_drops else ():
        if network.is_bridged and not network.wanted.is_internal:
            text = (
                f"the firewall of somebody else drops forwarded packets unless its own rules accept them ({chains}): "
                f"accept those from and to {network.link_name} there"
            )
            yield network.unit, text
