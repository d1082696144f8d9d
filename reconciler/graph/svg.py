"""A picture: every browser and editor shows it; light or dark as its reader has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Final

from reconciler.graph.labels import SIGNS, driver_colour
from reconciler.graph.layout import CARD_WIDTH, HEAD, ROW, Card, Layout, Row, layout
from reconciler.graph.topology import Mark, Topology

_STYLE: Final = """
text { font: 13px system-ui, "Segoe UI", sans-serif; fill: #1b2029; }
.paper { fill: #f6f7f9; }
.card { fill: #fff; stroke: #c9d0d9; }
.title { font-size: 17px; font-weight: 600; }
.name { font-weight: 600; font-size: 14px; }
.soft { fill: #5a6473; font-size: 11.5px; }
.mono { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 11.5px; fill: #5a6473; }
.also { fill: none; stroke: #0b57d0; opacity: .28; }
.link { fill: none; stroke: #8250df; stroke-dasharray: 5 4; opacity: .8; }
.internal { stroke-dasharray: 5 4; }
.added { fill: #1a7f37; }
.removed { fill: #b3261e; text-decoration: line-through; }
.moved { fill: #8250df; }
.changed { fill: #8a5a00; }
.drifted { fill: #b04a00; }
@media (prefers-color-scheme: dark) {
  text { fill: #e4e8ee; }
  .paper { fill: #12151a; }
  .card { fill: #1c2128; stroke: #3d4652; }
  .soft, .mono { fill: #a0abb9; }
  .also { stroke: #8ab4f8; }
  .link { stroke: #c8a8ff; }
  .added { fill: #6fd08c; }
  .removed { fill: #ff938a; }
  .moved { fill: #c8a8ff; }
  .changed { fill: #e8b960; }
  .drifted { fill: #ffab70; }
}
.badge { fill: #fff; font-size: 11px; font-weight: 600; }
"""


def svg(topology: Topology) -> str:
    placed = layout(topology)
    size = (
        f'width="{placed.width:.0f}" height="{placed.height:.0f}" viewBox="0 0 {placed.width:.0f} {placed.height:.0f}"'
    )
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="hosts and networks">',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{placed.width:.0f}" height="{placed.height:.0f}"/>',
        *(_text(title.x, title.y, title.text, "title") for title in placed.titles),
        *(line for card in placed.cards for line in _card(card, is_change=topology.is_change)),
        *_curves(topology, placed),
        "</svg>",
    )
    return "".join(f"{line}\n" for line in lines if line)


def _card(card: Card, *, is_change: bool) -> Iterator[str]:
    network = card.network
    colour = driver_colour(network.driver) if network is not None else driver_colour("null")
    internal = " internal" if network is not None and network.is_internal else ""
    mark = network.mark if network is not None else Mark.SAME
    yield "<g>"
    box = f'x="{card.x:.0f}" y="{card.y:.0f}" width="{CARD_WIDTH}" height="{card.height:.0f}"'
    yield f'<rect class="card{internal}" {box} rx="7"/>'
    yield f'<rect x="{card.x:.0f}" y="{card.y:.0f}" width="5" height="{card.height:.0f}" rx="2" fill="{colour}"/>'
    yield _text(card.x + 14, card.y + 18, f"{_sign(mark)}{card.title}", f"name {mark}".strip())
    if network is not None:
        badge = network.driver + (" · internal" if network.is_internal else "")
        width = 7 * len(badge) + 10
        left = card.x + CARD_WIDTH - width - 8
        yield f'<rect x="{left:.0f}" y="{card.y + 6:.0f}" width="{width}" height="16" rx="4" fill="{colour}"/>'
        yield _text(left + width / 2, card.y + 18, badge, "badge", "middle")
    for number, words in enumerate(card.words):
        yield _text(card.x + 14, card.y + HEAD + ROW * (number + 0.6), words, "soft")
    for row in card.rows:
        yield from _row(card, row, is_change=is_change)
    yield "</g>"


def _row(card: Card, row: Row, *, is_change: bool) -> Iterator[str]:
    sign = _sign(row.mark) if is_change else ""
    if row.name:
        yield _text(card.x + 14, row.y + 4, f"{sign}{row.name}", str(row.mark))
        yield _text(card.x + CARD_WIDTH - 10, row.y + 4, row.right, "mono", "end")
    else:
        yield _text(card.x + 28, row.y + 3, row.below, f"mono {row.mark}".strip())


def _sign(mark: Mark) -> str:
    return "" if mark is Mark.SAME else f"{SIGNS[mark]} "


def _curves(topology: Topology, placed: Layout) -> Iterator[str]:
    """Yield what joins the places of one attachment, and who links to whom."""
    places: defaultdict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for card in placed.cards:
        for row in card.rows:
            if row.name:
                places[row.attachment].append((card.x, row.y))
    for found in places.values():
        yield from (_curve(one, two, "also") for one, two in pairwise(found))
    for attachment in topology.attachments:
        one = places.get((attachment.host, attachment.name))
        for link in attachment.links:
            two = places.get((attachment.host, link.target))
            if one and two:
                yield _curve(one[0], two[0], "link")


def _curve(one: tuple[float, float], two: tuple[float, float], kind: str) -> str:
    (x1, y1), (x2, y2) = sorted((one, two))
    start, end = (x1 + CARD_WIDTH, x2) if x2 > x1 else (x1 + CARD_WIDTH, x2 + CARD_WIDTH)
    bend = max(20.0, abs(end - start) / 2)
    back = -bend if x2 > x1 else bend
    way = f"M{start:.0f},{y1:.0f} C{start + bend:.0f},{y1:.0f} {end + back:.0f},{y2:.0f} {end:.0f},{y2:.0f}"
    return f'<path class="{kind}" d="{way}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "") -> str:
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}"{anchored}>{escape(_clean(text))}</text>' if text else ""


def _clean(text: str) -> str:
    """Leave out what XML 1.0 cannot have."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= " " and not 0xD800 <= ord(c) < 0xE000 and c not in "\ufffe\uffff")
    )
