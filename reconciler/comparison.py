"""Two versions of the specs, compared for many hosts at once. Asks no host, needs no rights, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from reconciler.errors import ConfigError, SpecError
from reconciler.git_tree import laid_out
from reconciler.guard.expected import documents_of, named_hosts, unmet_expectations
from reconciler.guard.rehearsal import between
from reconciler.model.desired import DesiredState
from reconciler.model.report import Report
from reconciler.reach.stand_ins import walk_of
from reconciler.review.entries import Entry, differing_entries, entry_changes
from reconciler.review.expectations import unmet
from reconciler.review.flows import BETWEEN, flow_changes
from reconciler.review.make_review import host_review, review_of
from reconciler.review.values import NO_CHANGES, EntryChange, Review
from reconciler.settings import Settings
from reconciler.spec.fields import is_glob
from reconciler.spec.load import LoadedSpecs, load_specs

ALL: Final = "all"


def compare_with_revision(settings: Settings, target: str, hosts: str = ALL, hosts_file: Path | None = None) -> Review:
    """Review the specs against what `REV[:PATH]` of their repository has.

    hosts: `all` that the specs name, or names and globs with commas. hosts_file: more names, one a line.
    Raises RevisionUnreadable, ConfigError for hosts that there are none of, SpecError when the folder cannot be looked through.
    """
    with laid_out(target, settings.specs_dir) as laid:
        before = _Version(folder=laid.folder, shown_as=settings.specs_dir)
        after = _Version(folder=settings.specs_dir)
        return _compared(before, after, laid.name, settings, hosts, hosts_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    folder: Path
    shown_as: Path | None = None

    def load(
        self, settings: Settings, host: str, previous: LoadedSpecs | None, *, is_for_host_alone: bool = True
    ) -> LoadedSpecs:
        loaded = load_specs(
            self.folder,
            host=host,
            is_bridge_enabled=settings.is_bridge_enabled,
            previous=previous,
            shown_as=self.shown_as,
            is_for_host_alone=is_for_host_alone,
        )
        if not loaded.is_listed:
            raise loaded.faults[0]
        return loaded


def _compared(
    before: _Version, after: _Version, name: str, settings: Settings, hosts: str, hosts_file: Path | None
) -> Review:
    first = after.load(settings, settings.host, None)
    was = before.load(settings, settings.host, first)
    known = sorted({*named_hosts(before.folder, was), *named_hosts(after.folder, first), *_listed(hosts_file)})
    loads: list[tuple[LoadedSpecs, LoadedSpecs]] = []
    states: list[tuple[DesiredState, Report]] = []
    for index, host in enumerate(_chosen(hosts, known, settings.host)):
        old = before.load(settings, host, was, is_for_host_alone=index > 0)
        new = after.load(settings, host, first, is_for_host_alone=index > 0)
        loads.append((old, new))
        states.append(between(old, new, replace(settings, host=host)))
    walks = walk_of(had for had, _ in states), walk_of(report.desired for _, report in states)
    differing: dict[tuple[int, ...], tuple[Entry, ...]] = {}
    changes: dict[str, tuple[EntryChange, ...]] = {}
    for (old, new), (_, report) in zip(loads, states, strict=True):
        documents = tuple(map(id, (*old.documents, *new.documents)))
        if documents not in differing:  # hosts differ by what their templates give alone
            differing[documents] = differing_entries(old.documents, new.documents)
        changes[report.desired.host.name] = entry_changes(differing[documents], old.wanted, new.wanted)
    if any(old.faults for old, _ in loads):
        name = f"{name}, without what has faults there"
    faults: Iterable[SpecError] = ()
    if not any(report.spec_faults for _, report in states):
        expected, declared = loads[0][1].expectations, documents_of(new for _, new in loads)
        is_whole = {*walks[1].sites} >= {*named_hosts(after.folder, first)}
        faults = unmet(expected, walks[1], declared) if is_whole else unmet_expectations(first, settings)
    flows = flow_changes(*walks)
    reviews = (
        host_review(had, report, *walks, flows.get(report.desired.host.name, NO_CHANGES)) for had, report in states
    )
    return review_of(name, changes, reviews, flows[BETWEEN], faults)


def _listed(hosts_file: Path | None) -> Iterable[str]:
    if hosts_file is None:
        return ()
    try:
        lines = hosts_file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"hosts-file {hosts_file} cannot be read: {error}") from error
    return (name for line in lines if (name := line.partition("#")[0].strip()))


def _chosen(hosts: str, known: Sequence[str], fallback: str) -> Sequence[str]:
    """Choose among the hosts that are known; names that nobody mentions are taken as they are, globs must fit some."""
    if hosts == ALL:
        return known or [fallback]
    found: set[str] = set()
    for pattern in filter(None, hosts.split(",")):
        fitting = [name for name in known if fnmatchcase(name, pattern)]
        if not fitting and is_glob(pattern):
            raise ConfigError(f"host {pattern!r} fits none of {', '.join(known) or 'the specs, which name no hosts'}")
        found.update(fitting or [pattern])
    return sorted(found)
