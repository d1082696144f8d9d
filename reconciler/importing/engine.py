"""What an engine says of its networks and containers -> what specs say. Pure, and trusts nothing that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from reconciler.importing.engine_containers import Known, read_container
from reconciler.importing.engine_networks import ipv4_pools, read_network
from reconciler.importing.names import spec_names
from reconciler.importing.values import Imported, ImportedAttachment, ImportedNetwork, NotCarried
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.wanted import NetworkMode
from reconciler.model.words import counted
from reconciler.records.lenient import mapping_of, text_of

Document = Mapping[str, object]

_STOPPED: Final = frozenset(("created", "configured", "exited", "stopped", "dead", "removing", "initialized"))
"""States of Docker's and Podman's containers in which there is no process."""
_LISTED_MAX: Final = 10
_SHORT_ID: Final = 12
_BRIDGE: Final = BUILTIN_NETWORKS[0]


def read_docker(
    networks: Sequence[Document], containers: Sequence[Document], *, with_stopped: bool, joined: Iterable[str] = ()
) -> Imported:
    """Read what Docker shows of its networks, and containers. joined: names and ids of those that specs join already."""
    names = _network_names(networks)
    read = [read_network(each, names[text_of(each, "Id")]) for each in networks]
    known = {**names, **{text_of(each, "Name"): names[text_of(each, "Id")] for each in reversed(networks)}}
    found = read_containers(containers, known, with_stopped=with_stopped, joined=joined)
    not_carried = [
        *(each for each in read if isinstance(each, NotCarried)),
        *_moving(networks, containers, found.attachments),
    ]
    if not any(text_of(each, "Name") == _BRIDGE for each in networks):
        why = "run `reconcile` with --bridge none where there shall be none here either"
        not_carried.append(NotCarried(where="the engine", what="that it has no network bridge", why=why))
    return Imported(
        networks=tuple(each for each in read if isinstance(each, ImportedNetwork)),
        attachments=found.attachments,
        not_carried=(*not_carried, *found.not_carried),
    )


def _moving(
    networks: Sequence[Document], containers: Sequence[Document], attachments: Sequence[ImportedAttachment]
) -> Iterable[NotCarried]:
    """Yield whose address on `bridge` another one follows: it cannot be fixed there, and is given in the order of names."""
    names = {mapping_of(each.body, "sandbox").get("container"): each.name for each in attachments}
    now = {
        names[container_name(each)]: _on_bridge(each)
        for each in containers
        if names.get(container_name(each)) and _on_bridge(each)
    }
    pools = [pool for each in networks if text_of(each, "Name") == _BRIDGE for pool in ipv4_pools(each)]
    here = dict(zip(sorted(now), pools[0], strict=False)) if pools else {}
    moved = [f"{name} ({address})" for name, address in sorted(now.items()) if str(here.get(name)) != address]
    if moved:
        why = "it gives addresses in the order of the names: put those that need theirs on a network of your own"
        yield NotCarried(where=f"network {_BRIDGE}", what=f"the address of {', '.join(moved)}", why=why)


def _on_bridge(document: Document) -> str:
    networks = mapping_of(mapping_of(document, "NetworkSettings"), "Networks")
    return text_of(mapping_of(networks, _BRIDGE), "IPAddress")


def _network_names(networks: Sequence[Document]) -> Mapping[str, str]:
    """Return the names in the specs by id. Engines may have several networks of one name."""
    taken: set[str] = set()
    unique: dict[str, str] = {}
    for each in networks:
        name, network_id = text_of(each, "Name"), text_of(each, "Id")
        unique[network_id] = f"{name}-{network_id[:_SHORT_ID]}" if name in taken else name
        taken.add(name)
    changed = spec_names(unique.values())
    return {network_id: changed[name] for network_id, name in unique.items()}


def read_containers(
    containers: Sequence[Document], networks: Mapping[str, str], *, with_stopped: bool, joined: Iterable[str]
) -> Imported:
    """networks: what they are called in the specs, by the names and ids that the engine gives them."""
    wanted = [each for each in containers if with_stopped or not is_stopped(each)]
    ours = frozenset(joined)
    not_carried = [*_left_out(containers, with_stopped=with_stopped)]
    names = spec_names(container_name(each) for each in wanted)
    targets = {alias: names[container_name(each)] for each in wanted for alias in _called(each)}
    known = Known(networks=networks, attachments=targets)
    attachments = []
    for each in sorted(wanted, key=container_name):
        if is_without_network(each) and ours.intersection(_called(each)):
            not_carried.append(_joined(container_name(each)))
            continue
        read = read_container(each, names[container_name(each)], known)
        if isinstance(read, NotCarried):
            not_carried.append(read)
        else:
            attachments.append(read)
    return Imported(attachments=tuple(attachments), not_carried=(*not_carried, *_to_do(attachments, wanted)))


def container_name(document: Document) -> str:
    return text_of(document, "Name").removeprefix("/")


def is_stopped(document: Document) -> bool:
    return text_of(mapping_of(document, "State"), "Status") in _STOPPED


def is_without_network(document: Document) -> bool:
    return text_of(mapping_of(document, "HostConfig"), "NetworkMode") == NetworkMode.NONE


def _called(document: Document) -> Iterable[str]:
    container_id = text_of(document, "Id")
    return (container_id, container_id[:_SHORT_ID], container_name(document))


def _left_out(containers: Sequence[Document], *, with_stopped: bool) -> Iterable[NotCarried]:
    stopped = [] if with_stopped else sorted(container_name(each) for each in containers if is_stopped(each))
    if stopped:
        more = f" and {len(stopped) - _LISTED_MAX} more" if len(stopped) > _LISTED_MAX else ""
        what = f"{counted(len(stopped), 'stopped container')} ({', '.join(stopped[:_LISTED_MAX])}{more})"
        yield NotCarried(where="the engine", what=what, why="add --all to import them too")


def _joined(name: str) -> NotCarried:
    why = "the specs that this host was reconciled from join it already: its attachment stands there"
    return NotCarried(where=f"container {name}", what="the container", why=why)


def _to_do(attachments: Sequence[ImportedAttachment], containers: Sequence[Document]) -> Iterable[NotCarried]:
    """Yield once what holds of every container that the engine has networks for."""
    kept = {mapping_of(each.body, "sandbox").get("container") for each in attachments if "networks" in each.body}
    names = sorted(container_name(each) for each in containers if container_name(each) in kept)
    if names:
        why = (
            "create them anew with `--network none`, without their options of networks and ports; until then their "
            "attachments wait (docs/guide/import.md#engines)"
        )
        what = f"the engine's part in the networks of {counted(len(names), 'container')}"
        yield NotCarried(where="the engine", what=what, why=why)
