"""What Podman's API says of its networks and containers -> what specs say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reconciler.importing.engine import read_containers
from reconciler.importing.netavark import NetworkJson, network_names, read_netavark
from reconciler.importing.values import Imported

Document = Mapping[str, object]


def read_podman(
    networks: Sequence[Document],
    containers: Sequence[Document],
    *,
    with_stopped: bool,
    joined: Iterable[str] = (),
    parent: str = "",
) -> Imported:
    """networks: as its own API has them, containers as Docker's. joined, parent: as elsewhere."""
    found = read_netavark([NetworkJson(document=each) for each in networks], parent=parent)
    members = read_containers(containers, network_names(networks), with_stopped=with_stopped, joined=joined)
    return Imported(
        networks=found.networks,
        attachments=members.attachments,
        not_carried=(*found.not_carried, *members.not_carried),
    )
