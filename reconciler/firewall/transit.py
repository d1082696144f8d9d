"""What is forwarded between links of the host that are not ours: nothing, where nothing was before us (docs/design/security.md).

A switch of the kernel's makes the host a router between all of its links. Who did not switch it on himself did not ask for that, so
what is of none of our bridges is dropped as long as the switch is on for us alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, Final

from reconciler.firewall.ruleset import TABLE, SetSpec
from reconciler.incremental import indexed
from reconciler.model.identifiers import FORWARDING, HOST
from reconciler.model.objects import FirewallElement, Key, Seen

TRANSIT_SETS: Final = ("no_transit", "transit_from")
"""What we put in: nothing of ours passes by these."""

_SAME_BRIDGE: Final = "same_bridge"
_DROPPED: Final = "transit_dropped"


def transit_elements(versions: Iterable[int], forwarding: Iterable[tuple[int, str]]) -> Iterator[FirewallElement]:
    """Yield what drops it. versions: of IP that were not forwarded before us. forwarding: but by these links each was."""
    for version in versions:
        yield _element(TRANSIT_SETS[0], f"ipv{version}")
    for version, ifname in forwarding:
        yield _element(TRANSIT_SETS[1], f"ipv{version}", ifname)


def _element(set_name: str, *element: str) -> FirewallElement:
    return FirewallElement(family="inet", table=TABLE, set_name=set_name, element=element)


def settings_before(seen: Mapping[Key, Seen]) -> Iterator[tuple[str, str]]:
    """Yield what settings of the host were before us as our elements tell, by path: they outlive the state folder."""
    yield from indexed(seen, _setting_before)


def _setting_before(_: Key, found: Seen) -> Iterator[tuple[str, str]]:
    match found.object:
        case FirewallElement(ns=ns, set_name="no_transit", element=(version,)) if ns == HOST and found.is_ours:
            yield FORWARDING[int(version[-1])], "0"
        case FirewallElement(ns=ns, set_name="transit_from", element=(version, ifname)) if ns == HOST and found.is_ours:
            yield f"net/{version}/conf/{ifname}/{'forwarding' if version == 'ipv4' else 'force_forwarding'}", "1"


def is_dropping(objects: Container[Key], *versions: int) -> bool:
    """Return whether some of these objects have it dropped, of any of these versions of IP."""
    return any(_element(TRANSIT_SETS[0], f"ipv{version}").key in objects for version in versions)


def is_learned(spec: SetSpec, listed: Any) -> bool:
    """Return whether the rules may have put an element into a set of theirs: a bridge is the same as itself alone."""
    if spec.name != _SAME_BRIDGE:
        return True
    match listed:
        case {"concat": [one, other]}:
            return bool(one == other)
    return False


def dropped(listing: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield between which links something was dropped, from one to the other, since the rules were made. listing: of our table."""
    for item in listing:
        for listed in item.get("set", {}).get("elem", ()) if item.get("set", {}).get("name") == _DROPPED else ():
            match listed:
                case {"concat": [_, str(came_by), str(left_by)]}:
                    yield came_by, left_by
