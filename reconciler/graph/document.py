"""What a drawing says, as JSON for the page: places and parties by their number, sets of parties as bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.graph.labels import SIGNS, driver_class, driver_colour, network_words, place_mark
from reconciler.graph.make_topology import Subject
from reconciler.graph.reaching import ReachFlow, Reaching, Why
from reconciler.graph.topology import Attachment, Network, Place, Topology
from reconciler.reach.reachability import Bits
from reconciler.reach.values import Party, PartyKind, Step
from reconciler.records.document import json_bytes

Json = dict[str, "Json"] | list["Json"] | str | int | bool | None


def document(topology: Topology, reaching: Reaching, subjects: Sequence[Subject] = ()) -> bytes:
    """Return the JSON. subjects: know the lines that reasons stand on."""
    return json_bytes({**_drawn(topology), "reach": _Reach(topology, reaching, subjects).document()})


def _drawn(topology: Topology) -> dict[str, Json]:
    hosts = {host.name: number for number, host in enumerate(topology.hosts)}
    networks = {(one.host, one.name): number for number, one in enumerate(topology.networks)}
    drivers = sorted(
        {driver_class(network.driver): driver_colour(network.driver) for network in topology.networks}.items()
    )
    return {
        "hosts": [host.name for host in topology.hosts],
        "networks": [_network(network, hosts) for network in topology.networks],
        "attachments": [_attachment(one, hosts, networks) for one in topology.attachments],
        "drivers": [[name, colour] for name, colour in drivers],
        "signs": {str(mark): sign for mark, sign in SIGNS.items() if mark},
        "isChange": topology.is_change,
    }


def _network(network: Network, hosts: Mapping[str, int]) -> dict[str, Json]:
    return {
        "host": hosts.get(network.host, -1),
        "name": network.name,
        "driver": network.driver,
        "class": driver_class(network.driver),
        "words": [word for word in network_words(network) if word not in (network.driver, "internal")],
        "internal": network.is_internal,
        "declared": network.declared,
        "mark": str(network.mark),
    }


def _attachment(
    attachment: Attachment, hosts: Mapping[str, int], networks: Mapping[tuple[str, str], int]
) -> dict[str, Json]:
    def number_of(place: Place) -> int:
        own = networks.get((attachment.host, place.network))
        return networks.get(("", place.network), -1) if own is None else own

    return {
        "host": hosts[attachment.host],
        "name": attachment.name,
        "sandbox": attachment.sandbox,
        "places": [_place(attachment, place, number_of(place)) for place in attachment.places],
        "links": [[link.target, link.alias, str(link.mark)] for link in attachment.links],
        "declared": attachment.declared,
        "note": attachment.note,
        "elsewhere": attachment.is_elsewhere,
        "mark": str(attachment.mark),
    }


def _place(attachment: Attachment, place: Place, network: int) -> dict[str, Json]:
    return {
        "network": network,
        "addresses": list(place.addresses),
        "was": list(place.was),
        "aliases": list(place.aliases),
        "ports": [[port.text, str(port.mark)] for port in place.ports],
        "isDefault": place.is_default,
        "isGateway": place.is_gateway,
        "mark": str(place_mark(attachment, place)),
    }


_KINDS: Final = {PartyKind.ATTACHMENT: "attachment", PartyKind.HOST: "host", PartyKind.OUTSIDE: "outside"}


class _Reach:
    """sets, steps, rows: what flows have in common stands once."""

    def __init__(self, topology: Topology, reaching: Reaching, subjects: Sequence[Subject]) -> None:
        self._reaching, self._subjects = reaching, subjects
        self._hosts = {host.name: number for number, host in enumerate(topology.hosts)}
        self._attachments = {(one.host, one.name): number for number, one in enumerate(topology.attachments)}
        self._sets: dict[Bits, int] = {}
        self._steps: dict[Step, int] = {}
        self._rows: dict[tuple[Why, ...], int] = {}

    def document(self) -> dict[str, Json]:
        found = self._reaching
        flows: list[Json] = [self._flow(flow) for flow in found.flows]
        refusals = self._row(found.refusals)
        reasons: list[Json] = [[self._step(step) for step in steps] for steps in found.reasons]
        rows: list[Json] = [
            [number for why in row for number in (self._set(why.clients), self._set(why.servers), why.reason)]
            for row in self._rows
        ]
        return {
            "parties": [self._party(party) for party in found.parties],
            "flows": flows,
            "rows": rows,
            "refusals": refusals if found.refusals else -1,
            "reasons": reasons,
            "steps": [[step.text, *self._unit(step), self._line(step)] for step in self._steps],
            "sets": [_members(bits) for bits in self._sets],
        }

    def _flow(self, flow: ReachFlow) -> list[Json]:
        who = self._set(flow.clients), self._set(flow.servers)
        return [flow.what, flow.how, flow.place, [*flow.versions], *who, self._row(flow.whys)]

    def _set(self, bits: Bits) -> int:
        return self._sets.setdefault(bits, len(self._sets))

    def _step(self, step: Step) -> int:
        return self._steps.setdefault(step, len(self._steps))

    def _row(self, whys: Iterable[Why]) -> int:
        return self._rows.setdefault(tuple(whys), len(self._rows))

    def _party(self, party: Party) -> Json:
        host = self._hosts.get(party.host, -1)
        return [_KINDS[party.kind], host, party.name, self._attachments.get((party.host, party.name), -1)]

    def _unit(self, step: Step) -> tuple[str, str]:
        """Return network and attachment on whose declaration a step stands."""
        return ("", "") if step.unit is None else (step.unit.network, step.unit.attachment)

    def _line(self, step: Step) -> str:
        """Return where the field is that a step stands on; "" where that is all of its unit."""
        if step.unit is None or not step.field:
            return ""
        lines = (subject.declared(step.unit, step.field) for subject in self._subjects)
        return next(filter(None, lines), "")


def _members(bits: Bits) -> Json:
    """Return a set as hexadecimal digits, the last for the first four parties; one with few members as their numbers."""
    if bits.bit_count() * 5 < bits.bit_length() // 4:
        return [*_numbers(bits)]
    return f"{bits:x}"


def _numbers(bits: Bits) -> Iterable[int]:
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1
