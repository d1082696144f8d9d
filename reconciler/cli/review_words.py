"""The sentences of a review, the same in every form of output."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from msgspec.structs import replace

from reconciler.cli.pass_log import action_counts
from reconciler.cli.terminal import printable
from reconciler.model.objects import AdoptedBridge, Unit
from reconciler.model.plan import Action, Disruption, Operation
from reconciler.model.wanted import Source
from reconciler.model.words import some
from reconciler.review.conditions import Match
from reconciler.review.values import (
    FieldChange,
    FlowChanges,
    HostReview,
    Move,
    NameKnown,
    NetworkPart,
    Review,
    ReviewFlow,
    SharedChange,
    SharedNetwork,
)
from reconciler.spec.document import Tree

NOTICED: Final = {
    Disruption.RECREATE: "connections are lost",
    Disruption.FLAP: "a short loss",
    Disruption.LIVE: "changes while traffic flows",
}
REACHES_NOW: Final = "reaches now"
REACHES_NO_LONGER: Final = "reaches no longer"
BETWEEN: Final = "between hosts"
DRIFT: Final = "drift that is put right"
AFTER_APPLY: Final = "known after apply"
_AGAINST: Final = {"live": "the host as it is", "status": "what was applied last", "empty": "nothing"}
_COUNTS: Final = {
    Action.CREATE: "to create",
    Action.UPDATE: "to change",
    Action.DELETE: "to delete",
    Action.ADOPT: "to adopt",
    Action.RELEASE: "to give back",
}
_NAMES_SHOWN: Final = 8
_OBJECTS_SHOWN: Final = 3
_VALUE_SHOWN: Final = 60
_ACTIONS: Final = {Action.CREATE: "is new", Action.UPDATE: "changes", Action.DELETE: "goes"}


def entry_title(change: SharedChange, hosts: Sequence[str]) -> str:
    """Return what becomes of an entry, and on which of the hosts where it is not all."""
    come, gone, stay = change.on(Action.CREATE), change.on(Action.DELETE), change.on(Action.UPDATE)
    if come and gone:
        also = f", and changes on {names(stay)}" if stay else ""
        return f"{change.unit} moves from {names(gone)} to {names(come)}{also}"
    parts = [f"{_ACTIONS[action]}{_where(found, hosts, change)}" for action, found in change.hosts]
    return printable(f"{change.unit} {' and '.join(parts)}")


def _where(found: Sequence[str], hosts: Sequence[str], change: SharedChange) -> str:
    return "" if change.unit.network or set(found) == set(hosts) else f" on {names(found)}"


def field_line(field: FieldChange) -> str:
    return f"{printable(field.path)}: {value(field.before)} -> {value(field.after)}"


def value(typed: Tree) -> str:
    """Return a value as it stands in a spec file on one line, bounded."""
    if isinstance(typed, str):
        text = typed
    elif typed is None:
        text = "not set"
    elif isinstance(typed, list):
        text = f"[{', '.join(map(value, typed))}]"
    elif isinstance(typed, dict):
        text = f"{{{', '.join(f'{key}: {value(item)}' for key, item in typed.items())}}}"
    else:
        text = json.dumps(typed)
    return printable(text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…")


def place(source: Source) -> str:
    return printable(f"{source.file}:{source.line}")


def names(found: Sequence[str]) -> str:
    return printable(some(found, _NAMES_SHOWN))


def hit_lines(review: HostReview) -> Iterator[str]:
    for disruption, words in NOTICED.items():
        hit = [name for name, noticed in review.hit if noticed is disruption]
        if hit:
            yield f"{words}: {names(hit)}"


def adoption_lines(operations: Iterable[Operation]) -> Iterator[str]:
    """Yield what is taken over from others, and what is given back."""
    for operation in operations:
        bridge = operation.object
        if isinstance(bridge, AdoptedBridge) and operation.action is Action.ADOPT:
            found = bridge.found
            on_it = (*found.addresses, *found.ports) if found is not None else ()
            yield printable(
                f"{bridge.ifname} is adopted for {operation.unit}, with {some(on_it, _NAMES_SHOWN) or 'nothing'} on it"
            )
        elif isinstance(bridge, AdoptedBridge) and operation.action is Action.RELEASE:
            how = "as it was found" if bridge.found is not None else "as it is: how it was found is not recorded"
            yield printable(f"{bridge.ifname} is given back by {operation.unit}, {how}")


def drift_lines(operations: Iterable[Operation]) -> Iterator[str]:
    by_unit: defaultdict[Unit, list[str]] = defaultdict(list)
    for operation in operations:
        by_unit[operation.unit].append(operation.describe())
    for unit, found in sorted(by_unit.items()):
        yield printable(f"{unit}: {some(found, _OBJECTS_SHOWN)}")


def flow_lines(flows: Iterable[ReviewFlow]) -> Iterator[str]:
    for flow in flows:
        is_port = "/" in flow.what
        servers = names([f"{server}:{flow.what}" if is_port else server for server in flow.servers])
        how = printable(flow.how if is_port or not flow.what else f"{flow.what}, {flow.how}")
        families = " and ".join(f"IPv{version}" for version in flow.versions)
        yield f"{names(flow.clients)} → {servers} ({how}, {families})"


def match_lines(match: Match) -> Iterator[str]:
    """Yield what was found that somebody does not want to see."""
    where = f" on {printable(match.host)}" if match.host else ""
    for line in (*([names(match.found)] if match.found else []), *flow_lines(match.flows)):
        yield f"{match.condition}{where}: {line}"


def flow_parts(flows: FlowChanges) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield headings, and the lines below each."""
    parts = ((REACHES_NOW, flows.gained), (REACHES_NO_LONGER, flows.lost), ("reaches in another way", flows.altered))
    return ((heading, tuple(flow_lines(found))) for heading, found in parts if found)


def flow_counts(changes: Iterable[FlowChanges]) -> str:
    """Count pairs of who reaches whom."""
    changes = tuple(changes)
    gained, lost, altered = (
        sum(flow.count for flow in chain.from_iterable(found))
        for found in ((c.gained for c in changes), (c.lost for c in changes), (c.altered for c in changes))
    )
    return f"reachability: {gained} gained, {lost} lost{f', {altered} in another way' if altered else ''}"


def name_lines(known: Iterable[NameKnown]) -> Iterator[str]:
    by_owner: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in known:
        by_owner[one.network, one.attachment, one.only_to].append(one.name)
    for (network, attachment, only_to), found in sorted(by_owner.items()):
        to = f", for {only_to} alone" if only_to else ""
        yield f"{names(sorted(found))} on {printable(network)}, of {printable(attachment + to)}"


def move_line(move: Move) -> str:
    before, after = move.before or "an address that its host chose", move.after or AFTER_APPLY
    return f"{printable(move.attachment)} on {printable(move.network)}: {before} -> {after}"


def shared_title(network: SharedNetwork) -> str:
    return f"network {printable(network.name)} on {names(network.hosts)}"


def shared_parts(network: SharedNetwork) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a heading for each host that has a part in the change, and the lines below each."""
    return ((f"on {printable(part.host)}", tuple(_part_lines(part))) for part in network.parts)


def _part_lines(part: NetworkPart) -> Iterator[str]:
    for word, found in (("comes", part.come), ("goes", part.go)):
        if found:
            yield f"{word}: {names(found)}"
    for word, known in (("names that come", part.names_gained), ("names that go", part.names_lost)):
        yield from (f"{word}: {line}" for line in name_lines(known))
    yield from (f"address of {move_line(move)}" for move in part.moves)


def told_of_host(review: HostReview, shared: Iterable[SharedNetwork]) -> HostReview:
    """Leave out what is told of networks that several hosts share."""
    told = {network.name for network in shared}
    if not told:
        return review
    return replace(
        review,
        names_gained=tuple(one for one in review.names_gained if one.network not in told),
        names_lost=tuple(one for one in review.names_lost if one.network not in told),
        moves=tuple(one for one in review.moves if one.network not in told),
    )


def host_parts(review: HostReview) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what is to be said of a host: headings, and the lines below each."""
    parts = (
        ("who is hit", tuple(hit_lines(review))),
        ("bridges of others", tuple(adoption_lines(review.report.plan.operations))),
        (DRIFT, tuple(drift_lines(review.drift))),
        *flow_parts(review.flows),
        ("names that come", tuple(name_lines(review.names_gained))),
        ("names that go", tuple(name_lines(review.names_lost))),
        ("addresses", tuple(map(move_line, review.moves))),
    )
    return (part for part in parts if part[1])


def head_line(review: Review) -> str:
    against = _AGAINST.get(review.against, review.against) if review.is_of_pass else review.against
    return f"Against {printable(against)}, for {names([host.host for host in review.hosts])}"


def sum_line(review: Review) -> str:
    """Sum up, in words that scripts may look for."""
    if review.is_of_pass:
        return _sum_of_pass(review)
    if review.faults:
        words = "fault of the specs is" if len(review.faults) == 1 else f"{len(review.faults)} faults of the specs are"
        return f"Plan: not known before the {words} mended"
    changed = [host.host for host in review.hosts if host.is_changed]
    if not changed and not review.changes:
        return "Plan: nothing to do"
    return f"Plan: {len(changed)} of {len(review.hosts)} hosts change; {_counts_of(review)}"


def _sum_of_pass(review: Review) -> str:
    (host,) = review.hosts
    actions = [operation.action for operation in host.report.plan.operations]
    if not actions:
        return "Plan: nothing to do"
    drift = f" ({len(host.drift)} for drift)" if host.drift else ""
    flows = f"; {_counts_of(review)}" if host.flows or review.between else ""
    return f"Plan: {', '.join(action_counts(actions, _COUNTS))}{drift}{flows}"


def _counts_of(review: Review) -> str:
    return flow_counts((*(host.flows for host in review.hosts), review.between))
