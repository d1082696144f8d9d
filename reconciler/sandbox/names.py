"""What an attachment is called on a network."""

from __future__ import annotations

from reconciler.model.desired import DesiredAttachment, DesiredEndpoint


def endpoint_names(attachment: DesiredAttachment, endpoint: DesiredEndpoint) -> tuple[str, ...]:
    """Give all that it answers to, in lower case: name, aliases, short id, hostname (docker-networking section 7.2)."""
    short_id = attachment.id[:12]
    names = (attachment.name, *endpoint.wanted.aliases, short_id, attachment.wanted.hostname or short_id)
    return tuple(dict.fromkeys(name.lower() for name in names))
