"""What this host has of a path: the pass' own look, held against each step. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler import pipeline
from reconciler.backends import Backends
from reconciler.errors import ReconcilerError
from reconciler.explain.declared import DeclaredHosts
from reconciler.explain.values import About, Explanation, Question, Reason, Sentence, Verdict
from reconciler.firewall.transit import TRANSIT_SETS, is_dropping
from reconciler.model.desired import DesiredEndpoint, DesiredState, RemoteEndpoint
from reconciler.model.objects import CLUSTER_UNIT, HOST_UNIT, Address, FirewallElement, Object, Route, Sysctl, Unit
from reconciler.model.plan import Action, Operation
from reconciler.model.words import some, without
from reconciler.reach.values import Party, PartyKind
from reconciler.status.reasons import MEANINGS
from reconciler.status.verdict import reason_of

_LINKS: Final = frozenset({"VethPair", "Macvlan", "Ipvlan", "PluginLink", "Address", "LinkUp"})
_KINDS: Final = {
    About.INTERFACE: _LINKS,
    About.ROUTE: frozenset({"Route"}),
    About.NETWORK: frozenset({"Bridge", "DeadEnd", "Vlan", "Vxlan", "FdbEntry", "Neighbour"}),
    About.FIREWALL: frozenset({"FirewallElement"}),
    About.PORT: frozenset({"FirewallElement"}),
}
"""Kinds of objects that bring about what a sentence says."""
_CARRYING: Final = frozenset().union(*_KINDS.values(), {"Namespace", "FirewallRules"})
"""Kinds without which no packet goes its way."""
_WORDS: Final = {Action.CREATE: "missing", Action.UPDATE: "differs", Action.DELETE: "is there, and should not be"}
_SHOWN: Final = 2
_PUBLISHED: Final = "published"
"""How the names of sets begin by which ports are published."""


class Present(Struct, frozen=True, kw_only=True):
    """specs: with the choices of this host as it is. view: what was looked at, decided, and is lacking."""

    specs: DeclaredHosts
    view: pipeline.Look

    @property
    def host(self) -> str:
        return self.specs.settings.host


def look_at_host(specs: DeclaredHosts, backends: Backends) -> Present:
    """Look at this host as a pass does."""
    settings = specs.settings
    loaded = pipeline.load(settings)
    view = pipeline.look(loaded.wanted, settings, backends)
    loads = {**specs.loads, settings.host: loaded}
    desired = view.decision.desired
    failures = (*desired.failures, *(each for each in view.plan.problems if each not in desired.failures))
    others = {host: _as_told(state, desired) for host, state in specs.states.items() if host != settings.host}
    states = {settings.host: replace(desired, failures=failures), **others}
    return Present(specs=replace(specs, loads=loads, states=states), view=view)


def _as_told(other: DesiredState, here: DesiredState) -> DesiredState:
    """Return what another host has, with what this one is told of it: its addresses on networks that both share."""
    shared = {network.name: network for network in here.networks if network.scope == "global"}
    remotes = {
        (remote.name, remote.network): remote
        for network in shared.values()
        for remote in network.remote_endpoints
        if remote.host == other.host.name
    }
    attachments = tuple(
        replace(one, endpoints=tuple(_with_addresses(endpoint, remotes) for endpoint in one.endpoints))
        for one in other.attachments
    )
    networks = tuple(shared.get(network.name, network) for network in other.networks)
    return replace(other, attachments=attachments, networks=networks)


def _with_addresses(endpoint: DesiredEndpoint, remotes: Mapping[tuple[str, str], RemoteEndpoint]) -> DesiredEndpoint:
    remote = remotes.get((endpoint.attachment, endpoint.network))
    return endpoint if remote is None else replace(endpoint, ipv4=remote.ipv4, ipv6=remote.ipv6)


def beside_host(explanation: Explanation, question: Question, present: Present) -> Explanation:
    """Add to each step what this host has of it. What is lacking makes a yes a no."""
    path = tuple(_seen(explanation, present))
    if not explanation.path:
        reasons = (*explanation.reasons, *_in_transit(question, present))
        return replace(
            explanation,
            path=path,
            reasons=reasons,
            notes=(*explanation.notes, *_troubles(question, explanation.reasons, present)),
        )
    units = [sentence.unit for sentence in path if sentence.unit is not None]
    reasons = (*_failed(units, present), *_lacking(explanation, present), *_not_told(question, present))
    verdict = Verdict.NO if reasons else explanation.verdict
    notes = (*explanation.notes, *_of_cluster(question, present))
    return replace(explanation, path=path, reasons=(*reasons, *explanation.reasons), notes=notes, verdict=verdict)


# --- what a step has


def _seen(explanation: Explanation, present: Present) -> Iterator[Sentence]:
    lacking = _by_sentence(explanation, present.view.plan.operations)
    for index, sentence in enumerate(explanation.path):
        wrong = tuple(f"{_WORDS[one.action]}: {one.object.describe()}" for one in lacking.get(index, ()))
        yield replace(sentence, kernel=wrong or tuple(_as_declared(sentence, present)))


def _by_sentence(explanation: Explanation, operations: Iterable[Operation]) -> dict[int, list[Operation]]:
    """Return what is lacking by the number of the sentence that it belongs to: its own unit's, else one that needs that unit."""
    path = explanation.path
    found: dict[int, list[Operation]] = {}
    for operation in sorted(operations, key=lambda one: one.object.kind == FirewallElement.kind):
        if operation.is_news or not _is_needed(operation.object, explanation):
            continue
        fitting = [i for i, one in enumerate(path) if one.unit == operation.unit]
        kinds = [i for i in fitting if operation.object.kind in _KINDS.get(path[i].about, ())]
        kinds = kinds or [i for i in fitting if path[i].about is About.INTERFACE]
        needing = [i for i, one in enumerate(path) if one.unit is not None and operation.unit in one.unit.parents()]
        for index in (kinds or fitting or needing)[:1]:
            found.setdefault(index, []).append(operation)
    return found


def _is_needed(one: Object, explanation: Explanation) -> bool:
    """Return whether packets of a path need it: what is of their family; routes, and what publishes, where they go that way."""
    if isinstance(one, Sysctl):
        return one.name.endswith(("forward", "forwarding"))
    if isinstance(one, Address):
        return one.interface.version == explanation.version
    if isinstance(one, FirewallElement):
        if one.set_name in TRANSIT_SETS:
            return False
        is_published = not one.set_name.startswith(_PUBLISHED) or any(
            each.about is About.PORT for each in explanation.path
        )
        return is_published and one.set_name[-1] not in {"4", "6"} - {str(explanation.version)}
    if isinstance(one, Route):
        is_used = any(
            each.about is About.PORT or (each.about is About.ROUTE and _is_of_member(each)) for each in explanation.path
        )
        return is_used and one.destination.version == explanation.version
    return one.kind in _CARRYING


def _is_of_member(sentence: Sentence) -> bool:
    return sentence.unit is not None and sentence.unit.attachment != ""


def _as_declared(sentence: Sentence, present: Present) -> Iterator[str]:
    """Yield the objects of a sentence, which this host has as they are declared."""
    kinds = _KINDS.get(sentence.about, frozenset())
    objects = [one for one in present.view.decision.objects.values() if one.unit == sentence.unit and one.kind in kinds]
    described = sorted(one.describe() for one in objects if _is_named(one, sentence))
    if sentence.unit is not None and described:
        yield f"as declared: {some(described, _SHOWN)}"


def _is_named(one: Object, sentence: Sentence) -> bool:
    """Return whether a sentence speaks of an object: of addresses and elements of sets it names those that it means."""
    if isinstance(one, Address):
        return str(one.interface.ip) in sentence.text
    return not isinstance(one, FirewallElement) or one.set_name in sentence.text


# --- why it is a no


def _failed(units: Iterable[Unit], present: Present) -> Iterator[Reason]:
    """Yield what a pass leaves alone of units that the path needs, and why."""
    problems = _problems(present)
    needed = {each for unit in units for each in (unit, *unit.parents())}
    for unit, error in problems:
        if unit in needed:
            yield (_trouble(unit, error),)


def _problems(present: Present) -> list[tuple[Unit, ReconcilerError]]:
    found = present.specs.states[present.host].failures
    return [*{(unit, str(error)): (unit, error) for unit, error in found}.values()]


def _trouble(unit: Unit, error: ReconcilerError) -> Sentence:
    reason = reason_of(type(error))
    advice = MEANINGS[reason].advice
    text = f"{unit} is left as it is on this host, {reason}: {without(str(error), *unit.names())}"
    return Sentence(about=About.HOST, text=f"{text}; {advice}" if advice else text, unit=unit)


def _in_transit(question: Question, present: Present) -> Iterator[Reason]:
    """Yield that nothing goes through this host to what is beyond other links of it, where it forwards for us alone."""
    address, objects = question.address, present.view.decision.objects
    is_outside = question.client.kind is PartyKind.OUTSIDE and question.client.host == present.host
    if is_outside and address is not None and is_dropping(objects, address.version):
        text = (
            f"to what is of none of our networks this host forwards no IPv{address.version} packets: it forwarded none before us; "
            "`--ip-forward-no-drop` lets them through"
        )
        yield (Sentence(about=About.FIREWALL, text=text, unit=HOST_UNIT),)


def _troubles(question: Question, reasons: Iterable[Reason], present: Present) -> Iterator[Sentence]:
    """Yield what is wrong on this host with those who are asked about, when the answer is no anyway."""
    named = {each for one in (question.client, *question.servers) for each in _units_of(one, present)}
    named |= {each.unit for reason in reasons for each in reason if each.unit is not None}
    for unit, error in _problems(present):
        if unit in named:
            yield _trouble(unit, error)


def _units_of(party: Party, present: Present) -> Iterator[Unit]:
    """Yield what a party of this host stands on: itself, its networks, its endpoints, the host."""
    site = present.specs.walk.sites[party.host]
    for endpoint in site.members[party.name].endpoints if party.kind is PartyKind.ATTACHMENT else ():
        yield from (endpoint.unit, *endpoint.unit.parents())


def _lacking(explanation: Explanation, present: Present) -> Iterator[Reason]:
    """Yield the steps that this host lacks something of."""
    path, lacking = explanation.path, _by_sentence(explanation, present.view.plan.operations)
    for index, operations in sorted(lacking.items()):
        missing = some([f"{one.object.describe()} ({_WORDS[one.action]})" for one in operations], _SHOWN)
        about = path[index].about
        text = f"this host is not as declared: {missing}; `reconcile` puts it right"
        yield (replace(path[index], about=about, text=text, kernel=None),)


def _not_told(question: Question, present: Present) -> Iterator[Reason]:
    """Yield that the cluster knows nothing of a server on another host, or knows it on another."""
    client = question.client
    for server in question.servers if client.host == present.host else ():
        if server.kind is PartyKind.ATTACHMENT and server.host != present.host and not _is_told(server, present):
            text = (
                f"the cluster's store tells this host nothing of {server} on {server.host}: that host has not made it yet, "
                "is not running, or the store is not up to date"
            )
            yield (Sentence(about=About.NETWORK, text=text, unit=HOST_UNIT),)


def _of_cluster(question: Question, present: Present) -> Iterator[Sentence]:
    """Yield what is in the way of what hosts tell each other, where the other is on another host: what they told stays."""
    is_far = any(server.host != question.client.host for server in question.servers)
    for unit, error in _problems(present) if is_far else ():
        if unit == CLUSTER_UNIT:
            yield _trouble(unit, error)


def _is_told(server: Party, present: Present) -> bool:
    networks = present.view.decision.desired.networks
    return any(remote.name == server.name for network in networks for remote in network.remote_endpoints)
