"""What a snapshot holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from reconciler.facts import Facts
from reconciler.model.identifiers import NsRef
from reconciler.model.marks import Mark
from reconciler.model.objects import IPAddress, Seen
from reconciler.model.observed import HostPorts, SandboxFact

KIND: Final = "snapshot"
STATE_FILES: Final = ("last-good.json", "verified.json", "rolled-back.json", "suspensions.json")
"""What the guards of a pass read of the state folder."""


class Outside(Struct, frozen=True, kw_only=True):
    """A named namespace that no spec told of when the snapshot was taken: its fact, and what is in there."""

    fact: SandboxFact
    seen: tuple[Seen, ...]


class Snapshot(Struct, frozen=True, kw_only=True):
    """One host at one moment.

    state, specs: its folders. store: how its cluster's store is reached, without where. prune_limit: count and percent. place: boot
    and namespace. files: those of the state folder. records: of its own store. marks, has_members: of its bridges. facts: what its
    specs made matter, `ports` and the parents of `host` for whatever they may say. own: its addresses. others: by name.
    occupants: a process in each sandbox that has one.
    """

    host: str
    state: str
    specs: str
    is_bridge_enabled: bool
    store: str
    prune_limit: tuple[int, int]
    place: str
    files: Mapping[str, Mapping[str, object]]
    records: Mapping[str, str]
    marks: tuple[Mark, ...]
    has_members: bool
    facts: Facts
    ports: HostPorts
    own: frozenset[IPAddress]
    others: Mapping[NsRef, Outside]
    occupants: Mapping[NsRef, str]
