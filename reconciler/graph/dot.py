"""A graph in the DOT language, for Graphviz and what else reads that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.graph.labels import UNATTACHED, driver_colour, network_words, on_no_network, place_mark, place_words
from reconciler.graph.topology import Attachment, Mark, Network, Place, Topology

_COLOURS: Final = {
    Mark.ADDED: "#1a7f37",
    Mark.REMOVED: "#cf222e",
    Mark.MOVED: "#8250df",
    Mark.CHANGED: "#bf8700",
    Mark.DRIFTED: "#bc4c00",
}
_NOTHING: Final = '""'


def dot(topology: Topology) -> str:
    return "".join(f"{line}\n" for line in _lines(topology))


def _lines(topology: Topology) -> Iterator[str]:
    yield "graph networks {"
    yield '  graph [rankdir=LR, fontname="sans-serif", ranksep=1.2]'
    yield '  node [fontname="sans-serif", shape=box, style="rounded,filled", fillcolor=white]'
    yield '  edge [fontname="sans-serif", fontsize=10]'
    for network in topology.shared:
        yield f"  {_network(network)}"
    for number, host in enumerate(topology.hosts):
        yield f"  subgraph cluster_{number} {{"
        yield f"    label={_quoted(f'host {host.name}')}"
        yield from (f"    {_network(network)}" for network in host.networks)
        alone = {one.name for one in on_no_network(host)}
        for one in host.attachments:
            label = _quoted(one.name, UNATTACHED if one.name in alone else "", one.note, str(one.mark))
            yield f"    {_attachment_id(one.host, one.name)} {_attributes(label=label, **_marked(one.mark))}"
        yield "  }"
    for network in topology.networks:
        for attachment, place in topology.members(network):
            yield f"  {_edge(network, attachment, place)}"
    yield from _ports(topology)
    yield from _links(topology)
    yield "}"


def _network(network: Network) -> str:
    style = "filled,dashed" if network.is_internal else "filled"
    attributes = {
        "shape": "hexagon",
        "style": _quoted(style),
        "fillcolor": _quoted(driver_colour(network.driver)),
        "fontcolor": "white",
        "label": _quoted(network.name, *network_words(network), str(network.mark)),
        **_marked(network.mark),
    }
    return f"{_network_id(network)} {_attributes(**attributes)}"


def _edge(network: Network, attachment: Attachment, place: Place) -> str:
    label = _quoted(*place.addresses, *place_words(place), str(place.mark))
    attributes = _attributes(label=label, **_marked(place_mark(attachment, place)))
    return f"{_network_id(network)} -- {_attachment_id(attachment.host, attachment.name)} {attributes}"


def _ports(topology: Topology) -> Iterator[str]:
    is_drawn = False
    for attachment in topology.attachments:
        texts = [f"{one.text} {one.mark}".strip() for place in attachment.places for one in place.ports]
        if texts and not is_drawn:
            yield f"  outside {_attributes(shape='circle', label=_quoted('outside'))}"
            is_drawn = True
        if texts:
            attributes = _attributes(dir="forward", label=_quoted(*texts))
            yield f"  outside -- {_attachment_id(attachment.host, attachment.name)} {attributes}"


def _links(topology: Topology) -> Iterator[str]:
    known = {(one.host, one.name) for one in topology.attachments}
    for attachment in topology.attachments:
        for link in attachment.links:
            if (attachment.host, link.target) in known:
                ends = (_attachment_id(attachment.host, name) for name in (attachment.name, link.target))
                label = _quoted(f"link {link.alias}", str(link.mark))
                yield f"  {' -- '.join(ends)} {_attributes(dir='forward', style='dotted', label=label)}"


def _marked(mark: Mark) -> Mapping[str, str]:
    if mark is Mark.SAME:
        return {}
    return {"color": _quoted(_COLOURS[mark]), "penwidth": "3"}


def _network_id(network: Network) -> str:
    return _quoted(f"network/{network.host}/{network.name}")


def _attachment_id(host: str, name: str) -> str:
    return _quoted(f"attachment/{host}/{name}")


def _attributes(**attributes: str) -> str:
    return f"[{', '.join(f'{name}={value}' for name, value in attributes.items() if value != _NOTHING)}]"


def _quoted(*lines: str) -> str:
    """Return a string of some lines; a backslash is an escape in labels, so it is doubled."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for line in lines if line)
    return '"' + "\\n".join(escaped) + '"'
