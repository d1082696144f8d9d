"""A promise in the key-value store. value: JSON with sorted keys."""

from __future__ import annotations

import json
from typing import ClassVar

from reconciler.model.kinds.base import OwnerLookup, Record, Traits, kept_record
from reconciler.model.units import HOST_UNIT, Unit


class KvRecord(Record, frozen=True, kw_only=True):
    """A promise in the key-value store. value: JSON with sorted keys."""

    kind: ClassVar[str] = "KvRecord"
    traits: ClassVar[Traits] = kept_record(0)
    path: str
    value: str

    @property
    def is_of_setting(self) -> bool:
        """Whether it says what a setting was before us."""
        return self.path.startswith("sysctl/")

    def describe(self) -> str:
        return f"record {self.path}"

    def owner(self, owners: OwnerLookup) -> Unit | None:
        return _adopter(self.value) if self.path.startswith("adopted/") else record_unit(self.path)


def record_unit(path: str) -> Unit:
    """Return the unit that a promise belongs to, the host's when the path names none.

    Paths: `network/<name>`, `endpoint/<network>/<attachment>`, `ports/<attachment>`,
    `sandbox/<attachment>/<namespace>`, `sysctl/<namespace>/<name>`. Of adopted bridges (`adopted/<link>`) the record itself
    names the network.
    """
    match path.split("/"):
        case ["network", network]:
            return Unit(network=network)
        case ["endpoint", network, attachment]:
            return Unit(network=network, attachment=attachment)
        case ["ports", attachment] | ["sandbox", attachment, _]:
            return Unit(attachment=attachment)
    return HOST_UNIT


def _adopter(value: str) -> Unit:
    """Return the network that took a bridge over: as long as it could not give it back, what is known of it stays."""
    try:
        network = json.loads(value)["network"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return HOST_UNIT
    return Unit(network=network) if isinstance(network, str) else HOST_UNIT
