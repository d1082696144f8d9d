"""A folder of spec files -> what this host shall have, and every fault of every file. The stage's only door."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import ClassVar, Final

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.model.expectation import Expectation
from reconciler.model.objects import Unit
from reconciler.model.values import Value
from reconciler.model.wanted import NetworkWanted, Source, SpecWarning, WantedState
from reconciler.spec.attachment import AttachmentSpec, NetworkTable
from reconciler.spec.checked import NOTHING_CHECKED, CheckedAttachments, checked_attachments
from reconciler.spec.conflicts import is_for_host, network_conflicts, twice_declared
from reconciler.spec.declarations import Declarations, Declared, read_declarations
from reconciler.spec.document import FAULTS_MAX, Document, LineMap, parse_document
from reconciler.spec.expectation import party_faults
from reconciler.spec.files import ReadFile, SpecFolder, SpecText, read_folder
from reconciler.spec.links import linkable
from reconciler.spec.network import NetworkSpec, builtin_networks, network_wanted
from reconciler.spec.not_yet import not_yet_in_network
from reconciler.spec.places import Places
from reconciler.spec.warnings import document_warnings, network_warnings, variables_warnings

_PLAIN: Final = LineMap()


class _ParsedFile(Struct, frozen=True):
    """What one file, or what a template gave, says by itself. document None: it is no YAML within the limits."""

    text: str
    line_map: LineMap
    document: Document | None
    declarations: Declarations
    faults: tuple[SpecError, ...]
    warnings: tuple[SpecWarning, ...] = ()


class _Networks(Struct, frozen=True, kw_only=True):
    """table: all by key. wanted: those without fault, sorted. specs, setting: made of what. is_told: it has faults."""

    table: NetworkTable
    wanted: tuple[NetworkWanted, ...] = ()
    specs: tuple[NetworkSpec | None, ...] = ()
    setting: tuple[object, ...] = ()
    is_told: bool = True


class _Known(Struct, frozen=True, kw_only=True):
    """What the next load goes on from, so that it costs what has changed. files: by path. parsed: by name."""

    files: Mapping[str, ReadFile] = field(default_factory=dict)
    parsed: Mapping[str, _ParsedFile] = field(default_factory=dict)
    networks: _Networks = field(default_factory=lambda: _Networks(table=NetworkTable({}, {})))
    attachments: CheckedAttachments = NOTHING_CHECKED


_NOTHING_KNOWN: Final = _Known()


class LoadedSpecs(Value, frozen=True, kw_only=True):
    """faults, warnings: of all files, in the order of their places. digest: SHA-256 over names and contents. files: those read.

    texts: what they hold, so that the same specs can be understood again when the files have changed. is_listed: False when the
    folder could not be looked through, so that nobody knows what is declared. folder: where they stand, "" where that is not known.
    documents: all spec files that are YAML within the limits, templates as they were rendered. known: for the next load.
    """

    uncompared: ClassVar[frozenset[str]] = frozenset({"documents", "known"})
    is_small: ClassVar[bool] = False
    unshown: ClassVar[frozenset[str]] = frozenset({"documents", "known"})
    wanted: WantedState
    faults: tuple[SpecError, ...]
    warnings: tuple[SpecWarning, ...] = ()
    digest: str
    files: tuple[str, ...]
    texts: tuple[SpecText, ...] = ()
    is_listed: bool = True
    folder: str = ""
    documents: tuple[Document, ...] = ()
    expectations: tuple[Expectation, ...] = ()
    known: _Known = _NOTHING_KNOWN

    def unread(self) -> LoadedSpecs:
        """Return the same for a next load that reads every file again, whatever its times tell."""
        return replace(self, known=replace(self.known, files={}))


NOTHING: Final = LoadedSpecs(wanted=WantedState(networks=(), attachments=()), faults=(), digest="", files=())
"""What a host has to have that never had specs."""


def load_specs(
    specs_dir: Path,
    *,
    host: str,
    is_bridge_enabled: bool = True,
    is_in_cluster: bool = True,
    previous: LoadedSpecs | None = None,
    shown_as: Path | None = None,
    is_for_host_alone: bool = False,
) -> LoadedSpecs:
    """Read the folder for `host`; what is there may be anything, it ends up in `faults` and never raises.

    An entry with a fault is left out, as are the attachments that refer to it: they stay as they run. `is_bridge_enabled`
    False leaves out the network `bridge` (`--bridge none`). `is_in_cluster` False: no other host declares external networks.
    previous: an earlier load of the same folder, to save work only. shown_as: the folder that names of files begin with, where
    that is another than the one that is read. is_for_host_alone: attachments of other hosts are not checked, for who loads the
    folder for many hosts and has had it checked once.
    """
    place = _Place(
        host=host,
        is_bridge_enabled=is_bridge_enabled,
        is_in_cluster=is_in_cluster,
        is_alone=is_for_host_alone,
    )
    known = _NOTHING_KNOWN if previous is None else previous.known
    folder = read_folder(specs_dir, host=host, shown_as=shown_as, known=known.files)
    return replace(_understood(folder, place, known), folder=os.path.abspath(specs_dir))


def load_texts(
    texts: Sequence[SpecText],
    *,
    host: str,
    digest: str,
    is_bridge_enabled: bool = True,
    previous: LoadedSpecs | None = None,
    is_for_host_alone: bool = False,
) -> LoadedSpecs:
    """Understand files that were read before; otherwise as `load_specs`. digest: of the folder that they were."""
    folder = SpecFolder(texts=tuple(texts), faults=(), digest=digest)
    place = _Place(host=host, is_bridge_enabled=is_bridge_enabled, is_in_cluster=True, is_alone=is_for_host_alone)
    return _understood(folder, place, _NOTHING_KNOWN if previous is None else previous.known)


class _Place(Struct, frozen=True, kw_only=True):
    """For whom the specs are read."""

    host: str
    is_bridge_enabled: bool
    is_in_cluster: bool
    is_alone: bool = False


def _understood(folder: SpecFolder, place: _Place, known: _Known) -> LoadedSpecs:
    faults = list(folder.faults)
    warnings: list[SpecWarning] = []
    texts = [(text.name, text.text, _PLAIN) for text in folder.texts if not text.is_variables and not text.is_template]
    texts += _rendered(folder.texts, place.host, faults, warnings)
    parsed = {name: _parsed(name, text, line_map, known.parsed.get(name)) for name, text, line_map in texts}
    for file in parsed.values():
        faults += (*file.faults, *file.declarations.faults)
        warnings += file.warnings
    documents = [file.document for file in parsed.values() if file.document is not None]
    declarations = [file.declarations for file in parsed.values() if file.document is not None]
    is_complete = (
        not folder.faults
        and len(documents) == sum(not text.is_variables for text in folder.texts)
        and all(declared.is_complete for declared in declarations)
    )
    of_networks = [entry for declared in declarations for entry in declared.networks]
    places = Places(documents)
    is_all_there = is_complete and not place.is_in_cluster
    networks, wrong = _networks(
        of_networks,
        known.networks,
        places,
        is_complete=is_complete,
        is_all_there=is_all_there,
        is_bridge_enabled=place.is_bridge_enabled,
    )
    faults += wrong
    entries = [entry for declared in declarations for entry in declared.attachments]
    expectations = tuple(each for declared in declarations for each in declared.expectations)
    if is_complete and expectations:
        faults += party_faults(expectations, (entry.key for entry in entries), networks.table)
    here = _may_be_here(entries, place.host) if place.is_alone else entries
    among = linkable(entries, networks.table, place.host)
    attachments = checked_attachments(
        here, among, known.attachments, is_complete=is_complete, faults_before=len(faults)
    )
    warnings += (*attachments.warnings, *(warning for entry in of_networks for warning in network_warnings(entry)))
    ordered = _ordered([*faults, *attachments.faults])
    return LoadedSpecs(
        wanted=WantedState(
            networks=networks.wanted,
            attachments=attachments.wanted,
            has_faults=bool(ordered),
            sources=places,
        ),
        faults=ordered,
        warnings=_undisputed(warnings, ordered),
        digest=folder.digest,
        files=tuple(text.name for text in folder.texts),
        texts=folder.texts,
        is_listed=folder.is_listed,
        documents=tuple(documents),
        expectations=expectations,
        known=_Known(files=folder.read, parsed=parsed, networks=networks, attachments=attachments),
    )


def _sorted_networks(table: NetworkTable, *, is_bridge_enabled: bool) -> tuple[NetworkWanted, ...]:
    networks = {network.name: network for network in table.values() if network is not None}
    return tuple(networks[name] for name in sorted(networks) if is_bridge_enabled or name != "bridge")


def _parsed(name: str, text: str, line_map: LineMap, before: _ParsedFile | None) -> _ParsedFile:
    if before is not None and before.text == text and before.line_map == line_map:
        return before
    document, faults = parse_document(name, text, line_map)
    if document is None:
        return _ParsedFile(text, line_map, None, Declarations(), tuple(faults))
    declarations = read_declarations(document, before.declarations if before is not None else Declarations())
    return _ParsedFile(text, line_map, document, declarations, tuple(faults), tuple(document_warnings(document, text)))


def _rendered(
    texts: tuple[SpecText, ...], host: str, faults: list[SpecError], warnings: list[SpecWarning]
) -> Iterator[tuple[str, str, LineMap]]:
    """Yield name, text and lines of what templates give; they are not rendered at all when their variables are bad."""
    variables = [text for text in texts if text.is_variables]
    templates = [text for text in texts if text.is_template]
    values = [parse_document(text.name, text.text) for text in variables]
    faults += [fault for _, found in values for fault in found]
    documents = [document for document, _ in values if document is not None]
    texts_of_templates = [template.text for template in templates]
    warnings += [found for document in documents for found in variables_warnings(document, texts_of_templates)]
    if not templates or len(documents) < len(variables):
        return
    from reconciler.spec.rendering import rendered  # jinja2 is loaded by those who have templates
    from reconciler.spec.templates import Renderer

    renderer = Renderer(documents, host=host, faults=faults)
    for template, (text, line_map) in rendered(renderer, templates, faults):
        yield template.name, text, line_map


def _networks(
    entries: Sequence[Declared[NetworkSpec]],
    before: _Networks,
    places: Mapping[Unit, Source],
    *,
    is_complete: bool,
    is_all_there: bool,
    is_bridge_enabled: bool,
) -> tuple[_Networks, Sequence[SpecError]]:
    """Return all networks, and what is wrong with them. Where equal, they are the very values of before."""
    specs = tuple(entry.spec for entry in entries)
    setting = (is_complete, is_all_there, is_bridge_enabled, *(entry.key for entry in entries))
    if not before.is_told and before.setting == setting and all(map(operator.is_, specs, before.specs)):
        return replace(before, table=NetworkTable(before.table, places)), ()
    faults: list[SpecError] = []
    table = _made_networks(entries, faults, places, is_complete=is_complete, is_all_there=is_all_there)
    for key, network in table.items():
        if network is not None and network == before.table.get(key):
            table[key] = before.table[key]
    wanted = _sorted_networks(table, is_bridge_enabled=is_bridge_enabled)
    if wanted == before.wanted:
        wanted = before.wanted
    return _Networks(table=table, wanted=wanted, specs=specs, setting=setting, is_told=bool(faults)), faults


def _made_networks(
    entries: Sequence[Declared[NetworkSpec]],
    faults: list[SpecError],
    places: Mapping[Unit, Source],
    *,
    is_complete: bool,
    is_all_there: bool,
) -> NetworkTable:
    """Return every network by key, the built-in ones too; None for those with a fault. is_all_there: no other host declares any.

    host and none are there whatever is said of them: nothing of them is made, so nothing can be left as it runs. What could not
    be read, where not is_complete, may say how `bridge` is to be: nobody has said then that it is as it is by default.
    """
    builtin = builtin_networks()
    table = NetworkTable(builtin, places)
    made = [entry for entry in entries if not _is_joined(entry)]
    for entry in made:
        network = _network(entry, builtin, faults)
        table[entry.key] = builtin[entry.key] if network is None and entry.key in ("host", "none") else network
    default = builtin["bridge"].bridge
    is_default_ours = "bridge" in {entry.key for entry in made}
    if not is_complete and not is_default_ours:
        table["bridge"] = None
    links = {default.link_name: "bridge"} if default is not None and default.link_name and not is_default_ours else {}
    for conflicts in (twice_declared(made, "network"), network_conflicts(made, links)):
        faults += conflicts.faults
        table.update(dict.fromkeys(conflicts.keys, None))
    joined = [entry for entry in entries if _is_joined(entry)]
    _join(joined, {_name(entry): entry for entry in reversed(made)}, table, faults, is_all_there=is_all_there)
    return table


def _is_joined(entry: Declared[NetworkSpec]) -> bool:
    """Return whether the network is declared elsewhere: in another entry, or by another host."""
    return entry.spec is not None and entry.spec.is_external and not entry.spec.is_builtin_reference(entry.key)


def _name(entry: Declared[NetworkSpec]) -> str:
    return entry.key if entry.spec is None else entry.spec.real_name(entry.key)


def _join(
    joined: list[Declared[NetworkSpec]],
    made: Mapping[str, Declared[NetworkSpec]],
    table: dict[str, NetworkWanted | None],
    faults: list[SpecError],
    *,
    is_all_there: bool,
) -> None:
    """Enter external networks. made: those declared here, by name."""
    first = {entry.key: entry for entry in made.values()}
    for entry in joined:
        name, network = _name(entry), _network(entry, {}, faults)
        known = first.setdefault(entry.key, entry)
        if _name(known) != name:
            message = f"network with name {entry.key} already exists: it is also declared at {known.source}"
            faults.append(entry.fault((), message, at_key=True))
            network = None
        elif network is not None and name in made:
            network = table[made[name].key]
        elif network is not None and is_all_there:
            message = f"network {name} is external and declared nowhere: declare it here, or give --cluster-store if others do"
            faults.append(entry.fault(("external",), message))
            network = None
        table[entry.key] = network


def _network(
    entry: Declared[NetworkSpec], builtin: Mapping[str, NetworkWanted], faults: list[SpecError]
) -> NetworkWanted | None:
    if entry.spec is None:
        return None
    if entry.spec.is_builtin_reference(entry.key):
        return builtin[entry.spec.real_name(entry.key)]
    network, found = network_wanted(entry.key, entry.spec)
    said = {path for path, _ in found}
    found += [(path, message) for path, message in not_yet_in_network(entry.spec) if path not in said]
    faults += [entry.fault(path, message) for path, message in found]
    return None if found else network


def _may_be_here(entries: Iterable[Declared[AttachmentSpec]], host: str) -> list[Declared[AttachmentSpec]]:
    known: dict[tuple[str, ...], bool] = {}  # many have the same hosts

    def may_be(spec: AttachmentSpec) -> bool:
        hosts = spec.hosts
        if (is_here := known.get(hosts)) is None:
            known[hosts] = is_here = is_for_host(hosts, host)
        return is_here

    return [entry for entry in entries if entry.spec is None or may_be(entry.spec)]


def _ordered(faults: list[SpecError]) -> tuple[SpecError, ...]:
    """Sort by place, say each once, and bound what one file may say."""
    unique = {(fault.file, fault.line, fault.column, fault.message): fault for fault in faults}
    kept: list[SpecError] = []
    for file, places in groupby(sorted(unique), key=lambda place: place[0]):
        of_file = [unique[place] for place in places]
        kept += of_file[:FAULTS_MAX]
        if len(of_file) > FAULTS_MAX:
            kept.append(SpecError(file, 0, 0, f"and {len(of_file) - FAULTS_MAX} more faults"))
    return tuple(kept)


def _undisputed(warnings: list[SpecWarning], faults: tuple[SpecError, ...]) -> tuple[SpecWarning, ...]:
    """Sort by place, and leave out what a fault says already; a file says no more than of faults."""
    disputed = {(fault.file, fault.line, fault.column) for fault in faults}
    kept = (
        one for one in sorted(set(warnings)) if (one.source.file, one.source.line, one.source.column) not in disputed
    )
    return tuple(islice(kept, FAULTS_MAX))
