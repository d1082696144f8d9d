"""Declare again what stays: networks that are not to go or not to change, with what is on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from reconciler.model.wanted import AttachmentWanted, EndpointWanted, NetworkMode, NetworkWanted, WantedState


def declared_again(wanted: WantedState, source: WantedState, names: frozenset[str], *, is_whole: bool) -> WantedState:
    """Return `wanted` with the networks `names` as `source` has them, and every endpoint on them.

    An attachment that is still declared keeps what is declared of its other networks; one that is not comes back with what
    it had on networks that are there. is_whole: it comes back also when it is on none of `names`.
    """
    networks = {network.name: network for network in wanted.networks}
    networks |= {network.name: network for network in source.networks if network.name in names}
    declared = {attachment.name: attachment for attachment in wanted.attachments}
    for before in source.attachments:
        present = declared.get(before.name)
        if present is not None:
            declared[before.name] = _with_endpoints(present, before, names)
        elif is_whole or any(endpoint.network in names for endpoint in before.endpoints):
            declared[before.name] = _without_lost_networks(before, networks)
    return replace(
        wanted,
        networks=tuple(networks[name] for name in sorted(networks)),
        attachments=tuple(declared[name] for name in sorted(declared)),
    )


def missing(names: Iterable[str], state: WantedState) -> frozenset[str]:
    """Return those of `names` that `state` does not declare."""
    return frozenset(names) - {network.name for network in state.networks}


def _with_endpoints(present: AttachmentWanted, before: AttachmentWanted, names: frozenset[str]) -> AttachmentWanted:
    if NetworkMode.NETWORKS not in (present.mode, before.mode) or present.mode is not before.mode:
        return present
    kept = [endpoint for endpoint in before.endpoints if endpoint.network in names]
    declared = [endpoint for endpoint in present.endpoints if endpoint.network not in names]
    return replace(present, endpoints=_sorted([*declared, *kept]))


def _sorted(endpoints: Iterable[EndpointWanted]) -> tuple[EndpointWanted, ...]:
    return tuple(sorted(endpoints, key=lambda endpoint: endpoint.network))


def _without_lost_networks(before: AttachmentWanted, networks: Mapping[str, NetworkWanted]) -> AttachmentWanted:
    return replace(before, endpoints=tuple(e for e in before.endpoints if e.network in networks))
