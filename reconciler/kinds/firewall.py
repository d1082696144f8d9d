"""Our nft tables: whether their rules stand, every element with its unit, and how they change: all in one transaction."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import FirewallMissing, PrivilegeError, ReconcilerError, SandboxMissing
from reconciler.firewall.inspection import inspect_table
from reconciler.firewall.notation import NotationError, comment_unit, digested, element_text, key_text
from reconciler.firewall.registers import packed_key, read_value
from reconciler.firewall.ruleset import TABLE, TABLES, SetSpec
from reconciler.incremental import Table
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.kinds.row import Row, SeenApart
from reconciler.kinds.world import World
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import FirewallElement, FirewallRules, Key, Object, Seen, Unit
from reconciler.model.observed import Keyed, Named, keyed
from reconciler.model.plan import Action, Operation, Outcome

_FIREWALLD: Final = "firewalld"
_FEW_ELEMENTS: Final = 128
"""Up to so many are asked for one by one."""

HOST_PLACE: Final[Named] = ("", 0)

_GroupKey = Unit | str
_Group = tuple[_GroupKey, list[Operation]]


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
    places = {_ns_of(operation) for operation in touched}
    host = known.get(HOST_PLACE)
    if host is not None and HOST in places:
        host = _refreshed(host, [o for o in touched if _ns_of(o) == HOST], nft)
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


def _ns_of(operation: Operation) -> NsRef:
    """Return the namespace of what is done to the firewall."""
    found = operation.object
    assert isinstance(found, (FirewallRules, FirewallElement))
    return found.ns


def apply(operations: Sequence[Operation], world: World) -> list[Outcome]:
    """Carry out operations on FirewallRules and FirewallElement, those of each namespace as a transaction of its own."""
    by_ns: defaultdict[NsRef, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_ns[_ns_of(operation)].append(operation)
    done = {ns: iter(_apply_in(ns, found, world)) for ns, found in by_ns.items()}
    return [next(done[_ns_of(operation)]) for operation in operations]


def _apply_in(ns: NsRef, operations: Sequence[Operation], world: World) -> list[Outcome]:
    if ns == HOST:
        return apply_firewall(operations, world.nft)
    try:
        with world.namespaces.enter(ns), Nft() as inside:
            return apply_firewall(operations, inside)
    except ReconcilerError as error:
        return [Outcome(operation=operation, error=error) for operation in operations]


def apply_firewall(operations: Sequence[Operation], nft: Nft) -> list[Outcome]:
    """Do that in one namespace.

    A table that is created or repaired is replaced whole within the transaction. What its sound sets hold is put back, which is
    what `observe_firewall` reported; the elements of others are among `operations`, planned as missing. So one pass repairs
    everything, and at no moment is a packet judged by fewer elements than before.

    When the transaction is refused, it is halved until what is refused stands alone: a bad element harms its own unit only. Then
    each part is a transaction of its own, the tables in the first.
    Deleting what somebody else deleted meanwhile is refused too; the next look no longer plans it.
    """
    errors: dict[_GroupKey, ReconcilerError] = {}
    _settle(_groups(operations), lambda groups: _transact(groups, nft), errors)
    return [Outcome(operation=operation, error=errors.get(_group_key(operation))) for operation in operations]


def _group_key(operation: Operation) -> _GroupKey:
    """What is accepted or refused together: a table's rules (its family), else a unit's elements."""
    found = operation.object
    return found.family if isinstance(found, FirewallRules) else operation.unit


def _groups(operations: Iterable[Operation]) -> list[_Group]:
    """Return the groups, tables first, as elements need them."""
    groups: defaultdict[_GroupKey, list[Operation]] = defaultdict(list)
    for operation in operations:
        groups[_group_key(operation)].append(operation)
    return sorted(groups.items(), key=lambda group: isinstance(group[0], Unit))


def _settle(
    groups: Sequence[_Group],
    transact: Callable[[Sequence[_Group]], None],
    errors: dict[_GroupKey, ReconcilerError],
) -> None:
    if not groups:
        return
    try:
        transact(groups)
    except ReconcilerError as error:
        if len(groups) == 1 or isinstance(error, (FirewallMissing, PrivilegeError)):
            errors.update((key, error) for key, _ in groups)
            return
        middle = len(groups) // 2
        _settle(groups[:middle], transact, errors)
        _settle(groups[middle:], transact, errors)


def _transact(groups: Sequence[_Group], nft: Nft) -> None:
    operations = [operation for _, group in groups for operation in group]
    tables = [operation for operation in operations if isinstance(operation.object, FirewallRules)]
    removed = {_family(operation) for operation in tables if operation.action is Action.DELETE}
    lines = [line for operation in tables for line in _table_lines(operation, nft)]
    lines += _element_lines(operation for operation in operations if _is_element_outside(operation, removed))
    if lines:
        nft.run("\n".join([*lines, ""]))


def _family(operation: Operation) -> str:
    found = operation.object
    assert isinstance(found, (FirewallRules, FirewallElement))
    return found.family


def _is_element_outside(operation: Operation, families: set[str]) -> bool:
    """Return whether this is an element whose table does not go as a whole."""
    found = operation.object
    return isinstance(found, FirewallElement) and found.family not in families


def _table_lines(operation: Operation, nft: Nft) -> Iterator[str]:
    """Remove the table if it is there (`add` makes sure that it is), and unless it shall go make it again with what it held."""
    family = _family(operation)
    spec = TABLES[family]
    listing = None if operation.action is Action.DELETE else nft.list_table(family, TABLE)
    yield f"add table {family} {TABLE}"
    yield f"delete table {family} {TABLE}"
    if operation.action is Action.DELETE:
        return
    yield spec.text
    if listing is not None:
        yield from _commands("add", inspect_table(spec, listing, long_units={}).elements)


def _element_lines(operations: Iterable[Operation]) -> Iterator[str]:
    """Delete before adding, so that a changed value finds its place free."""
    gone, come = [], []
    for operation in operations:
        if isinstance(operation.before, FirewallElement):
            gone.append(operation.before)
        if isinstance(operation.after, FirewallElement):
            come.append(operation.after)
    yield from _commands("delete", gone)
    yield from _commands("add", come)


_WRITERS: Mapping[str, Callable[[SetSpec, FirewallElement], str]] = {"add": element_text, "delete": key_text}


def _commands(verb: str, elements: Iterable[FirewallElement]) -> Iterator[str]:
    """Write one command for each set."""
    write = _WRITERS[verb]
    by_set: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for element in elements:
        spec = TABLES[element.family].sets_by_name[element.set_name]
        by_set[element.family, element.set_name].append(write(spec, element))
    for (family, set_name), written in by_set.items():
        yield f"{verb} element {family} {TABLE} {set_name} {{ {', '.join(written)} }}"


ROWS = tuple(Row(kind, SeenApart(view_firewalls), apply) for kind in (FirewallRules, FirewallElement))
