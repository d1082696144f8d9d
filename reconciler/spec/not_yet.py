"""Keys that are understood and whose feature comes later: one table, an entry leaves it when its feature arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from reconciler.spec.bridge_options import PREFIX
from reconciler.spec.document import Path
from reconciler.spec.network import Fault, NetworkSpec

_NETWORK: Final[tuple[tuple[Path, str, Callable[[NetworkSpec], bool]], ...]] = (
    (
        ("driver_opts", f"{PREFIX}advertise_addr_nmsgs"),
        "advertising addresses",
        lambda spec: f"{PREFIX}advertise_addr_nmsgs" in spec.driver_opts,
    ),
    (
        ("driver_opts", f"{PREFIX}advertise_addr_ms"),
        "advertising addresses",
        lambda spec: f"{PREFIX}advertise_addr_ms" in spec.driver_opts,
    ),
)
"""Place, what is not supported, whether the entry uses it."""


def not_yet_in_network(spec: NetworkSpec) -> Iterator[Fault]:
    return ((path, f"{what} is not supported yet") for path, what, is_used in _NETWORK if is_used(spec))
