"""The containers of services, and what they are called. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from reconciler.errors import SpecError
from reconciler.importing.compose.tree import Node, Notes, mapping, text
from reconciler.importing.names import spec_names

REPLICAS_MAX: Final = 1000
CONTAINERS_MAX: Final = 10_000
"""Of one project."""


class Replica(Struct, frozen=True, kw_only=True):
    """One container of a service. container: what Compose calls it. name: what the attachment is called, wanted: should be."""

    service: str
    number: int
    of: int
    container: str
    wanted: str
    name: str


def replicas_of(
    project: str, services: Mapping[str, Node], notes: Notes, *, is_long: bool
) -> dict[str, tuple[Replica, ...]]:
    """Return the containers of each service, with names that are nobody else's."""
    wanted: list[tuple[str, int, int, str]] = []
    for service, node in services.items():
        try:
            count, own = _count(service, node), _container_name(service, node)
            if own and count > 1:
                raise node.entries["container_name"].place.fault(
                    f"service {service} has {count} replicas: they cannot all have one container_name"
                )
        except SpecError as fault:
            notes.faults.append(fault)
            continue
        if len(wanted) + count > CONTAINERS_MAX:
            notes.fault(node.key, f"the project has more than {CONTAINERS_MAX} containers")
            break
        wanted += [(service, number, count, own) for number in range(1, count + 1)]
    found: dict[str, tuple[Replica, ...]] = dict.fromkeys(services, ())
    taken: set[str] = set()
    for service, number, count, own in wanted:
        container = own or f"{project}-{service}-{number}"
        short = own or (container if is_long else service if count == 1 else f"{service}-{number}")
        name = short if short not in taken else container
        taken.add(name)
        found[service] += (
            Replica(service=service, number=number, of=count, container=container, wanted=name, name=name),
        )
    fitting = spec_names(replica.name for replicas in found.values() for replica in replicas)
    return {
        service: tuple(replace(each, name=fitting[each.name]) for each in replicas)
        for service, replicas in found.items()
    }


def _container_name(service: str, node: Node) -> str:
    name = node.get("container_name")
    return text(name, f"services.{service}.container_name") if name is not None else ""


def _count(service: str, node: Node) -> int:
    scale = _number(node.get("scale"), f"services.{service}.scale")
    deploy = node.get("deploy")
    entries = mapping(deploy, f"services.{service}.deploy")
    replicas = _number(entries.get("replicas"), f"services.{service}.deploy.replicas")
    if scale is not None and replicas is not None and scale != replicas:
        raise node.key.fault(f"services.{service}: 'scale' says {scale} and 'deploy.replicas' {replicas}: remove one")
    return scale if scale is not None else replicas if replicas is not None else 1


def _number(node: Node | None, what: str) -> int | None:
    if node is None or node.value in (None, ""):
        return None
    typed = text(node, what)
    if not typed.isdecimal() or int(typed) > REPLICAS_MAX:
        raise node.place.fault(f"{what}: expected a number up to {REPLICAS_MAX}")
    return int(typed)
