"""Change our nft tables: all operations as one transaction, so that no packet meets half of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from reconciler.errors import FirewallMissing, PrivilegeError, ReconcilerError
from reconciler.firewall.inspection import inspect_table
from reconciler.firewall.notation import element_text, key_text
from reconciler.firewall.ruleset import TABLE, TABLES, SetSpec, TableSpec
from reconciler.kernel.netns import Namespaces
from reconciler.kernel.nft import Nft
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import FirewallElement, FirewallRules, Unit
from reconciler.model.plan import Action, Operation, Outcome

_GroupKey = Unit | str
_Group = tuple[_GroupKey, list[Operation]]


def apply_firewalls(operations: Sequence[Operation], nft: Nft, namespaces: Namespaces) -> list[Outcome]:
    """Carry out operations on FirewallRules and FirewallElement; one outcome each, in the same order.

    nft: the host's. In each other namespace they are a transaction of its own.
    """
    by_ns: defaultdict[NsRef, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_ns[_ns(operation)].append(operation)
    done = {ns: iter(_apply_in(ns, found, nft, namespaces)) for ns, found in by_ns.items()}
    return [next(done[_ns(operation)]) for operation in operations]


def _ns(operation: Operation) -> NsRef:
    found = operation.object
    assert isinstance(found, (FirewallRules, FirewallElement))
    return found.ns


def _apply_in(ns: NsRef, operations: Sequence[Operation], nft: Nft, namespaces: Namespaces) -> list[Outcome]:
    if ns == HOST:
        return apply_firewall(operations, nft)
    try:
        with namespaces.enter(ns), Nft() as inside:
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
        spec = _table(element).sets_by_name[element.set_name]
        by_set[element.family, element.set_name].append(write(spec, element))
    for (family, set_name), written in by_set.items():
        yield f"{verb} element {family} {TABLE} {set_name} {{ {', '.join(written)} }}"


def _table(element: FirewallElement) -> TableSpec:
    return TABLES[element.family]
