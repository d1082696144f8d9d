"""`network ls` and `attachment ls`: rows, filters and forms as docker's client has them. Pure but for the template engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from reconciler.cli.table import table
from reconciler.cli.terminal import printable
from reconciler.errors import ReconcilerError
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.status.read import Document, InspectedKind, name_of

Filter = Callable[[Document, str], bool]

_SHORT_ID: Final = 12


def listing(
    kind: InspectedKind, documents: Sequence[Document], *, is_quiet: bool, is_truncated: bool, template: str | None
) -> str:
    """Return the whole output. template: see `cli.template`, over the columns by docker's names."""
    rows = [_COLUMNS[kind](document, is_truncated=is_truncated) for document in documents]
    if is_quiet:
        return "".join(f"{row['ID']}\n" for row in rows)
    if template is not None:
        from reconciler.cli.template import formatted

        return "".join(formatted(template, rows))
    heads = _HEADS[kind]
    return table(tuple(heads.values()), [tuple(printable(row[name]) for name in heads) for row in rows])


def selected(kind: InspectedKind, documents: Sequence[Document], filters: Sequence[str]) -> list[Document]:
    """Keep what passes: the same key twice means either, `label` twice both, different keys all of them."""
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, separator, value = text.partition("=")
        if not separator:
            raise ReconcilerError(f"invalid filter {printable(text)!r}: expected KEY=VALUE")
        if key not in _FILTERS[kind]:
            raise ReconcilerError(f"invalid filter {printable(key)!r}; known are {', '.join(sorted(_FILTERS[kind]))}")
        wanted.setdefault(key, []).append(value)
    return [document for document in documents if _passes(_FILTERS[kind], document, wanted)]


def _passes(filters: Mapping[str, Filter], document: Document, wanted: Mapping[str, Sequence[str]]) -> bool:
    # Every value is asked, also where the first decides: an invalid one is an error for whatever it stands beside.
    answers = {key: [filters[key](document, value) for value in values] for key, values in wanted.items()}
    return all(all(found) if key == "label" else any(found) for key, found in answers.items())


def _network_columns(document: Document, *, is_truncated: bool) -> dict[str, str]:
    labels = _mapping(document.get("Labels"))
    return {
        "CreatedAt": str(document.get("Created", "")),
        "Driver": str(document.get("Driver", "")),
        "ID": _id(document, is_truncated=is_truncated),
        "IPv6": _word(document.get("EnableIPv6")),
        "Internal": _word(document.get("Internal")),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "Name": name_of(document),
        "Scope": str(document.get("Scope", "")),
    }


def _attachment_columns(document: Document, *, is_truncated: bool) -> dict[str, str]:
    settings = _mapping(document.get("NetworkSettings"))
    networks = {name: _mapping(found) for name, found in _mapping(settings.get("Networks")).items()}
    addresses = (str(found.get("IPAddress") or found.get("GlobalIPv6Address") or "") for found in networks.values())
    return {
        "Addresses": ",".join(filter(None, addresses)),
        "ID": _id(document, is_truncated=is_truncated),
        "Name": name_of(document),
        "Networks": ",".join(networks),
        "Sandbox": str(settings.get("SandboxKey", "")),
    }


_COLUMNS: Final = {InspectedKind.NETWORK: _network_columns, InspectedKind.ATTACHMENT: _attachment_columns}
_HEADS: Final = {
    InspectedKind.NETWORK: {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE"},
    InspectedKind.ATTACHMENT: {
        "ID": "ATTACHMENT ID",
        "Name": "NAME",
        "Networks": "NETWORKS",
        "Addresses": "ADDRESSES",
        "Sandbox": "SANDBOX",
    },
}


def _id(document: Document, *, is_truncated: bool) -> str:
    found = str(document["Id"])
    return found[:_SHORT_ID] if is_truncated else found


def _word(value: object) -> str:
    return "true" if value else "false"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _has_label(document: Document, wanted: str) -> bool:
    key, separator, value = wanted.partition("=")
    labels = _mapping(document.get("Labels"))
    return key in labels and (not separator or labels[key] == value)


def _is_of_type(document: Document, wanted: str) -> bool:
    if wanted not in ("builtin", "custom"):
        raise ReconcilerError(f"Invalid filter: 'type'='{printable(wanted)}'")
    return (name_of(document) in BUILTIN_NETWORKS) == (wanted == "builtin")


def _is_dangling(document: Document, wanted: str) -> bool:
    answers = {"true": True, "1": True, "false": False, "0": False}
    if wanted not in answers:
        raise ReconcilerError(f"Invalid filter: 'dangling'='{printable(wanted)}'")
    is_free = name_of(document) not in BUILTIN_NETWORKS and not document.get("Containers")
    return is_free == answers[wanted]


def _is_on_network(document: Document, wanted: str) -> bool:
    return wanted in _mapping(_mapping(document.get("NetworkSettings")).get("Networks"))


def _named(document: Document, wanted: str) -> bool:
    return _matches(name_of(document), wanted)


def _identified(document: Document, wanted: str) -> bool:
    return _matches(str(document["Id"]), wanted)


def _matches(text: str, wanted: str) -> bool:
    """Return whether `wanted` is found in the text as a regular expression, or is all of it (moby: api/types/filters)."""
    try:
        return text == wanted or re.search(wanted, text) is not None
    except re.error as error:
        raise ReconcilerError(f"invalid filter {printable(wanted)!r}: no regular expression: {error}") from error


_FILTERS: Final[Mapping[InspectedKind, Mapping[str, Filter]]] = {
    InspectedKind.NETWORK: {
        "dangling": _is_dangling,
        "driver": lambda document, wanted: document.get("Driver") == wanted,
        "id": _identified,
        "label": _has_label,
        "name": _named,
        "scope": lambda document, wanted: document.get("Scope") == wanted,
        "type": _is_of_type,
    },
    InspectedKind.ATTACHMENT: {"id": _identified, "name": _named, "network": _is_on_network},
}
