"""By which names the members of a network know each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.model.desired import DesiredState
from reconciler.review.values import NameKnown

_WITHOUT_NAMES: Final = ("bridge", "host", "none")


def names_of(desired: DesiredState) -> frozenset[NameKnown]:
    """Return the names that the specs ask for. The default network has none, as Docker's."""
    return frozenset((*_of_endpoints(desired), *_of_links(desired)))


def _of_endpoints(desired: DesiredState) -> Iterator[NameKnown]:
    for attachment in desired.members:
        for endpoint in attachment.endpoints:
            if endpoint.network not in _WITHOUT_NAMES and not endpoint.wanted.is_gateway:
                for name in (attachment.name, attachment.wanted.hostname or attachment.name, *endpoint.wanted.aliases):
                    yield NameKnown(network=endpoint.network, attachment=attachment.name, name=name.lower())


def _of_links(desired: DesiredState) -> Iterator[NameKnown]:
    """A link's alias is known to the one who links, on the networks that both are on."""
    on = {member.name: {endpoint.network for endpoint in member.endpoints} for member in desired.members}
    for attachment in desired.members:
        for target, alias in attachment.wanted.links:
            for network in sorted(on[attachment.name] & on.get(target, set())):
                if alias != target or network in _WITHOUT_NAMES:
                    yield NameKnown(network=network, attachment=target, name=alias.lower(), only_to=attachment.name)
