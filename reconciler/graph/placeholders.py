"""Reasons without the names of the two that they are about, so that one serves for many.

While reasons are worked out, attachments have names that nothing else in a sentence can be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import Final

from msgspec.structs import replace

from reconciler.model.desired import DesiredAttachment
from reconciler.model.objects import IPAddress
from reconciler.reach.site import Site
from reconciler.reach.values import Party, PartyKind, Step
from reconciler.reach.walk import Walk

CLIENT: Final = "\ue000"
SERVER: Final = "\ue001"
PORT: Final = "\ue004"
"""Stand in reasons for the names of the two, and for the port of the host."""

_BEGIN, _BETWEEN, _END = "\ue002", "\ue003", "\ue005"
"""Around host and name of attachments: a network may have the same name, and so may one elsewhere."""


def without_names(step: Step, client: Party, server: Party, place: str) -> Step:
    text, unit = step.text.replace(place, PORT) if place else step.text, step.unit
    attachment = unit.attachment if unit is not None else ""
    for party, place in ((client, CLIENT), (server, SERVER)):
        if party.kind is PartyKind.ATTACHMENT:
            text, attachment = (each.replace(party.name, place) for each in (text, attachment))
    return replace(step, text=bare(text), unit=None if unit is None else replace(unit, attachment=bare(attachment)))


def without_addresses(text: str, addresses: Iterable[IPAddress]) -> str:
    """Name the server where its address is named: that of the others is another."""
    for address in addresses:
        if str(address) in text:
            text = re.sub(rf"(?<![\w.:]){re.escape(str(address))}(?![\w.:])", SERVER, text)
    return text


def marked(walk: Walk) -> Walk:
    """Return the same with other names of attachments; `bare` gives those that they have."""
    return Walk(sites={name: _marked_site(site) for name, site in walk.sites.items()})


def _marked_site(site: Site) -> Site:
    desired = site.desired
    mark = partial(_marked_attachment, host=site.name)
    attachments, held = (tuple(map(mark, some)) for some in (desired.attachments, desired.held))
    return replace(site, desired=replace(desired, attachments=attachments, held=held))


def _marked_attachment(attachment: DesiredAttachment, host: str) -> DesiredAttachment:
    name = f"{_BEGIN}{host}{_BETWEEN}{attachment.name}{_END}"
    endpoints = tuple(replace(one, attachment=name) for one in attachment.endpoints)
    return replace(attachment, wanted=replace(attachment.wanted, name=name), endpoints=endpoints)


def bare(text: str) -> str:
    return re.sub(f"{_BEGIN}[^{_BETWEEN}]*{_BETWEEN}|{_END}", "", text) if _BEGIN in text else text
