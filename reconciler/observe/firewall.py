"""Look at our nft tables: whether their rules stand, and every element with its unit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import SandboxMissing
from reconciler.firewall.inspection import inspect_table
from reconciler.firewall.notation import NotationError, comment_unit, digested
from reconciler.firewall.registers import packed_key, read_value
from reconciler.firewall.ruleset import TABLE, TABLES
from reconciler.incremental import Table
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.kinds.base import OfFirewall
from reconciler.model.objects import FirewallElement, FirewallRules, Key, Object, Seen, Unit
from reconciler.model.observed import Keyed, Named, keyed
from reconciler.model.plan import Operation

_FIREWALLD: Final = "firewalld"
_FEW_ELEMENTS: Final = 128
"""Up to so many are asked for one by one."""

HOST_PLACE: Final[Named] = ("", 0)


def foreign_forward_drops(nft: Nft) -> Iterator[str]:
    """Yield which chains of others stop forwarded packets unless their own rules let them through: no rule of ours can change that.

    firewalld's chains accept by policy and refuse by their last rule, so it is known by its table. Rules of the old iptables
    (`iptables-legacy`) are not seen by nftables. Raises FirewallError, FirewallMissing, PrivilegeError.
    """
    for chain in nft.list_chains():
        is_forwarding = chain.get("hook") == "forward" and chain["table"] != TABLE
        is_dropping = chain.get("policy") == "drop" or chain["table"] == _FIREWALLD
        if is_forwarding and is_dropping and chain["family"] in ("ip", "ip6", "inet"):
            yield f"{chain['family']} {chain['table']} {chain['name']}"


def observe_firewall(nft: Nft, units: Iterable[Unit] = (), ns: NsRef = HOST) -> Iterator[Seen]:
    """Yield our tables and their elements; nothing of a table that is not there. ns: where `nft` is.

    units: every unit known from promises or specs, needed to read the comments of those with very long names.
    Elements of a set that is not as declared are left out: the repair loses them, so they must be planned again.
    Raises FirewallError, FirewallMissing, PrivilegeError.
    """
    long_units = digested(units)
    for family, spec in TABLES.items():
        listing = nft.list_table(family, TABLE)
        if listing is None:
            continue
        state = inspect_table(spec, listing, long_units, ns)
        yield Seen(FirewallRules(ns=ns, family=family, table=TABLE, digest=state.digest), is_ours=state.is_ours)
        yield from (Seen(element, is_ours=True) for element in state.elements)


class FirewallView(Struct, frozen=True, kw_only=True):
    """Our tables of one namespace at a generation of its nftables, after so many commits of ours.

    foreign_drops: what others drop, in words; of the host alone.
    """

    seen: Table[Key, Seen]
    generation: int = 0
    commits: int = 0
    foreign_drops: tuple[str, ...] = ()


def view_firewalls(
    known: Mapping[Named, FirewallView],
    touched: Sequence[Operation],
    nft: Nft,
    namespaces: Namespaces,
    overlays: Iterable[Named],
    units: Callable[[], Iterable[Unit]],
) -> dict[Named, FirewallView]:
    """Look at the host's tables (at HOST_PLACE) and those of overlay networks. One that is gone meanwhile is left out.

    known: what was seen before; touched: what was done since. units: as `observe_firewall` takes them.
    """
    places = {_ns(operation) for operation in touched}
    host = known.get(HOST_PLACE)
    if host is not None and HOST in places:
        host = _refreshed(host, [o for o in touched if _ns(o) == HOST], nft)
    found = {HOST_PLACE: host or _host_view(nft, tuple(units()))}
    for named in overlays:
        ns = NsRef(f"netns:{named[0]}")
        if named in known and ns not in places:
            found[named] = known[named]
            continue
        with contextlib.suppress(SandboxMissing), namespaces.enter(ns), Nft() as inside:
            found[named] = FirewallView(seen=Table(keyed(observe_firewall(inside, units(), ns))))
    return found


def _host_view(nft: Nft, units: Iterable[Unit]) -> FirewallView:
    generation, commits = nft.generation(), nft.commits  # before the look: what is later is not taken for seen
    return FirewallView(
        seen=Table(keyed(observe_firewall(nft, units))),
        generation=generation,
        commits=commits,
        foreign_drops=tuple(foreign_forward_drops(nft)),
    )


def _refreshed(known: FirewallView, touched: Sequence[Operation], nft: Nft) -> FirewallView | None:
    """Look at the elements of `touched` alone; None when that does not do: somebody else changed something, or a table did."""
    elements = [each for operation in touched for each in (operation.before, operation.after) if each is not None]
    generation, commits = nft.generation(), nft.commits
    is_ours_alone = generation - known.generation == commits - known.commits
    if not is_ours_alone or len(elements) > _FEW_ELEMENTS or not all(map(_is_single, elements)):
        return None
    asked = {each.key: each for each in elements if isinstance(each, FirewallElement)}
    there = _got(tuple(asked.values()), nft)
    if there is None or nft.generation() != generation:
        return None
    return replace(
        known, seen=known.seen.updated(there, asked.keys() - there.keys()), generation=generation, commits=commits
    )


def _is_single(found: Object) -> bool:
    """Return whether it is an element that can be asked for by its key: of an interval nft gives what is around it too."""
    return isinstance(found, FirewallElement) and not TABLES[found.family].sets_by_name[found.set_name].is_interval


def _got(elements: Sequence[FirewallElement], nft: Nft) -> Keyed | None:
    """Return what is there under the keys of these; None when something is not to be read."""
    units = digested(each.unit for each in elements)
    specs = [TABLES[each.family].sets_by_name[each.set_name] for each in elements]
    keys = [(e.family, e.set_name, packed_key(spec, e.element)) for e, spec in zip(elements, specs, strict=True)]
    found = []
    try:
        for element, spec, listed in zip(elements, specs, nft.get_elements(TABLE, keys), strict=True):
            if listed is not None:
                value = read_value(spec, listed.value, listed.verdict)
                found.append(replace(element, unit=comment_unit(listed.comment, units), value=value))
    except NotationError:
        return None
    return keyed(Seen(element, is_ours=True) for element in found)


def _ns(operation: Operation) -> NsRef | None:
    return operation.object.ns if isinstance(operation.object, OfFirewall) else None
