"""A Mermaid flowchart: GitHub and GitLab draw it in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.graph.labels import (
    DRIVER_COLOURS,
    PLUGIN_COLOUR,
    UNATTACHED,
    driver_class,
    network_words,
    on_no_network,
    place_mark,
    place_words,
)
from reconciler.graph.topology import Attachment, Mark, Network, Place, Topology

_MARKS: Final = {
    Mark.ADDED: "stroke:#1a7f37,stroke-width:3px",
    Mark.REMOVED: "stroke:#cf222e,stroke-width:3px,stroke-dasharray:6 4",
    Mark.MOVED: "stroke:#8250df,stroke-width:3px",
    Mark.CHANGED: "stroke:#bf8700,stroke-width:3px",
    Mark.DRIFTED: "stroke:#bc4c00,stroke-width:3px,stroke-dasharray:2 2",
}


def mermaid(topology: Topology) -> str:
    return "".join(f"{line}\n" for line in _lines(topology))


def _lines(topology: Topology) -> Iterator[str]:
    ids = _Ids(topology)
    yield "flowchart LR"
    for network in topology.shared:
        yield f"  {_network(ids, network)}"
    for number, host in enumerate(topology.hosts):
        yield f"  subgraph h{number}[{_quoted(f'host {host.name}')}]"
        yield from (f"    {_network(ids, network)}" for network in host.networks)
        alone = {one.name for one in on_no_network(host)}
        for one in host.attachments:
            label = _quoted(one.name, UNATTACHED if one.name in alone else "", one.note, str(one.mark))
            yield f"    {ids.attachment(one)}({label}){_class(one.mark)}"
        yield "  end"
    for network in topology.networks:
        for attachment, place in topology.members(network):
            yield f"  {_edge(ids, network, attachment, place)}"
    yield from _ports(ids, topology)
    yield from _links(ids, topology)
    for name, colour in {**DRIVER_COLOURS, "plugin": PLUGIN_COLOUR}.items():
        yield f"  classDef {name} fill:{colour},color:#fff,stroke:#0003"
    yield "  classDef internal stroke:#d1242f,stroke-width:3px,stroke-dasharray:2 3"
    if topology.is_change:
        yield from (f"  classDef {mark} {style}" for mark, style in _MARKS.items())


class _Ids:
    """Names within the drawing, that no name of a spec can meet."""

    def __init__(self, topology: Topology) -> None:
        self._networks = {(one.host, one.name): f"n{number}" for number, one in enumerate(topology.networks)}
        self._attachments = {(one.host, one.name): f"a{number}" for number, one in enumerate(topology.attachments)}

    def network(self, network: Network) -> str:
        return self._networks[network.host, network.name]

    def attachment(self, attachment: Attachment) -> str:
        return self._attachments[attachment.host, attachment.name]

    def named(self, host: str, name: str) -> str | None:
        return self._attachments.get((host, name))


def _network(ids: _Ids, network: Network) -> str:
    classes = [driver_class(network.driver), *(["internal"] if network.is_internal else []), *_marks(network.mark)]
    label = _quoted(network.name, *network_words(network), str(network.mark))
    return f"{ids.network(network)}{{{{{label}}}}}:::{classes[0]}" + "".join(
        f"\n    class {ids.network(network)} {name}" for name in classes[1:]
    )


def _marks(mark: Mark) -> list[str]:
    return [str(mark)] if mark is not Mark.SAME else []


def _class(mark: Mark) -> str:
    return f":::{mark}" if mark is not Mark.SAME else ""


def _edge(ids: _Ids, network: Network, attachment: Attachment, place: Place) -> str:
    mark = place_mark(attachment, place)
    line = {Mark.REMOVED: "-.-", Mark.ADDED: "==="}.get(mark, "---")
    label = _quoted(*place.addresses, *place_words(place), str(place.mark))
    at = f"|{label}|" if label != '""' else ""
    return f"{ids.network(network)} {line}{at} {ids.attachment(attachment)}"


def _ports(ids: _Ids, topology: Topology) -> Iterator[str]:
    drawn = False
    for attachment in topology.attachments:
        ports = (f"{one.text} {one.mark}".strip() for place in attachment.places for one in place.ports)
        texts = [text for text in ports if text]
        if texts:
            if not drawn:
                yield f"  outside(({_quoted('outside')}))"
                drawn = True
            yield f"  outside -->|{_quoted(*texts)}| {ids.attachment(attachment)}"


def _links(ids: _Ids, topology: Topology) -> Iterator[str]:
    for attachment in topology.attachments:
        for link in attachment.links:
            target = ids.named(attachment.host, link.target)
            if target is not None:
                label = _quoted(f"link {link.alias}", str(link.mark))
                yield f"  {ids.attachment(attachment)} -.->|{label}| {target}"


def _quoted(*lines: str) -> str:
    """Return a label of some lines; whatever Mermaid reads as more than text is written as an entity."""
    return '"' + "<br/>".join(map(_escaped, filter(None, lines))) + '"'


def _escaped(text: str) -> str:
    return "".join(c if c.isalnum() or c in " .,:;/-_→()[]@+%=" else f"#{ord(c)};" for c in text)
