"""One Compose file over another, as the Compose specification (13-merge.md) and compose-go's override package have it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec.structs import replace

from reconciler.importing.compose.tree import OVERRIDE, RESET, Node, items, mapping, pairs, text

Path = tuple[str, ...]


def merged(base: Node, over: Node, path: Path = ()) -> Node:
    """Return both as one; what `over` says of a key wins, lists get longer. Raises SpecError where they are of two kinds."""
    if over.tag == OVERRIDE:
        return settled(over)
    special = next((rule for pattern, rule in _SPECIAL if _fits(path, pattern)), None)
    if special is not None:
        return special(base, settled(over), path)
    if over.value is None:
        return base
    if isinstance(base.value, Mapping):
        mapping(over, f"{_words(path)}, which {base.place} has as a mapping")
        return _mappings(base, over, path)
    if isinstance(base.value, tuple):
        added = items(over, f"{_words(path)}, which {base.place} has as a list")
        return replace(over, value=base.value + tuple(map(settled, _kept(added))))
    return settled(over)


def settled(node: Node) -> Node:
    """Return a part that nothing is below: what it resets is not there, and it overrides nothing."""
    if isinstance(node.value, Mapping):
        kept = {name: settled(inner) for name, inner in node.value.items() if inner.tag != RESET}
        return replace(node, value=kept, tag="")
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(map(settled, _kept(node.value))), tag="")
    return replace(node, tag="") if node.tag else node


def distinct(nodes: tuple[Node, ...], what: str) -> tuple[Node, ...]:
    """Return a list of texts, each once: a later one stands in the earlier one's place. Raises SpecError for what is no text."""
    return tuple({text(node, what): node for node in nodes}.values())


def _kept(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(node for node in nodes if node.tag != RESET)


def _mappings(base: Node, over: Node, path: Path) -> Node:
    assert isinstance(base.value, Mapping)
    assert isinstance(over.value, Mapping)
    found = dict(base.value)
    for name, inner in over.value.items():
        if inner.tag == RESET:
            found.pop(name, None)
        elif name in found:
            found[name] = merged(found[name], inner, (*path, name))
        else:
            found[name] = settled(inner)
    return replace(base, value=found)


def _pairs(base: Node, over: Node, path: Path) -> Node:
    """Merge what is a mapping, or a list of `key=value`."""
    return replace(base, value={**pairs(base, _words(path)), **pairs(over, _words(path))})


def _listed(base: Node, over: Node, path: Path) -> Node:
    """Merge what is a list, or one text."""
    return replace(base, value=(*as_items(base, _words(path)), *as_items(over, _words(path))))


def as_items(node: Node | None, what: str) -> tuple[Node, ...]:
    """Return the items of a list, or one text as the only one."""
    if node is None or isinstance(node.value, tuple) or node.value is None:
        return items(node, what)
    return (replace(node, value=text(node, what)),)


def _hosts(base: Node, over: Node, path: Path) -> Node:
    """Append what is not there yet: a name may have several addresses."""
    return replace(base, value=(*host_items(base, _words(path)), *host_items(over, _words(path))))


def host_items(node: Node | None, what: str) -> tuple[Node, ...]:
    """Return `extra_hosts` as a list, each once."""
    if node is None or not isinstance(node.value, Mapping):
        return distinct(items(node, what), what)
    found = []
    for name, value in sorted(node.value.items()):
        for item in value.value if isinstance(value.value, tuple) else (value,):
            found.append(replace(item, value=f"{name}={text(item, what)}"))
    return distinct(tuple(found), what)


def _networks(base: Node, over: Node, path: Path) -> Node:
    """Merge which networks a service is on: names, or a mapping."""
    return _mappings(
        replace(base, value=named(base, _words(path))), replace(over, value=named(over, _words(path))), path
    )


def named(node: Node | None, what: str) -> Mapping[str, Node]:
    """Return a list of names as a mapping to nothing."""
    if node is None or not isinstance(node.value, tuple):
        return mapping(node, what)
    return {text(item, what): replace(item, value=None) for item in node.value}


def _pools(base: Node, over: Node, path: Path) -> Node:
    """Merge address pools by their subnets."""
    found: dict[str, Node] = {}
    for pool in (*items(base, _words(path)), *items(over, _words(path))):
        subnet = mapping(pool, _words(path)).get("subnet")
        key = str(subnet.value) if subnet is not None else ""
        found[key] = _mappings(found[key], pool, path) if key in found else pool
    return replace(base, value=tuple(found.values()))


def _fits(path: Path, pattern: Path) -> bool:
    return len(path) == len(pattern) and all(want in ("*", got) for got, want in zip(path, pattern, strict=True))


def _words(path: Path) -> str:
    return ".".join(path)


_Rule = Callable[[Node, Node, Path], Node]
_SPECIAL: Final[tuple[tuple[Path, _Rule], ...]] = (
    (("networks", "*", "ipam", "config"), _pools),
    (("networks", "*", "labels"), _pairs),
    (("networks", "*", "ipam", "options"), _pairs),
    (("services", "*", "networks"), _networks),
    (("services", "*", "sysctls"), _pairs),
    (("services", "*", "dns"), _listed),
    (("services", "*", "dns_opt"), _listed),
    (("services", "*", "dns_search"), _listed),
    (("services", "*", "extra_hosts"), _hosts),
)
