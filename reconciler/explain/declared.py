"""What the specs declare for all hosts that they name, ready to be asked; and the same after an edit of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.guard.expected import documents_of, named_hosts
from reconciler.guard.foresight import on_any_host
from reconciler.model.desired import DesiredState
from reconciler.reach.stand_ins import walk_of
from reconciler.reach.walk import Walk
from reconciler.settings import Settings
from reconciler.spec.document import Document
from reconciler.spec.load import LoadedSpecs, load_specs


class DeclaredHosts(Struct, frozen=True, kw_only=True, dict=True):
    """loads, states: by host."""

    settings: Settings
    loads: Mapping[str, LoadedSpecs]
    states: Mapping[str, DesiredState]

    @cached_property
    def walk(self) -> Walk:
        return walk_of(self.states.values())

    @cached_property
    def documents(self) -> tuple[Document, ...]:
        return documents_of(self.loads.values())

    @cached_property
    def faults(self) -> tuple[SpecError, ...]:
        return tuple({str(fault): fault for loaded in self.loads.values() for fault in loaded.faults}.values())


def declared(settings: Settings) -> DeclaredHosts:
    """Read the specs for this host and all that they name. Raises SpecError when the folder cannot be looked through."""
    loaded = _load(settings, settings.host, None)
    if not loaded.is_listed:
        raise loaded.faults[0]
    others = sorted({*named_hosts(settings.specs_dir, loaded)} - {settings.host})
    return decided(settings, {settings.host: loaded, **{host: _load(settings, host, loaded) for host in others}})


def _load(settings: Settings, host: str, previous: LoadedSpecs | None) -> LoadedSpecs:
    return load_specs(
        settings.specs_dir,
        host=host,
        is_bridge_enabled=settings.is_bridge_enabled,
        previous=previous,
        is_for_host_alone=previous is not None,
    )


def decided(settings: Settings, loads: Mapping[str, LoadedSpecs]) -> DeclaredHosts:
    """Make all choices as on hosts where there is nothing."""
    states = {host: on_any_host(loaded.wanted, replace(settings, host=host)) for host, loaded in loads.items()}
    return DeclaredHosts(settings=settings, loads=loads, states=states)
