"""Where things are in a picture: cards of networks in columns, below the name of their host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, sqrt
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.graph.labels import SIGNS, UNATTACHED, network_words, on_no_network, place_mark, place_words
from reconciler.graph.topology import Attachment, Host, Mark, Network, Topology

CARD_WIDTH: Final = 300
ROW: Final = 18
HEAD: Final = 24
GAP: Final = 16
_TITLE: Final = 40
_COLUMNS_MAX: Final = 24
_WORDS_MAX: Final = 46
"""Characters of small text that a card's width has room for."""


class Row(Struct, frozen=True, kw_only=True):
    """One attachment on a card, or a line that goes on about the one above (no name). y: of its middle."""

    y: float
    name: str = ""
    right: str = ""
    below: str = ""
    mark: Mark = Mark.SAME
    attachment: tuple[str, str] = ("", "")


class Card(Struct, frozen=True, kw_only=True):
    """network: None for those on no network. words: lines below its name. y of rows: on the picture."""

    x: float
    y: float
    height: float
    title: str
    network: Network | None
    words: tuple[str, ...]
    rows: tuple[Row, ...]


class Title(Struct, frozen=True, kw_only=True):
    x: float
    y: float
    text: str


class Layout(Struct, frozen=True, kw_only=True):
    width: float
    height: float
    titles: tuple[Title, ...]
    cards: tuple[Card, ...]


def layout(topology: Topology) -> Layout:
    """Place all cards, in so many columns that the picture is about as wide as a screen."""
    sections = list(_sections(topology))
    heights = [card.height + GAP for _, cards in sections for card in cards]
    columns = max(1, min(_COLUMNS_MAX, ceil(sqrt(sum(heights) * 1.6 / (CARD_WIDTH + GAP)))))
    titles: list[Title] = []
    placed: list[Card] = []
    y = float(GAP)
    for text, cards in sections:
        titles.append(Title(x=GAP, y=y + 24, text=text))
        bottoms = [y + _TITLE] * columns
        for card in cards:
            column = bottoms.index(min(bottoms))
            placed.append(_moved(card, GAP + column * (CARD_WIDTH + GAP), bottoms[column]))
            bottoms[column] += card.height + GAP
        y = max(bottoms)
    width = columns * (CARD_WIDTH + GAP) + GAP
    return Layout(width=width, height=y + GAP, titles=tuple(titles), cards=tuple(placed))


def _sections(topology: Topology) -> Iterator[tuple[str, list[Card]]]:
    if topology.shared:
        yield "shared networks", [_card(topology, network) for network in topology.shared]
    for host in topology.hosts:
        cards = [_card(topology, network) for network in host.networks]
        if alone := on_no_network(host):
            cards.append(_of_alone(host, alone))
        if cards:
            yield f"host {host.name}", cards


def _card(topology: Topology, network: Network) -> Card:
    words = tuple(_lines(word for word in network_words(network) if word not in (network.driver, "internal")))
    rows: list[Row] = []
    y = float(HEAD + ROW * len(words) + ROW)
    for attachment, place in topology.members(network):
        name = f"{attachment.name} on {attachment.host}" if network.is_shared else attachment.name
        sign = place_mark(attachment, place)
        key = attachment.host, attachment.name
        rows.append(Row(y=y, name=name, right=" ".join(place.addresses), mark=sign, attachment=key))
        more = (
            [f"{SIGNS[one.mark].strip()}{one.text}" for one in place.ports]
            + ([] if place.is_gateway else list(place_words(place)))
            + ([attachment.note] if attachment.note else [])
        )
        for line in _lines(more):
            y += ROW
            rows.append(Row(y=y, below=line, mark=sign))
        y += ROW
    return Card(x=0, y=0, height=y - ROW / 3, title=network.name, network=network, words=words, rows=tuple(rows))


def _of_alone(host: Host, alone: Sequence[Attachment]) -> Card:
    rows = tuple(
        Row(y=HEAD + ROW * (number + 1), name=one.name, mark=one.mark, attachment=(host.name, one.name))
        for number, one in enumerate(alone)
    )
    return Card(x=0, y=0, height=HEAD + ROW * (len(rows) + 0.7), title=UNATTACHED, network=None, words=(), rows=rows)


def _lines(words: Iterable[str]) -> Iterator[str]:
    """Yield lines of words that fit a card."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 3 > _WORDS_MAX:
            yield line
            line = ""
        line = f"{line} · {word}" if line else word
    if line:
        yield line


def _moved(card: Card, x: float, y: float) -> Card:
    return replace(card, x=x, y=y, rows=tuple(replace(row, y=row.y + y) for row in card.rows))
