"""`links` and `external_links` of a service. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.importing.compose.merge import distinct
from reconciler.importing.compose.parts import Parts, Project
from reconciler.importing.compose.tree import Node, items, text


def put_links(service: str, node: Node, parts: Parts, project: Project) -> None:
    """Put the links that lead to containers of the project, and tell of the others."""
    found = (*_links(service, node, parts, project), *_external_links(service, node, parts, project))
    for index, (item, _) in enumerate(found):
        parts.places["links", index] = str(item.place)
    if found:
        parts.body["links"] = [link for _, link in found]


def _links(service: str, node: Node, parts: Parts, project: Project) -> Iterator[tuple[Node, str]]:
    what = f"services.{service}.links"
    for item in distinct(items(node.get("links"), what), what):
        other, _, alias = text(item, what).partition(":")
        targets = project.replicas.get(other, ())
        if not targets:
            why = (
                f"service {other} has no container here: it is not declared, or not of the profiles that are asked for"
            )
            parts.left_out(item, f"link {text(item, what)}", why)
        for target in targets:
            yield item, _link(target.name, alias or other)


def _external_links(service: str, node: Node, parts: Parts, project: Project) -> Iterator[tuple[Node, str]]:
    what = f"services.{service}.external_links"
    known = {each.container: each.name for replicas in project.replicas.values() for each in replicas}
    for item in items(node.get("external_links"), what):
        container, _, alias = text(item, what).partition(":")
        if container in known:
            yield item, _link(known[container], alias or container)
        else:
            why = f"{container} is no container of this project: declare an attachment for it, and link to that"
            parts.left_out(item, f"external link {text(item, what)}", why)


def _link(name: str, alias: str) -> str:
    return name if alias == name else f"{name}:{alias}"
