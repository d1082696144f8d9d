"""A folder of spec files -> what this host shall have, and every fault of every file. The stage's only door."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain, groupby, islice
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.model.expectation import Expectation
from reconciler.model.objects import Unit
from reconciler.model.values import Value
from reconciler.model.wanted import AttachmentWanted, NetworkMode, NetworkWanted, Source, SpecWarning, WantedState
from reconciler.spec.attachment import AttachmentSpec, NetworkTable, attachment_faults, attachment_wanted, network_mode
from reconciler.spec.conflicts import attachment_conflicts, is_for_host, network_conflicts, twice_declared
from reconciler.spec.declarations import Declarations, Declared, read_declarations
from reconciler.spec.document import FAULTS_MAX, Document, parse_document, shown
from reconciler.spec.expectation import party_faults
from reconciler.spec.files import SpecFolder, SpecText, read_folder
from reconciler.spec.links import HINTS_AMONG_MAX, Linkable, link_faults, linkable
from reconciler.spec.names import long_name_faults
from reconciler.spec.network import Fault, NetworkSpec, builtin_networks, network_wanted
from reconciler.spec.not_yet import not_yet_in_network
from reconciler.spec.places import Places
from reconciler.spec.warnings import attachment_warnings, document_warnings, network_warnings, variables_warnings

WantedT = TypeVar("WantedT", NetworkWanted, AttachmentWanted)
_NOTHING: Final = WantedState(networks=(), attachments=())


class ParsedFile(Struct, frozen=True):
    """What one file says by itself. document None: it is no YAML within the limits."""

    text: str
    document: Document | None
    declarations: Declarations
    faults: tuple[SpecError, ...]
    warnings: tuple[SpecWarning, ...] = ()


class LoadedSpecs(Value, frozen=True, kw_only=True):
    """faults, warnings: of all files, in the order of their places. digest: SHA-256 over names and contents. files: those read.

    texts: what they hold, so that the same specs can be understood again when the files have changed. parsed: plain spec files
    by name, so that the next load need not parse again those that did not change. is_listed: False when the folder could not be
    looked through, so that nobody knows what is declared. folder: where they stand, "" where that is not known. documents: all spec
    files that are YAML within the limits, templates as they were rendered.
    """

    uncompared: ClassVar[frozenset[str]] = frozenset({"parsed", "documents"})
    unshown: ClassVar[frozenset[str]] = frozenset({"parsed", "documents"})
    wanted: WantedState
    faults: tuple[SpecError, ...]
    warnings: tuple[SpecWarning, ...] = ()
    digest: str
    files: tuple[str, ...]
    texts: tuple[SpecText, ...] = ()
    parsed: Mapping[str, ParsedFile] = field(default_factory=dict)
    is_listed: bool = True
    folder: str = ""
    documents: tuple[Document, ...] = ()
    expectations: tuple[Expectation, ...] = ()


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
    loaded = _understood(read_folder(specs_dir, host=host, shown_as=shown_as), place, previous)
    return replace(loaded, folder=os.path.abspath(specs_dir))


def load_texts(texts: Sequence[SpecText], *, host: str, digest: str, is_bridge_enabled: bool = True) -> LoadedSpecs:
    """Understand files that were read before; otherwise as `load_specs`. digest: of the folder that they were."""
    folder = SpecFolder(texts=tuple(texts), faults=(), digest=digest)
    return _understood(folder, _Place(host=host, is_bridge_enabled=is_bridge_enabled, is_in_cluster=True), None)


class _Place(Struct, frozen=True, kw_only=True):
    """For whom the specs are read."""

    host: str
    is_bridge_enabled: bool
    is_in_cluster: bool
    is_alone: bool = False


def _understood(folder: SpecFolder, place: _Place, previous: LoadedSpecs | None) -> LoadedSpecs:
    known, before = (previous.parsed, previous.wanted) if previous is not None else ({}, _NOTHING)
    faults = list(folder.faults)
    plain = [text for text in folder.texts if not text.is_variables and not text.is_template]
    parsed = {text.name: _parsed(text, known) for text in plain}
    faults += [fault for file in parsed.values() for fault in file.faults]
    warnings = [warning for file in parsed.values() for warning in file.warnings]
    documents = [file.document for file in parsed.values() if file.document is not None]
    declarations = [file.declarations for file in parsed.values() if file.document is not None]
    for document in _rendered(folder.texts, place.host, faults, warnings):
        documents.append(document)
        declarations.append(read_declarations(document))
    faults += [fault for declared in declarations for fault in declared.faults]
    is_complete = (
        not folder.faults
        and len(documents) == sum(not text.is_variables for text in folder.texts)
        and all(declared.is_complete for declared in declarations)
    )
    of_networks = [entry for declared in declarations for entry in declared.networks]
    places = Places(documents)
    networks = _network_table(of_networks, faults, places, is_all_there=is_complete and not place.is_in_cluster)
    entries = [entry for declared in declarations for entry in declared.attachments]
    expectations = tuple(each for declared in declarations for each in declared.expectations)
    if is_complete and expectations:
        faults += party_faults(expectations, (entry.key for entry in entries), networks)
    here = _may_be_here(entries, place.host) if place.is_alone else entries
    among = linkable(entries, networks, place.host)
    attachments = _attachments(here, networks, among, faults, is_complete=is_complete)
    warnings += [warning for entry in of_networks for warning in network_warnings(entry)]
    warnings += [warning for entry in here for warning in attachment_warnings(entry, networks)]
    ordered = _ordered(faults)
    return LoadedSpecs(
        wanted=WantedState(
            networks=_kept(_sorted_networks(networks, is_bridge_enabled=place.is_bridge_enabled), before.networks),
            attachments=_kept(attachments, before.attachments),
            has_faults=bool(ordered),
            sources=places,
        ),
        faults=ordered,
        warnings=_undisputed(warnings, ordered),
        digest=folder.digest,
        files=tuple(text.name for text in folder.texts),
        texts=folder.texts,
        parsed=parsed,
        is_listed=folder.is_listed,
        documents=tuple(documents),
        expectations=expectations,
    )


def _sorted_networks(table: NetworkTable, *, is_bridge_enabled: bool) -> tuple[NetworkWanted, ...]:
    networks = {network.name: network for network in table.values() if network is not None}
    return tuple(networks[name] for name in sorted(networks) if is_bridge_enabled or name != "bridge")


def _kept(now: tuple[WantedT, ...], before: tuple[WantedT, ...]) -> tuple[WantedT, ...]:
    """Give the very values of before where they are equal, and the very tuple where all are: changes are told by that."""
    known = {each.name: each for each in before}
    kept = tuple(old if (old := known.get(each.name)) == each and old is not None else each for each in now)
    return before if len(kept) == len(before) and all(map(operator.is_, kept, before)) else kept


def _parsed(text: SpecText, known: Mapping[str, ParsedFile]) -> ParsedFile:
    before = known.get(text.name)
    if before is not None and before.text == text.text:
        return before
    document, faults = parse_document(text.name, text.text)
    declarations = Declarations() if document is None else read_declarations(document)
    warnings = () if document is None else tuple(document_warnings(document, text.text))
    return ParsedFile(text.text, document, declarations, tuple(faults), warnings)


def _rendered(
    texts: tuple[SpecText, ...], host: str, faults: list[SpecError], warnings: list[SpecWarning]
) -> Iterator[Document]:
    """Parse what templates give; they are rendered with the variables, and not at all when those are bad."""
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
        document, found = parse_document(template.name, text, line_map)
        faults += found
        if document is not None:
            warnings += document_warnings(document, text)
            yield document


def _network_table(
    entries: list[Declared[NetworkSpec]],
    faults: list[SpecError],
    places: Mapping[Unit, Source],
    *,
    is_all_there: bool,
) -> NetworkTable:
    """Give every network by its key, the built-in ones too; None for those with a fault. is_all_there: no other host declares any.

    host and none are there whatever is said of them: nothing of them is made, so nothing can be left as it runs.
    """
    builtin = builtin_networks()
    table = NetworkTable(builtin, places)
    made = [entry for entry in entries if not _is_joined(entry)]
    for entry in made:
        network = _network(entry, builtin, faults)
        table[entry.key] = builtin[entry.key] if network is None and entry.key in ("host", "none") else network
    default = builtin["bridge"].bridge
    is_default_ours = "bridge" in {entry.key for entry in made}
    links = {default.link_name: "bridge"} if default is not None and default.link_name and not is_default_ours else {}
    for conflicts in (twice_declared(made, "network"), network_conflicts(made, links)):
        faults += conflicts.faults
        table.update(dict.fromkeys(conflicts.keys, None))
    joined = [entry for entry in entries if _is_joined(entry)]
    _join(joined, {_name(entry): entry for entry in reversed(made)}, table, faults, is_all_there=is_all_there)
    return table


def _is_joined(entry: Declared[NetworkSpec]) -> bool:
    """Say whether the network is declared elsewhere: in another entry, or by another host."""
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


def _attachments(
    entries: list[Declared[AttachmentSpec]],
    table: NetworkTable,
    among: Linkable,
    faults: list[SpecError],
    *,
    is_complete: bool,
) -> tuple[AttachmentWanted, ...]:
    """Give this host's attachments without fault, sorted. Those on a network with faults, or one that may stand in what
    could not be read, are left out without another word.
    """
    twice = twice_declared(entries, "attachment")
    host = among.host
    conflicts = attachment_conflicts(entries, table, host=host)
    faults += [*twice.faults, *conflicts.faults]
    bad = twice.keys | conflicts.keys
    good: list[AttachmentWanted] = []
    for entry in entries:
        spec = entry.spec
        if spec is None:
            continue
        found = [*attachment_faults(spec, table), *long_name_faults(entry.key, spec, table)]
        if is_complete and len(faults) < FAULTS_MAX:
            found += islice(chain(_undeclared(spec, table), link_faults(spec, among)), FAULTS_MAX)
        is_declared = all(key in table for key in spec.networks)
        faults += [entry.fault(path, message) for path, message in found]
        if (
            not found
            and is_declared
            and entry.key not in bad
            and is_for_host(spec.hosts, host)
            and _has_networks(spec, table)
        ):
            good.append(attachment_wanted(entry.key, spec, table))
    return tuple(sorted(good, key=lambda attachment: attachment.name))


def _may_be_here(entries: Iterable[Declared[AttachmentSpec]], host: str) -> list[Declared[AttachmentSpec]]:
    known: dict[tuple[str, ...], bool] = {}  # many have the same hosts
    for entry in entries:
        if entry.spec is not None and entry.spec.hosts not in known:
            known[entry.spec.hosts] = is_for_host(entry.spec.hosts, host)
    return [entry for entry in entries if entry.spec is None or known[entry.spec.hosts]]


def _undeclared(spec: AttachmentSpec, table: NetworkTable) -> Iterator[Fault]:
    for key in spec.networks:
        if key not in table:
            near = get_close_matches(key[:64], table, n=1) if len(table) <= HINTS_AMONG_MAX else []
            hint = f"did you mean '{near[0]}'?" if near else "declare it below 'networks'"
            yield ("networks", key), f"network {shown(key)} not found: {hint}"


def _has_networks(spec: AttachmentSpec, table: NetworkTable) -> bool:
    mode = network_mode(spec, table)
    default = ("bridge",) if mode is NetworkMode.NETWORKS else (mode,)
    return all(table.get(key) is not None for key in spec.networks or default)


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
