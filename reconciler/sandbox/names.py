"""What an attachment is called on a network."""

from __future__ import annotations

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint
from reconciler.model.identifiers import short_id


def endpoint_names(attachment: DesiredAttachment, endpoint: DesiredEndpoint) -> tuple[str, ...]:
    """Return all that it answers to, in lower case: name, aliases, short id, hostname (docs/design/docker.md#names)."""
    short = short_id(attachment.id)
    names = (attachment.name, *endpoint.wanted.aliases, short, attachment.wanted.hostname or short)
    return tuple(dict.fromkeys(name.lower() for name in names))
