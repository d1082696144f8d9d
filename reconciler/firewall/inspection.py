"""Compare a listed table with what it should be, and read its elements. Looks at no rule's expressions: nft prints those
differently from version to version, so rules are known by the digest and number in their comments, and by being all there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from msgspec import Struct

from reconciler.firewall.notation import NotationError, as_listed, comment_unit, read_element
from reconciler.firewall.ruleset import TABLE, ChainSpec, SetSpec, TableSpec, rule_comment
from reconciler.firewall.transit import is_learned
from reconciler.model.identifiers import HOST, NsRef
from reconciler.model.objects import FirewallElement, Unit

Listing = Sequence[dict[str, Any]]
"""What `nft -j list table` prints below `nftables`: objects with one member that says what they are."""

DAMAGED: Final = "damaged"
_RULE_COMMENT = re.compile(r"([0-9a-f]{12}) [0-9]+\Z")


class TableState(Struct, frozen=True, kw_only=True):
    """A table of our name as it is.

    digest: that of the spec if chains, rules and sets are exactly there; that of the text it was made from if that is another; else
    "damaged". elements: of the sets and maps that are as declared and so outlive a repair; others must be sent anew.
    """

    is_ours: bool
    digest: str
    elements: tuple[FirewallElement, ...] = ()


def inspect_table(spec: TableSpec, listing: Listing, long_units: Mapping[str, Unit], ns: NsRef = HOST) -> TableState:
    """Return what became of our table. `long_units` is of `notation.digested`, `ns` is where the table was found.

    Ours is a table with a rule or a set that we made, or an empty one. Raises FirewallError for what is no listing.
    """
    with as_listed(f"table {spec.family} {TABLE}"):
        return _state(spec, _Listed(listing), long_units, ns)


def _state(spec: TableSpec, found: _Listed, long_units: Mapping[str, Unit], ns: NsRef) -> TableState:
    sound = [(spec.sets_by_name[s["name"]], s) for s in found.sets if _is_as_declared(spec, s)]
    text_digests = {match[1] for rule in found.rules if (match := _RULE_COMMENT.match(rule.get("comment", "")))}
    if not (text_digests or sound or found.is_empty):
        return TableState(is_ours=False, digest=DAMAGED)
    elements, has_strangers = _read_elements(spec.family, ns, sound, long_units)
    is_whole = _is_whole(spec, found) and len(sound) == len(found.sets) == len(spec.sets) and not has_strangers
    if is_whole:
        return TableState(is_ours=True, digest=spec.digest, elements=elements)
    outdated = text_digests - {spec.digest}
    return TableState(
        is_ours=True, digest=outdated.pop() if len(text_digests) == len(outdated) == 1 else DAMAGED, elements=elements
    )


class _Listed:
    """A listing's objects by kind, each in the kernel's order."""

    def __init__(self, listing: Listing) -> None:
        self.table: dict[str, Any] = {}
        self.sets: list[dict[str, Any]] = []
        self.chains: dict[str, dict[str, Any]] = {}
        self.rules: list[dict[str, Any]] = []
        self.others = 0
        for item in listing:
            for kind, found in item.items():
                self._add(kind, found)

    def _add(self, kind: str, found: dict[str, Any]) -> None:
        match kind:
            case "metainfo":
                pass
            case "table":
                self.table = found
            case "set" | "map":
                self.sets.append(found)
            case "chain":
                self.chains[found["name"]] = found
            case "rule":
                self.rules.append(found)
            case _:
                self.others += 1

    def comments_by_chain(self) -> dict[str, list[str]]:
        comments: dict[str, list[str]] = {name: [] for name in self.chains}
        for rule in self.rules:
            comments[rule["chain"]].append(rule.get("comment", ""))
        return comments

    @property
    def is_empty(self) -> bool:
        return not (self.sets or self.chains or self.rules or self.others)


def _is_as_declared(spec: TableSpec, listed: Mapping[str, Any]) -> bool:
    wanted = spec.sets_by_name.get(listed["name"])
    return wanted is not None and (
        _joined(listed["type"]) == " . ".join(wanted.key)
        and _joined(listed.get("map", "")) == " . ".join(wanted.value)
        and _flags(listed, wanted) == wanted.flags
        and listed.get("size", 0) == wanted.learned_max
        and not listed.keys() & {"timeout", "stmt"}
    )


def _flags(listed: Mapping[str, Any], wanted: SetSpec) -> tuple[str, ...]:
    """Return the flags of a set. nft 1.0.6 does not print that one is dynamic; later ones print a single flag without a list."""
    flags = listed.get("flags", wanted.flags if wanted.learned_max else ())
    return (flags,) if isinstance(flags, str) else tuple(flags)


def _joined(listed_type: Any) -> str:
    return " . ".join(listed_type) if isinstance(listed_type, list) else str(listed_type)


def _is_whole(spec: TableSpec, found: _Listed) -> bool:
    """Return whether chains and rules are the spec's, none more. A dormant table is listed with `flags`."""
    return (
        found.comments_by_chain() == _expected_comments(spec)
        and not found.others
        and "flags" not in found.table
        and all(_is_hooked(chain, found.chains[chain.name]) for chain in spec.chains)
    )


def _expected_comments(spec: TableSpec) -> dict[str, list[str]]:
    numbers = count()
    return {chain.name: [rule_comment(spec.digest, next(numbers)) for _ in chain.rules] for chain in spec.chains}


def _is_hooked(chain: ChainSpec, listed: Mapping[str, Any]) -> bool:
    if not chain.hook:
        return "hook" not in listed
    found = tuple(listed.get(name) for name in ("type", "hook", "prio", "policy"))
    return found == (chain.type, chain.hook, chain.priority, "accept")


def _read_elements(
    family: str, ns: NsRef, sets: Sequence[tuple[SetSpec, Mapping[str, Any]]], long_units: Mapping[str, Unit]
) -> tuple[tuple[FirewallElement, ...], bool]:
    """Return the elements, and whether there are any that neither we could have made nor our rules."""
    elements, has_strangers = [], False
    for spec, listed in sets:
        for item in listed.get("elem", ()):
            if spec.learned_max:
                has_strangers |= not is_learned(spec, item)
                continue
            try:
                key, value, comment = read_element(spec, item)
            except NotationError:
                has_strangers = True
                continue
            unit = comment_unit(comment, long_units)
            elements.append(
                FirewallElement(
                    unit=unit, ns=ns, family=family, table=TABLE, set_name=spec.name, element=key, value=value
                )
            )
    return tuple(elements), has_strangers
