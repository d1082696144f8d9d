"""A promise in the key-value store. value: JSON with sorted keys."""

from __future__ import annotations

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
        return record_unit(self.path)


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
