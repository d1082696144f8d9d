"""Two versions of the specs, compared for many hosts at once. Asks no host, needs no rights, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import ConfigError, SpecError
from reconciler.git_tree import laid_out
from reconciler.guard.expected import documents_of, named_hosts, unmet_expectations
from reconciler.guard.rehearsal import between
from reconciler.reach.stand_ins import walk_of
from reconciler.records.file import content_or_piped
from reconciler.review.expectations import unmet
from reconciler.review.make_review import reviewed
from reconciler.review.values import Planned, Review
from reconciler.settings import Settings
from reconciler.spec.fields import is_glob
from reconciler.spec.load import LoadedSpecs, load_specs

ALL: Final = "all"
_HOSTS_MAX: Final = 1 << 20


def compare_with_revision(settings: Settings, target: str, hosts: str = ALL, hosts_file: Path | None = None) -> Review:
    """Review the specs against what `REV[:PATH]` of their repository has.

    hosts: `all` that the specs name, or names and globs with commas. hosts_file: more names, one a line.
    Raises RevisionUnreadable, ConfigError for hosts that there are none of, SpecError when the folder cannot be looked through.
    """
    with laid_out(target, settings.specs_dir) as laid:
        before = _Version(folder=laid.folder, shown_as=settings.specs_dir)
        after = _Version(folder=settings.specs_dir)
        return _compared(before, after, laid.name, settings, hosts, hosts_file)


class _Version(Struct, frozen=True, kw_only=True):
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


def plan_revision(settings: Settings, target: str, hosts: str = ALL, hosts_file: Path | None = None) -> list[Planned]:
    """Plan for hosts from what `REV[:PATH]` has to what the specs declare now. Raises as `compare_with_revision`."""
    with laid_out(target, settings.specs_dir) as laid:
        before = _Version(folder=laid.folder, shown_as=settings.specs_dir)
        return _planned(before, _Version(folder=settings.specs_dir), settings, hosts, hosts_file)[1]


def load_hosts(settings: Settings, hosts: str = ALL) -> dict[str, LoadedSpecs]:
    """Load the specs for each of several hosts. Raises ConfigError and SpecError as `compare_with_revision`."""
    now = _Version(folder=settings.specs_dir)
    first = now.load(settings, settings.host, None)
    known = sorted({*named_hosts(now.folder, first)})
    chosen = enumerate(_chosen(hosts, known, settings.host))
    return {host: now.load(settings, host, first, is_for_host_alone=index > 0) for index, host in chosen}


def _compared(
    before: _Version, after: _Version, name: str, settings: Settings, hosts: str, hosts_file: Path | None
) -> Review:
    first, plans = _planned(before, after, settings, hosts, hosts_file)
    if any(planned.before.faults for planned in plans):
        name = f"{name}, without what has faults there"
    walks = walk_of(planned.had for planned in plans), walk_of(planned.report.desired for planned in plans)
    faults: Iterable[SpecError] = ()
    if not any(planned.report.spec_faults for planned in plans):
        expected, declared = plans[0].after.expectations, documents_of(planned.after for planned in plans)
        is_whole = {*walks[1].sites} >= {*named_hosts(after.folder, first)}
        faults = unmet(expected, walks[1], declared) if is_whole else unmet_expectations(first, settings)
    return reviewed(name, plans, *walks, faults)


def _planned(
    before: _Version, after: _Version, settings: Settings, hosts: str, hosts_file: Path | None
) -> tuple[LoadedSpecs, list[Planned]]:
    """Return the specs as they are for nobody in particular, and a plan for each host."""
    first = after.load(settings, settings.host, None)
    was = before.load(settings, settings.host, first)
    known = sorted({*named_hosts(before.folder, was), *named_hosts(after.folder, first), *_listed(hosts_file)})
    plans: list[Planned] = []
    for index, host in enumerate(_chosen(hosts, known, settings.host)):
        old = before.load(settings, host, was, is_for_host_alone=index > 0)
        new = after.load(settings, host, first, is_for_host_alone=index > 0)
        plans.append(between(old, new, replace(settings, host=host)))
    return first, plans


def _listed(hosts_file: Path | None) -> Iterable[str]:
    if hosts_file is None:
        return ()
    try:
        lines = content_or_piped(hosts_file, bytes_max=_HOSTS_MAX).decode().splitlines()
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
