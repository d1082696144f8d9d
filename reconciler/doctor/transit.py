"""Whether our firewall dropped packets between links of others: a host that forwards for us alone is no router for these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, note, warning, written
from reconciler.doctor.place import Place
from reconciler.firewall.ruleset import TABLE
from reconciler.firewall.transit import dropped, is_dropping
from reconciler.model.words import some
from reconciler.observe.host_facts import OF_HARDWARE

_SHOWN: Final = 6
_WHY: Final = (
    "nothing of that version of IP was forwarded on this host before us, and for others nothing is (docs/limits.md)"
)


class Transit(Struct, frozen=True, kw_only=True):
    """dropped: between which links, from one to the other. kinds: of the links of others, by name."""

    dropped: tuple[tuple[str, str], ...] = ()
    kinds: Mapping[str, str] = {}


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Transit) -> Iterator[Finding]:
    """Who came later and counts on what we switched on has links that programs make; cards alone were there before."""
    for is_made in (True, False):
        pairs = [f"{one} to {other}" for one, other in found.dropped if _is_made((one, other), found.kinds) is is_made]
        what = f"our firewall dropped packets from {some(sorted(pairs), _SHOWN)}"
        if pairs and is_made:
            yield warning(
                what,
                f"{_WHY}: Docker, libvirt or a VPN that was started later, and has such links, does not reach beyond them; "
                "the next pass, of a watcher that is started anew too, lets that through",
                "mkdir -p /etc/reconciler",
                written("/etc/reconciler/config.yaml", ["ip-forward-no-drop: true"], is_appended=True),
            )
        elif pairs:
            yield note(
                what, f"{_WHY}: if the host shall be a router, `ip-forward-no-drop: true` in its configuration says so"
            )


def _is_made(links: tuple[str, str], kinds: Mapping[str, str]) -> bool:
    return any(kinds.get(link, "") not in OF_HARDWARE for link in links)


def read(place: Place) -> Transit:
    seen = {} if place.facts is None else place.facts.seen
    if place.settings.is_transit_open or not is_dropping(seen, 4, 6):
        return Transit()
    listing = place.backends.nft.list_table("inet", TABLE) or ()
    kinds = {link.ifname: link.kind for link in place.view.foreign}
    return Transit(dropped=tuple(dict.fromkeys(dropped(listing))), kinds=kinds)
