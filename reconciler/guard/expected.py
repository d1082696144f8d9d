"""Whether the specs bring about what they expect, on all hosts that they name. Asks no host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.guard.foresight import on_any_host
from reconciler.settings import Settings
from reconciler.spec.document import Document
from reconciler.spec.fields import is_glob
from reconciler.spec.files import HOSTS
from reconciler.spec.load import LoadedSpecs, load_specs


def named_hosts(folder: Path, loaded: LoadedSpecs) -> Iterable[str]:
    """Return the hosts that the specs name: in `hosts:`, and as files of variables."""
    for document in loaded.documents:
        for _, value in document.entries("attachments"):
            hosts = value.get("hosts") if isinstance(value, dict) else None
            patterns: Sequence[object] = [hosts] if isinstance(hosts, str) else hosts if isinstance(hosts, list) else ()
            yield from (one for one in patterns if isinstance(one, str) and not is_glob(one))
    yield from (path.stem for path in (folder / HOSTS).glob("*.yaml"))


def unmet_expectations(loaded: LoadedSpecs, settings: Settings) -> tuple[SpecError, ...]:
    """Return a fault for each expectation that the specs do not bring about. Faults, of whatever host's, are to be mended first."""
    if not loaded.expectations or loaded.faults:
        return ()
    from reconciler.reach.stand_ins import walk_of  # imported by those who expect something
    from reconciler.review.expectations import unmet

    loads, states = [loaded], [on_any_host(loaded.wanted, settings)]
    for host in sorted({*named_hosts(settings.specs_dir, loaded)} - {settings.host}):
        other = load_specs(
            settings.specs_dir,
            host=host,
            is_bridge_enabled=settings.is_bridge_enabled,
            previous=loaded,
            is_for_host_alone=True,
        )
        if other.faults:
            return other.faults
        loads.append(other)
        states.append(on_any_host(other.wanted, replace(settings, host=host)))
    return tuple(unmet(loaded.expectations, walk_of(states), documents_of(loads)))


def documents_of(loads: Iterable[LoadedSpecs]) -> tuple[Document, ...]:
    """Return the documents of several hosts, those that they share once."""
    return tuple({id(each): each for loaded in loads for each in loaded.documents}.values())
