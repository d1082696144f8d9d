"""The form for a terminal: a tree of hosts, networks and who is on them, in 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from reconciler.graph.labels import SIGNS, UNATTACHED, network_words, on_no_network, place_mark, place_words
from reconciler.graph.topology import Attachment, Host, Mark, Network, Place, Topology

COLUMNS: Final = 80
_NAME_MAX: Final = 28
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_ADDRESS_MAX: Final = 15
_BRANCH, _LAST, _ALONG, _BLANK = "├─ ", "└─ ", "│  ", "   "

Paint = Callable[[str, Mark], str]
"""Colours a line by what a change does to it."""


class _Node(Struct, frozen=True, kw_only=True):
    """One line of the tree, and what is below it. head: as it is; rest: may be folded."""

    head: str
    rest: str = ""
    mark: Mark = Mark.SAME
    below: tuple[_Node, ...] = ()


def text(topology: Topology, paint: Paint = lambda line, mark: line) -> str:
    """Return the tree. Where it shows a change, a sign stands before what comes (+), goes (-), moves (>), becomes another (~) or
    was changed on the host by others (!).
    """
    sections = [_shared(topology)] if topology.shared else []
    sections += [_host(topology, host) for host in topology.hosts if _is_shown(host)]
    return (
        "".join(f"{line}\n" for section in sections for line in _lines(section, "", "", topology.is_change, paint))
        or "no host has anything\n"
    )


def _is_shown(host: Host) -> bool:
    """Return whether there is something to be told of a host that the networks it shares do not tell."""
    return bool(host.networks or any(not one.is_elsewhere for one in host.attachments))


def _shared(topology: Topology) -> _Node:
    return _Node(head="networks of several hosts", below=tuple(_network(topology, one) for one in topology.shared))


def _host(topology: Topology, host: Host) -> _Node:
    networks = [_network(topology, network) for network in host.networks]
    alone = on_no_network(host)
    if alone:
        networks.append(_Node(head=UNATTACHED, below=tuple(_Node(head=one.name, mark=one.mark) for one in alone)))
    links = [_link(one) for one in host.attachments if one.links]
    if links:
        networks.append(_Node(head="links", below=tuple(links)))
    return _Node(head=f"host {host.name}", below=tuple(networks))


def _network(topology: Topology, network: Network) -> _Node:
    members = tuple(topology.members(network))
    names = [_name(attachment, network) for attachment, _ in members]
    width = min(_NAME_MAX, max(map(len, names), default=0))
    return _Node(
        head=f"network {network.name}",
        rest="".join(f"· {_whole(word)} " for word in network_words(network)).rstrip(),
        mark=network.mark,
        below=tuple(
            _member(name.ljust(width), attachment, place)
            for name, (attachment, place) in zip(names, members, strict=True)
        ),
    )


def _name(attachment: Attachment, network: Network) -> str:
    return f"{attachment.name} on {attachment.host}" if network.is_shared else attachment.name


def _member(name: str, attachment: Attachment, place: Place) -> _Node:
    ports = (f"{SIGNS[one.mark].strip()}{one.text}" for one in place.ports)
    words = [*ports, *map(_whole, place_words(place))]
    if attachment.note and not place.is_gateway:
        words.append(attachment.note)
    addresses = " ".join(place.addresses).ljust(_ADDRESS_MAX if words else 0)
    head = f"{name}  {addresses}" if addresses else name
    return _Node(head=head.rstrip() if not words else head, rest=", ".join(words), mark=place_mark(attachment, place))


def _link(attachment: Attachment) -> _Node:
    def told() -> Iterator[str]:
        for link in attachment.links:
            alias = f" as {link.alias}" if link.alias != link.target else ""
            yield f"{SIGNS[link.mark].strip()}{link.target}{alias}"

    return _Node(head=f"{attachment.name} →", rest=", ".join(told()), mark=attachment.mark)


def _lines(node: _Node, first: str, others: str, is_change: bool, paint: Paint) -> Iterator[str]:
    """Yield the lines of a node. first, others: what stands before its own first line, and before all that follow."""
    sign = f"{SIGNS[node.mark]} " if is_change else ""
    blank = " " * len(sign)
    start = f"{sign}{first}{node.head}"
    along = f"{blank}{others}{_ALONG if node.below else _BLANK}  "
    yield from (paint(line, node.mark) for line in _folded(start, node.rest, along))
    for index, below in enumerate(node.below):
        is_last = index == len(node.below) - 1
        yield from _lines(
            below, others + (_LAST if is_last else _BRANCH), others + (_BLANK if is_last else _ALONG), is_change, paint
        )


def _whole(words: str) -> str:
    """Keep words on one line that say one thing, unless they fill it."""
    return words.replace(" ", _NO_BREAK) if len(words) < COLUMNS // 2 else words


def _folded(start: str, rest: str, along: str) -> Iterator[str]:
    line = f"{start} {rest}".rstrip()
    lines = (
        [line]
        if len(line) <= COLUMNS
        else textwrap.wrap(line, COLUMNS, subsequent_indent=along, break_long_words=False, break_on_hyphens=False)
    )
    return (each.replace(_NO_BREAK, " ") for each in lines)
