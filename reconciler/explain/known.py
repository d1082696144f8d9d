"""Where names of attachments are known, on all hosts."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.reach.values import Party
from reconciler.reach.walk import Walk
from reconciler.review.names import names_of


def known_as(walk: Walk, client: Party, name: str) -> Iterator[tuple[str, str]]:
    """Yield the networks on which a client finds a name, each with the attachment that has it."""
    own = walk.sites[client.host]
    joined = {endpoint.network for endpoint in own.members[client.name].endpoints}
    for network, attachment, only_to in all_known_as(walk, name):
        is_near = attachment in own.members or own.networks[network].scope == "global" if network in joined else False
        if is_near and only_to in ("", client.name):
            yield network, attachment


def all_known_as(walk: Walk, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield where a name is known: the network, the attachment that has it, and the one who alone knows it, or ""."""
    found = {one for site in walk.sites.values() for one in names_of(site.desired) if one.name == name.lower()}
    for known in sorted(found):
        yield known.network, known.attachment, known.only_to
