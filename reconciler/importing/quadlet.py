"""Podman's quadlet: `.network`, `.container` and `.pod` units -> networks and attachments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.importing.names import renamed, spec_names
from reconciler.importing.netavark import imported_network, open_networks
from reconciler.importing.quadlet_members import Member, Networks, read_member
from reconciler.importing.quadlet_networks import DeclaredNetwork, network_document
from reconciler.importing.source_files import SourceFile, SourceFiles
from reconciler.importing.unit_files import UnitFault, UnitFile, drop_in_folders, parse_unit
from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork, NotCarried
from reconciler.model.words import counted
from reconciler.records.lenient import mapping_of, text_of

KINDS: Final = {".network": "Network", ".container": "Container", ".pod": "Pod"}
SUFFIXES: Final = (*KINDS, ".kube", ".conf")
_DEFAULT: Final = "podman"
_DEFAULT_DOCUMENT: Final = {"name": _DEFAULT, "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]}
"""The network that Podman puts those on that name none; containers.conf(5) may say another."""


class _Found(Struct, frozen=True, kw_only=True):
    unit: UnitFile
    file: str


def read_quadlet(source: SourceFiles, *, parent: str = "", host: str = "") -> Imported:
    """parent: the link of the host's default route, "" where it is not known. host: what this host is called."""
    not_carried = [*source.not_carried]
    units = [*_units(source.files, not_carried)]
    declaring = [each for each in units if each.unit.name.endswith(".network")]
    networks, read = _networks(declaring, parent, host, not_carried)
    members = [Member(unit=each.unit, file=each.file, host=host) for each in units if each not in declaring]
    attachments = _attachments(members, networks, not_carried)
    if _DEFAULT not in read and any(_DEFAULT in mapping_of(each.body, "networks") for each in attachments):
        default = imported_network(_DEFAULT_DOCUMENT, _DEFAULT, "Podman's network of those that name none", parent)
        assert isinstance(default, ImportedNetwork)
        read = {_DEFAULT: default, **read}
    return Imported(
        networks=tuple(read.values()), attachments=tuple(attachments), not_carried=(*not_carried, *_to_do(attachments))
    )


def _units(files: Sequence[SourceFile], not_carried: list[NotCarried]) -> Iterator[_Found]:
    """Yield the units with their drop-ins; what is wrong of one is told, and the rest goes on."""
    drop_ins = _drop_ins(files)
    for file in files:
        name = file.name.rpartition("/")[2]
        kind = f".{name.rpartition('.')[2]}"
        if kind == ".kube":
            not_carried.append(
                NotCarried(
                    where=file.name, what="the unit", why="Kubernetes' YAML is not read: declare its pods by hand"
                )
            )
        if kind not in KINDS:
            continue
        if name.rpartition(".")[0].endswith("@"):
            why = "it is a template: import it under the name of each instance, as web@one.container"
            not_carried.append(NotCarried(where=file.name, what="the unit", why=why))
            continue
        unit = _whole(file, name, kind, drop_ins)
        if isinstance(unit, NotCarried):
            not_carried.append(unit)
        else:
            yield _Found(unit=unit, file=file.name)


def _whole(
    file: SourceFile, name: str, kind: str, drop_ins: Mapping[str, Mapping[str, SourceFile]]
) -> UnitFile | NotCarried:
    """Return a unit with its drop-ins, or what is wrong."""
    reading = file
    try:
        unit = parse_unit(name, file.text)
        for reading in _drop_ins_of(name, drop_ins):
            unit = unit.with_drop_in(reading.text)
    except UnitFault as fault:
        return NotCarried(where=f"{reading.name}:{fault.line}", what="the unit", why=f"{fault}: mend it")
    if not unit.has_section(KINDS[kind]):
        return NotCarried(where=file.name, what="the unit", why=f"it has no section [{KINDS[kind]}]: write it")
    return unit


def _drop_ins(files: Sequence[SourceFile]) -> Mapping[str, Mapping[str, SourceFile]]:
    """Return the files below folders as `web.container.d`, by folder and name."""
    found: dict[str, dict[str, SourceFile]] = {}
    for file in files:
        folders, _, name = file.name.rpartition("/")
        folder = folders.rpartition("/")[2]
        if folder.endswith(".d") and name.endswith(".conf"):
            found.setdefault(folder, {}).setdefault(name, file)
    return found


def _drop_ins_of(name: str, drop_ins: Mapping[str, Mapping[str, SourceFile]]) -> Iterator[SourceFile]:
    """Yield a unit's drop-ins in the order of their names; of one name the most particular folder's."""
    found: dict[str, SourceFile] = {}
    for folder in drop_in_folders(name):
        for each, file in drop_ins.get(folder, {}).items():
            found.setdefault(each, file)
    yield from (found[each] for each in sorted(found))


def _networks(
    units: Sequence[_Found], parent: str, host: str, not_carried: list[NotCarried]
) -> tuple[Networks, dict[str, ImportedNetwork]]:
    declared = [network_document(each.unit, each.file, host) for each in units]
    not_carried += [each for each in declared if isinstance(each, NotCarried)]
    good = [each for each in declared if isinstance(each, DeclaredNetwork)]
    names = spec_names(text_of(each.document, "name") for each in good)
    read: dict[str, ImportedNetwork] = {}
    by_reference: dict[str, str] = {_DEFAULT: _DEFAULT}
    for each in good:
        name = names[text_of(each.document, "name")]
        where = f"network {text_of(each.document, 'name')} ({each.file})"
        if name in read:
            not_carried.append(
                NotCarried(where=where, what="the network", why=f"it is there twice: {read[name].source}")
            )
            continue
        found = imported_network(each.document, name, where, parent)
        if isinstance(found, NotCarried):
            not_carried.append(found)
            continue
        read[name] = replace(found, not_carried=(*found.not_carried, *each.not_carried))
        by_reference |= {each.unit: name, text_of(each.document, "name"): name}
    not_carried += open_networks([each.document for each in good if by_reference.get(each.unit) is not None])
    return Networks(by_reference=by_reference), read


def _attachments(
    members: Sequence[Member], networks: Networks, not_carried: list[NotCarried]
) -> list[ImportedAttachment]:
    read = [read_member(each, networks) for each in members]
    not_carried += [each for each in read if isinstance(each, NotCarried)]
    good = [each for each in read if isinstance(each, ImportedAttachment)]
    names = spec_names(each.name for each in good)
    found: dict[str, ImportedAttachment] = {}
    for each in good:
        name = names[each.name]
        if name in found:
            not_carried.append(
                NotCarried(where=each.source, what="the container", why=f"it is there twice: {found[name].source}")
            )
        else:
            told_of_it = (*renamed(each.source, each.name, name), *each.not_carried)
            found[name] = replace(each, name=name, not_carried=told_of_it)
    return list(found.values())


def _to_do(attachments: Sequence[ImportedAttachment]) -> Iterator[NotCarried]:
    """Yield once what holds of every unit that Podman has networks for."""
    count = sum("networks" in each.body for each in attachments)
    if count:
        why = (
            "write `Network=none` into it, without its other keys of networks and ports, and start it anew; until then its "
            "attachment waits (docs/guide/import.md#quadlet)"
        )
        yield NotCarried(where="Podman", what=f"Podman's part in the networks of {counted(count, 'unit')}", why=why)
