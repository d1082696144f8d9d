"""Networks that several hosts share: each once, with the part of each host in its change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reconciler.model.desired import DesiredState
from reconciler.review.values import HostReview, NetworkPart, Planned, SharedNetwork


def shared_networks(plans: Sequence[Planned], reviews: Sequence[HostReview]) -> tuple[SharedNetwork, ...]:
    """Return the cluster's networks that attachments of more than one host are on, before or after, and that change for them.

    reviews: of the same hosts in the same order.
    """
    names = frozenset(
        n.name for p in plans for d in (p.had, p.report.desired) for n in d.networks if n.wanted.is_shared
    )
    hosts: defaultdict[str, list[str]] = defaultdict(list)
    parts: defaultdict[str, list[NetworkPart]] = defaultdict(list)
    for planned, review in zip(plans, reviews, strict=True) if names else ():
        had, has = _members(planned.had), _members(planned.report.desired)
        for name in names & (had.keys() | has.keys()):
            hosts[name].append(review.host)
            part = _part(name, review, had[name], has[name])
            if part:
                parts[name].append(part)
    return tuple(
        SharedNetwork(name=name, hosts=tuple(hosts[name]), parts=tuple(found))
        for name, found in sorted(parts.items())
        if len(hosts[name]) > 1
    )


def _part(name: str, review: HostReview, had: frozenset[str], has: frozenset[str]) -> NetworkPart:
    return NetworkPart(
        host=review.host,
        come=tuple(sorted(has - had)),
        go=tuple(sorted(had - has)),
        names_gained=tuple(one for one in review.names_gained if one.network == name),
        names_lost=tuple(one for one in review.names_lost if one.network == name),
        moves=tuple(one for one in review.moves if one.network == name),
    )


def _members(desired: DesiredState) -> defaultdict[str, frozenset[str]]:
    """Return the attachments on each network."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for network, attachment in _places(desired):
        found[network].add(attachment)
    return defaultdict(frozenset, {network: frozenset(attachments) for network, attachments in found.items()})


def _places(desired: DesiredState) -> Iterator[tuple[str, str]]:
    for attachment in desired.attachments:
        for endpoint in attachment.endpoints:
            if not endpoint.wanted.is_gateway:
                yield endpoint.network, attachment.name
