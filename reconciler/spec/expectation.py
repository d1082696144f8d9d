"""`expect:` of a spec file -> who shall reach whom; parties that nobody declares are faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, model_validator

from reconciler.errors import SpecError
from reconciler.model.expectation import Expectation, Parties
from reconciler.model.wanted import NetworkWanted
from reconciler.spec.attachment import Protocol
from reconciler.spec.document import Document, Path, Tree, shown
from reconciler.spec.fields import Labels, SchemaForm, Text, is_glob
from reconciler.spec.spec_model import SpecModel

HOST_AND_OUTSIDE: Final = ("host", "outside")


class PartiesSpec(SpecModel):
    name: Text = Field(default="", description="host, outside, or attachments by name or glob, else networks")
    network: Text = Field(default="", description="members of networks by name or glob")
    labels: Labels = Field(default=(), description="members of networks with all of these labels")

    @model_validator(mode="after")
    def _one_of_them(self) -> PartiesSpec:
        if sum(map(bool, (self.name, self.network, self.labels))) != 1:
            raise ValueError("expected a name, or one of 'name', 'network' and 'labels'")
        return self


def _by_name(value: Tree) -> Tree:
    return {"name": value} if isinstance(value, str | int) else value


def _or_name(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "string"}, schema]}


PartiesField = Annotated[PartiesSpec, BeforeValidator(_by_name), SchemaForm(_or_name)]


class ExpectationSpec(SpecModel):
    """`{from, to, port, protocol, reach, why}`."""

    client: PartiesField = Field(alias="from", description="who asks")
    server: PartiesField = Field(alias="to", description="who is asked")
    port: int = Field(default=0, gt=0, lt=65536, description="where the one asked listens; default any")
    protocol: Protocol | None = Field(default=None, description="default any")
    reach: bool = Field(description="whether the one shall reach the other")
    why: Text = Field(default="", description="for whoever breaks it")


def expectation(document: Document, index: int, spec: ExpectationSpec) -> Expectation:
    place: Path = ("expect", index)
    return Expectation(
        source=document.source(place),
        client=_parties(document, (*place, "from"), spec.client),
        server=_parties(document, (*place, "to"), spec.server),
        port=spec.port,
        protocol=spec.protocol or "",
        is_reached=spec.reach,
        why=spec.why,
    )


def _parties(document: Document, place: Path, spec: PartiesSpec) -> Parties:
    return Parties(source=document.source(place), name=spec.name, network=spec.network, labels=spec.labels)


def party_faults(
    expectations: Iterable[Expectation], attachments: Iterable[str], networks: Mapping[str, NetworkWanted | None]
) -> Iterator[SpecError]:
    """Find parties that nobody declares, on whatever host."""
    known = set(attachments)
    for one in expectations:
        for parties in (one.client, one.server):
            text = _unknown(parties, known, networks)
            if text:
                yield SpecError(parties.source.file, parties.source.line, parties.source.column, text)


def _unknown(parties: Parties, attachments: set[str], networks: Mapping[str, NetworkWanted | None]) -> str:
    if parties.labels:
        labels = (network.labels for network in networks.values() if network is not None)
        return "" if any(set(parties.labels) <= set(found) for found in labels) else f"no network has the {parties}"
    name = parties.name or parties.network
    among = set(networks) if parties.network else {*attachments, *networks, *HOST_AND_OUTSIDE}
    if fits(name, among):
        return ""
    what = "network" if parties.network else "attachment or network"
    near = get_close_matches(name[:64], sorted(among), n=1)
    hint = f": did you mean '{near[0]}'?" if near else ""
    return f"{what} {shown(name)} not found{hint}"


def fits(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a name or glob stands for."""
    if not is_glob(pattern):
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatchcase(name, pattern)]
