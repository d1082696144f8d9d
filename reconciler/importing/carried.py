"""What our own loader refuses of what was imported is left out, and named: the rest loads. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, TypeVar

from msgspec.structs import replace

from reconciler.errors import ReconcilerError, SpecError
from reconciler.importing.text import in_braces
from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork, NotCarried
from reconciler.spec.document import Document, Path, Tree
from reconciler.spec.files import SpecText
from reconciler.spec.load import load_texts

E = TypeVar("E", ImportedNetwork, ImportedAttachment)

_FILE: Final = "import"
_PLACE: Final = re.compile(rf"{_FILE}:([0-9]+):([0-9]+)")
_ROUNDS_MAX: Final = 50
"""Each leaves something out, and tells of up to a hundred faults."""
_OPTIONS: Final = (("driver_opts",), ("labels",), ("ipam", "options"))
_CLOSING: Final = frozenset(
    (
        *("enable_icc", "encrypted", "gateway_mode_ipv4", "gateway_mode_ipv6", "host_binding_ipv4", "ipvlan_flag"),
        *("ipvlan_mode", "isolate", "macvlan_mode", "source_validation", "trusted_host_interfaces"),
    )
)
"""Last parts of driver options without which a network would be more open than it was; it can do without others of `_OPTIONS`."""
_WHOLE: Final = ("sandbox", "network_mode", "hosts")
"""What of an attachment cannot be left out without making it another."""


def carried(imported: Imported, host: str) -> Imported:
    """Return what specs take of it. Raises ReconcilerError when it is more than specs can hold."""
    imported = _named_once(imported)
    for _ in range(_ROUNDS_MAX):
        loaded = load_texts([SpecText(_FILE, _text(imported))], host=host, digest="")
        if not loaded.faults:
            return imported
        if not loaded.documents:
            raise ReconcilerError(f"what is there is more than specs can hold: {loaded.faults[0].message}")
        imported = _without(imported, loaded.documents[0], loaded.faults)
    raise ReconcilerError("what is there has more faults than can be left out one by one: import a part of it")


def _named_once(imported: Imported) -> Imported:
    """Leave out what has the name of another: specs would be none with both."""
    networks, of_networks = _first(imported.networks)
    attachments, of_attachments = _first(imported.attachments)
    told = (*of_networks, *of_attachments)
    if not told:
        return imported
    not_carried = (*imported.not_carried, *told)
    return replace(imported, networks=networks, attachments=attachments, not_carried=not_carried)


def _first(entries: tuple[E, ...]) -> tuple[tuple[E, ...], list[NotCarried]]:
    found: dict[str, E] = {}
    told: list[NotCarried] = []
    for entry in entries:
        first = found.setdefault(entry.name, entry)
        if first is not entry:
            why = f"its name is taken by {first.source}: give it another"
            told.append(NotCarried(where=entry.source, what=entry.name, why=why))
    return tuple(found.values()), told


def _text(imported: Imported) -> str:
    networks = {entry.name: entry.body for entry in imported.networks}
    return in_braces({"networks": networks, "attachments": {entry.name: entry.body for entry in imported.attachments}})


def _without(imported: Imported, document: Document, faults: Sequence[SpecError]) -> Imported:
    """Leave out what the faults are about. Networks first: what is wrong of attachments may be so because of them."""
    places = _places(document)
    refused: dict[Path, str] = {}
    for fault in faults:
        path = places.get((fault.line, fault.column), ())
        if len(path) < 2:
            continue  # how many more there are
        refused.setdefault(_left_out(path), _PLACE.sub(lambda match: _source(imported, places, match), fault.message))
    if not refused:
        raise ReconcilerError(f"what is there is more than specs can hold: {faults[0].message}")
    in_networks = {path: why for path, why in refused.items() if path[0] == "networks"}
    paths = in_networks | dict(_left_alone(imported, in_networks)) if in_networks else refused
    return replace(
        imported,
        networks=tuple(_entries("networks", imported.networks, paths)),
        attachments=tuple(_entries("attachments", imported.attachments, paths)),
        not_carried=(*imported.not_carried, *_gone(imported, paths)),
    )


def _left_alone(imported: Imported, refused: Mapping[Path, str]) -> Iterator[tuple[Path, str]]:
    """Yield the memberships of networks that go."""
    for network in [path[1] for path in refused if len(path) == 2]:
        for entry in imported.attachments:
            joined = entry.body.get("networks")
            if isinstance(joined, dict | list) and network in joined:
                yield ("attachments", entry.name, "networks", network), f"network {network} is not carried"


def _source(imported: Imported, places: Mapping[tuple[int, int], Path], match: re.Match[str]) -> str:
    """Return where an entry came from that a message names by its place in what is checked."""
    section, name, *_ = (*places.get((int(match[1]), int(match[2])), ()), "", "")
    entries = imported.networks if section == "networks" else imported.attachments
    return next((entry.source for entry in entries if entry.name == name), match[0])


def _places(document: Document) -> dict[tuple[int, int], Path]:
    found: dict[tuple[int, int], Path] = {}
    for path in _paths(document.data, ()):
        for at_key in (True, False):
            place = document.source(path, at_key=at_key)
            found[place.line, place.column] = path
    return found


def _paths(node: Tree, path: Path) -> Iterator[Path]:
    yield path
    for step, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _paths(inner, (*path, step))


def _left_out(path: Path) -> Path:
    """Return the way to what goes when this is refused: the least that leaves something sound."""
    section, name, *inner = path
    if section == "networks":
        kept = next((option for option in _OPTIONS if tuple(inner[: len(option)]) == option), None)
        if str(inner[-1] if inner else "").rpartition(".")[2] in _CLOSING:
            return (section, name)
        return path[: 3 + len(kept)] if kept is not None and len(inner) > len(kept) else (section, name)
    if not inner or inner[0] in _WHOLE:
        return (section, name)
    if inner[0] == "networks":
        return path[:6] if len(path) > 4 and path[4] in ("driver_opts", "aliases", "link_local_ips") else path[:5]
    return path[:4]


def _entries(section: str, entries: tuple[Any, ...], refused: dict[Path, str]) -> Iterator[Any]:
    for entry in entries:
        paths = [path for path in refused if path[:2] == (section, entry.name)]
        if (section, entry.name) in refused or _is_alone(section, entry, paths):
            continue
        yield _trimmed(entry, paths, refused) if paths else entry


def _is_alone(section: str, entry: ImportedNetwork | ImportedAttachment, paths: Sequence[Path]) -> bool:
    """Return whether an attachment would lose its last network: it would join `bridge` instead."""
    joined = entry.body.get("networks") if section == "attachments" else None
    lost = [path for path in paths if len(path) == 4 and path[2] == "networks"]
    return isinstance(joined, dict | list) and bool(lost) and len(lost) == len(joined)


def _gone(imported: Imported, refused: dict[Path, str]) -> Iterator[NotCarried]:
    for section, entries in (("networks", imported.networks), ("attachments", imported.attachments)):
        assert isinstance(entries, tuple)
        for entry in entries:
            paths = [path for path in refused if path[:2] == (section, entry.name)]
            why = refused.get((section, entry.name))
            if why is None and _is_alone(section, entry, paths):
                why = refused[paths[0]]
            if why is not None:
                yield NotCarried(where=entry.source, what=f"{section[:-1]} {entry.name}", why=why)
                yield from entry.not_carried


def _trimmed(entry: Any, paths: Sequence[Path], refused: dict[Path, str]) -> Any:
    body = deepcopy(dict(entry.body))
    not_carried = [
        NotCarried(where=_where(entry, path[2:]), what=_what(body, path[2:]), why=refused[path]) for path in paths
    ]
    for path in sorted(paths, key=_order, reverse=True):
        _remove(body, path[2:])
    return replace(entry, body=body, not_carried=(*entry.not_carried, *not_carried))


def _where(entry: ImportedNetwork | ImportedAttachment, path: Path) -> str:
    """Return the nearest place that the source knows."""
    ways = (path[:length] for length in range(len(path), 0, -1))
    return next((entry.places[way] for way in ways if way in entry.places), entry.source)


def _order(path: Path) -> tuple[tuple[bool, str | int], ...]:
    return tuple((isinstance(step, int), step) for step in path)


def _what(body: object, path: Path) -> str:
    """Return what goes in words: `ports 99999:80`, `networks.blue`."""
    words, value = ".".join(str(step) for step in path if isinstance(step, str)), _at(body, path)
    return f"{words} {value}" if isinstance(value, str | int) and value != path[-1] else words


def _at(body: Any, path: Path) -> Any:
    for step in path:
        body = body[_step(body, step)]
    return body


def _remove(body: Any, path: Path) -> None:
    inner = _at(body, path[:-1])
    del inner[_step(inner, path[-1])]


def _step(node: Any, step: str | int) -> str | int:
    """Return the index of an item that faults name by what it is."""
    return node.index(step) if isinstance(node, list) and isinstance(step, str) else step
