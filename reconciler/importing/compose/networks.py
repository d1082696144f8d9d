"""`networks:` of a Compose project -> networks of specs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.errors import SpecError
from reconciler.importing.compose.tree import Node, Notes, items, mapping, pairs, text
from reconciler.importing.names import renamed
from reconciler.importing.values import ImportedNetwork, NotCarried, Path
from reconciler.model.identifiers import BUILTIN_NETWORKS

_KEYS: Final = ("attachable", "driver", "driver_opts", "enable_ipv4", "enable_ipv6", "internal", "ipam", "labels")
_SAID_ELSEWHERE: Final = ("external", "name")
_POOL_KEYS: Final = ("subnet", "ip_range", "gateway", "aux_addresses")
_BOOLS: Final = {**dict.fromkeys(("true", "yes", "y", "on"), True), **dict.fromkeys(("false", "no", "n", "off"), False)}
"""What Compose takes for true and false (compose-go's loader/interpolate.go)."""


class Network(Struct, frozen=True, kw_only=True):
    """node: what the files say of it. name: what Compose calls it."""

    key: str
    node: Node
    name: str
    is_external: bool

    @property
    def is_builtin(self) -> bool:
        return self.name in BUILTIN_NETWORKS


def declared_networks(project: str, sections: Mapping[str, Node], notes: Notes) -> dict[str, Network]:
    """Return all networks that services may name. The network `default` is always among them."""
    found = {}
    for key, node in sections.items():
        try:
            found[key] = _network(project, key, node)
        except SpecError as fault:
            notes.faults.append(fault)
    return found


def _network(project: str, key: str, node: Node) -> Network:
    entries = mapping(node, f"networks.{key}")
    external, name = entries.get("external"), entries.get("name")
    is_external = False
    if external is not None and isinstance(external.value, Mapping):
        is_external, name = True, external.value.get("name", name)
    elif external is not None and external.value is not None:
        is_external = boolean(external, f"networks.{key}.external")
    own = text(name, f"networks.{key}.name") if name is not None else ""
    driver = entries.get("driver")
    if driver is not None and driver.value in ("host", "none", "null"):
        own = "none" if driver.value == "null" else str(driver.value)
    return Network(
        key=key, node=node, name=own or (key if is_external else f"{project}_{key}"), is_external=is_external
    )


def imported_network(network: Network, name: str, notes: Notes) -> ImportedNetwork:
    """Return it in the words of specs. name: what it is called there."""
    where = str(network.node.key)
    not_carried = list(renamed(where, network.name, name))
    places: dict[Path, str] = {}
    if network.is_external:
        why = (
            "the files do not say who makes it or how: it is declared here by its name alone; "
            "where other specs declare it, remove this entry"
        )
        return ImportedNetwork(
            name=name,
            body={},
            source=f"{where}, network {network.key}",
            not_carried=(*not_carried, NotCarried(where=where, what="external", why=why)),
        )
    body: dict[str, object] = {}
    for key, node in sorted(network.node.entries.items(), key=lambda item: _order(item[0])):
        if key in _SAID_ELSEWHERE or key.startswith("x-") or node.value is None:
            continue
        if key not in _KEYS:
            why = "specs have nothing like it, and neither has any Compose that we know: look at how it is spelt"
            not_carried.append(NotCarried(where=str(node.key), what=key, why=why))
            continue
        try:
            value = _value(key, node, f"networks.{network.key}.{key}", not_carried)
        except SpecError as fault:
            notes.faults.append(fault)
            continue
        if value not in (None, "", {}):
            body[key] = value
            places |= _places(node, (key,))
    return ImportedNetwork(
        name=name,
        body=body,
        source=f"{where}, network {network.key}",
        not_carried=tuple(not_carried),
        places=places,
    )


def boolean(node: Node, what: str) -> bool:
    found = _BOOLS.get(text(node, what).lower())
    if found is None:
        raise node.place.fault(f"{what}: expected true or false")
    return found


def _value(key: str, node: Node, what: str, not_carried: list[NotCarried]) -> object:
    match key:
        case "driver":
            driver = text(node, what)
            return None if driver in ("default", "bridge") else driver
        case "driver_opts":
            return {name: text(value, what) for name, value in mapping(node, what).items() if value.value is not None}
        case "labels":
            return {name: text(value, what) for name, value in pairs(node, what).items()}
        case "ipam":
            return _ipam(node, what, not_carried)
    return boolean(node, what)


def _ipam(node: Node, what: str, not_carried: list[NotCarried]) -> dict[str, object]:
    entries, found = mapping(node, what), {}
    driver = text(entries["driver"], f"{what}.driver") if "driver" in entries else ""
    if driver not in ("", "default"):
        found["driver"] = driver
    pools = [*_pools(items(entries.get("config"), f"{what}.config"), f"{what}.config", not_carried)]
    options = {name: text(value, what) for name, value in pairs(entries.get("options"), f"{what}.options").items()}
    return {**found, **({"config": pools} if pools else {}), **({"options": options} if options else {})}


def _pools(nodes: tuple[Node, ...], what: str, not_carried: list[NotCarried]) -> Iterator[dict[str, object]]:
    """Yield the pools that specs can have: each with a subnet, one of an address family."""
    families: set[bool] = set()
    for node in nodes:
        entries = mapping(node, what)
        pool: dict[str, object] = {}
        for key in _POOL_KEYS:
            inner = entries.get(key)
            if inner is None or inner.value in (None, ""):
                continue
            if key == "aux_addresses":
                pool[key] = {name: text(value, what) for name, value in mapping(inner, what).items()}
            else:
                pool[key] = text(inner, f"{what}.{key}")
        subnet = str(pool.get("subnet", ""))
        if not subnet:
            why = "a pool without a subnet says nothing that holds by itself: the next free subnet is taken"
            not_carried.append(NotCarried(where=str(node.place), what=", ".join(pool) or "an empty pool", why=why))
        elif (":" in subnet) in families:
            not_carried.append(
                NotCarried(
                    where=str(node.place), what=f"subnet {subnet}", why="a network has one of each address family"
                )
            )
        else:
            families.add(":" in subnet)
            yield pool


def _places(node: Node, path: Path) -> dict[Path, str]:
    found = {path: str(node.place)}
    inner = (
        node.value.items()
        if isinstance(node.value, Mapping)
        else enumerate(node.value)
        if isinstance(node.value, tuple)
        else ()
    )
    for step, value in inner:
        found |= _places(value, (*path, step))
    return found


def _order(key: str) -> int:
    """Return where people look for a key: the driver first."""
    order = ("driver", "driver_opts", "ipam", "internal", "attachable", "enable_ipv4", "enable_ipv6", "labels")
    return order.index(key) if key in order else len(order)
