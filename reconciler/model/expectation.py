"""Who shall reach whom, or shall not: what the people who write specs hold to be true of them."""

from __future__ import annotations

from msgspec import Struct

from reconciler.model.wanted import Pairs, Source


class Parties(Struct, frozen=True, kw_only=True):
    """Whom an expectation is about. name: `host`, `outside`, or attachments by name or glob, else the members of networks.

    network, labels: members of networks by name or glob, or by their labels, all of which must fit.
    """

    source: Source
    name: str = ""
    network: str = ""
    labels: Pairs = ()

    def __str__(self) -> str:
        if self.name:
            return self.name
        return f"network {self.network}" if self.network else f"labels {', '.join(f'{k}={v}' for k, v in self.labels)}"


class Expectation(Struct, frozen=True, kw_only=True):
    """client reaches server, or does not. port: where the server listens, 0 for any. protocol: "" for any. why: for the reader."""

    source: Source
    client: Parties
    server: Parties
    port: int = 0
    protocol: str = ""
    is_reached: bool
    why: str = ""
