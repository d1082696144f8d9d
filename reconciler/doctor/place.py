"""What checks look at: each part is read when the first check asks for it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from reconciler.backends import Backends
from reconciler.decide import Decision
from reconciler.errors import ReconcilerError, SpecError
from reconciler.facts import Facts
from reconciler.kinds.view import NamespaceView
from reconciler.model.desired import DesiredNetwork
from reconciler.model.identifiers import HOST
from reconciler.observe.host_facts import uplink_index
from reconciler.observe.sandboxes import view
from reconciler.pipeline import Look, load, look
from reconciler.records.file import beginning
from reconciler.settings import Settings
from reconciler.spec.load import NOTHING, LoadedSpecs

_FILE_MAX = 1 << 20


class Place(Struct, kw_only=True, dict=True):
    """A host with its settings. backends: for reading only. root: what other programs' files are looked for below."""

    settings: Settings
    backends: Backends
    root: Path = Path("/")

    @cached_property
    def view(self) -> NamespaceView:
        """What the host's own namespace has. Raises KernelError."""
        return view(self.backends.namespaces, HOST)

    @cached_property
    def specs(self) -> LoadedSpecs:
        """The specs; nothing where their folder cannot be looked through, with the fault."""
        try:
            return load(self.settings)
        except SpecError as fault:
            return replace(NOTHING, faults=(fault,))

    @cached_property
    def _looked(self) -> Look | ReconcilerError:
        try:
            return look(self.specs.wanted, self.settings, self.backends)
        except ReconcilerError as error:
            return error

    @property
    def failure(self) -> ReconcilerError | None:
        """Why it could not be worked out what the specs come to here."""
        return self._looked if isinstance(self._looked, ReconcilerError) else None

    @property
    def facts(self) -> Facts | None:
        return None if isinstance(self._looked, ReconcilerError) else self._looked.facts

    @property
    def decision(self) -> Decision | None:
        return None if isinstance(self._looked, ReconcilerError) else self._looked.decision

    @property
    def networks(self) -> tuple[DesiredNetwork, ...]:
        """All that the specs come to here, and those that stay as they are."""
        desired = None if self.decision is None else self.decision.desired
        return () if desired is None else (*desired.networks, *desired.held_networks)

    @property
    def bridges(self) -> tuple[DesiredNetwork, ...]:
        """Networks whose members' packets the host forwards: those with a bridge on it that lead outside."""
        return tuple(n for n in self.networks if n.is_bridged and n.ns == HOST and not n.wanted.is_internal)

    @property
    def built(self) -> frozenset[str]:
        """Names of bridges that are there and ours, or adopted."""
        ours = (link for link in self.view.links if link.is_ours or link.is_adopted)
        return frozenset(link.ifname for link in ours if link.kind == "bridge")

    @property
    def uplink(self) -> str:
        """The link of the default route, "" without one."""
        index = uplink_index(self.view.routes)
        return next((link.ifname for link in self.view.links if link.ifindex == index), "")

    @property
    def underlay(self) -> str:
        """The link by which other hosts of the cluster reach this one, "" outside a cluster."""
        vtep = None if self.facts is None else self.facts.host.vtep
        found = (entry.ifindex for entry in self.view.addresses if vtep is not None and entry.address == vtep.packed)
        index = next(found, 0)
        return next((link.ifname for link in self.view.links if link.ifindex == index), "")

    def file(self, path: str) -> str | None:
        """Return the text of a file of somebody else, its first MiB; None when there is none that can be read."""
        try:
            return beginning(self.root / path.lstrip("/"), _FILE_MAX)
        except OSError:
            return None

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        """Return the texts of the files of a folder, by path and in the order of their names."""
        try:
            names = sorted(path.name for path in (self.root / folder.lstrip("/")).iterdir() if path.suffix == suffix)
        except OSError:
            return {}
        paths = [f"{folder}/{name}" for name in names[:_FILES_MAX]]
        return {path: text for path in paths if (text := self.file(path)) is not None}


_FILES_MAX = 1000
