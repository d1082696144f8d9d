"""Names, numbers and lists in messages. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address


def without(text: str, *names: str) -> str:
    """Return what is said of something without its name in front, for those who show the name themselves. names: tried in turn."""
    for name in names:
        text = text.removeprefix(f"{name}: ")
    return text


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural ends in -s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def before_port(address: IPv4Address | IPv6Address) -> str:
    """Return an address as it stands before a colon and a port (RFC 3986, section 3.2.2)."""
    return f"[{address}]" if address.version == 6 else str(address)


def some(items: Sequence[str], shown_max: int) -> str:
    """Return the first items with commas, and how many are left out: two or more, as one is no longer than its count."""
    if len(items) <= shown_max + 1:
        return ", ".join(items)
    return f"{', '.join(items[:shown_max])} and {len(items) - shown_max} more"
