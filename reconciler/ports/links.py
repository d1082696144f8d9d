"""Links on the default bridge, where there is no name service: who they lead to (docs/design/docker.md#links).

On user-defined networks a link is a name of its own for somebody there, present or not: that is served, not chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from reconciler.errors import PlanError
from reconciler.model.desired import DesiredAttachment, DesiredEndpoint, DesiredLink, DesiredState
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.objects import Unit

DEFAULT_NETWORK: Final = "bridge"


def assign_links(desired: DesiredState) -> DesiredState:
    """Return the state with the links of every attachment on the default bridge. Never raises.

    One whose link leads nowhere is left out and stands in `failures`, as is then who links to it; who is held is there to be linked
    to. `desired` itself comes back when nobody on the default bridge has a link.
    """
    if not any(each.wanted.links and _has_legacy_links(each) for each in desired.attachments):
        return desired
    staying = {attachment.name: attachment for attachment in desired.held}
    present = {attachment.name: attachment for attachment in desired.attachments}
    failures: dict[str, PlanError] = {}
    while more := dict(_dead_ends(present, staying)):
        failures |= more
        present = {name: attachment for name, attachment in present.items() if name not in more}
    named = [(Unit(attachment=name), error) for name, error in failures.items()]
    return replace(
        desired,
        attachments=tuple(_linked(attachment, {**staying, **present}) for attachment in present.values()),
        failures=tuple(sorted((*desired.failures, *named), key=lambda failure: failure[0])),
    )


def _has_legacy_links(attachment: DesiredAttachment) -> bool:
    return bool(attachment.wanted.links) and _on_default_bridge(attachment) is not None


def _on_default_bridge(attachment: DesiredAttachment) -> DesiredEndpoint | None:
    return next((endpoint for endpoint in attachment.endpoints if endpoint.network == DEFAULT_NETWORK), None)


def _dead_ends(
    present: Mapping[str, DesiredAttachment], staying: Mapping[str, DesiredAttachment]
) -> Iterator[tuple[str, PlanError]]:
    leads_to = {**staying, **present}
    for name, attachment in present.items():
        if not _has_legacy_links(attachment):
            continue
        error = next((e for link in attachment.wanted.links if (e := _dead_end(attachment, link, leads_to))), None)
        if error is not None:
            yield name, error


def _dead_end(
    attachment: DesiredAttachment, link: tuple[str, str], present: Mapping[str, DesiredAttachment]
) -> PlanError | None:
    """Who is on user-defined networks too may link to somebody there, who need not be there yet."""
    target, alias = link
    found = present.get(target)
    if found is not None and not found.is_declared:
        return PlanError(f"attachment {attachment.name}: stays as it is until {target}, to which it links, can be read")
    has_names = any(endpoint.network not in BUILTIN_NETWORKS for endpoint in attachment.endpoints)
    if has_names or (found is not None and _on_default_bridge(found) is not None):
        return None
    text = (
        f"attachment {attachment.name}: Cannot link to a non running container: /{target} AS /{attachment.name}/{alias}"
    )
    reason = "is not there" if found is None else f"is not on the network {DEFAULT_NETWORK}"
    return PlanError(f"{text}: attachment {target} {reason}; declare it there, or remove the link")


def _linked(attachment: DesiredAttachment, present: Mapping[str, DesiredAttachment]) -> DesiredAttachment:
    if not _has_legacy_links(attachment):
        return attachment
    return replace(attachment, links=tuple(_links(attachment, present)))


def _links(attachment: DesiredAttachment, present: Mapping[str, DesiredAttachment]) -> Iterator[DesiredLink]:
    for target, alias in attachment.wanted.links:
        found = present.get(target)
        endpoint = _on_default_bridge(found) if found is not None else None
        if found is not None and endpoint is not None:
            yield DesiredLink(
                target=target,
                alias=alias,
                hostname=found.wanted.hostname or found.id[:12],
                ipv4=endpoint.ipv4.ip if endpoint.ipv4 else None,
                ipv6=endpoint.ipv6.ip if endpoint.ipv6 else None,
                ports=exposed_ports(found),
            )


def exposed_ports(attachment: DesiredAttachment) -> tuple[tuple[int, int, str], ...]:
    """Return what an attachment exposes or publishes, as (first, last, protocol), sorted."""
    published = ((*port.target, port.protocol) for port in attachment.wanted.ports)
    return tuple(sorted({*attachment.wanted.expose, *published}))
