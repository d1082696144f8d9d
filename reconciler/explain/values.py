"""What is asked, and what is told of it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from reconciler.model.objects import IPAddress, Unit
from reconciler.model.wanted import Source
from reconciler.reach.values import Party
from reconciler.review.questions import AskedPort


class Verdict(StrEnum):
    YES = "yes"
    NO = "no"
    UNKNOWN = "not known"
    """What decides is in no spec."""


class About(StrEnum):
    """What a sentence is about, in the order in which a packet meets it."""

    NAME = "name"
    INTERFACE = "interface"
    ADDRESS = "address"
    ROUTE = "route"
    NETWORK = "network"
    FIREWALL = "firewall"
    PORT = "port"
    SPECS = "specs"
    HOST = "host"


class Question(Struct, frozen=True, kw_only=True):
    """client: who asks. servers: who is meant, more than one where several hosts have it. address: what is asked instead of those.

    name: as it was typed. is_alias: it is no attachment's own name.
    """

    client: Party
    servers: tuple[Party, ...] = ()
    at: AskedPort = AskedPort()
    address: IPAddress | None = None
    name: str = ""
    is_alias: bool = False


class Sentence(Struct, frozen=True, kw_only=True):
    """One step of a path, or one reason. source: the line that it comes from. unit: whose objects bring it about.

    kernel: what this host has otherwise of it; None where nobody looked, or where there is nothing to look at.
    """

    about: About
    text: str
    source: Source | None = None
    unit: Unit | None = None
    kernel: tuple[str, ...] | None = None


Reason = tuple[Sentence, ...]
"""The last one says why; those before lead there."""


class SpecEdit(Struct, frozen=True, kw_only=True):
    """An edit of the specs. source: where."""

    text: str
    source: Source


class Explanation(Struct, frozen=True, kw_only=True):
    """client, server: as they are told. path: when the answer is yes. reasons: when it is not, all that differ.

    version: of IP, of the path; 0 without one. changes: the shortest that makes it a yes, () where none is known. notes: what to
    know besides. probes: packets that were sent. Where this host lacks something of a path that the specs bring about, the answer
    is no, with the path and the reasons.
    """

    client: str
    server: str
    verdict: Verdict
    path: tuple[Sentence, ...] = ()
    version: int = 0
    reasons: tuple[Reason, ...] = ()
    changes: tuple[SpecEdit, ...] = ()
    notes: tuple[Sentence, ...] = ()
    probes: tuple[Sentence, ...] = ()
