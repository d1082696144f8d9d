"""What is looked up by name must be what DNS can say (RFC 1035 section 2.3.4), together with its network too."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.model.wanted import NetworkMode
from reconciler.spec.attachment import AttachmentSpec, NetworkTable, network_mode, network_name
from reconciler.spec.document import Path, shown
from reconciler.spec.fields import HOSTNAME_MAX
from reconciler.spec.network import Fault


def long_name_faults(name: str, spec: AttachmentSpec, networks: NetworkTable) -> Iterator[Fault]:
    """Find `name.network` beyond what a question can hold, for all that the attachment answers to on each network."""
    if network_mode(spec, networks) is not NetworkMode.NETWORKS:
        return
    for key, endpoint in spec.networks.items():
        network = network_name(key, networks)
        if network in BUILTIN_NETWORKS:
            continue
        place: Path = ("networks", key)
        aliases = ((alias, (*place, "aliases", index)) for index, alias in enumerate(endpoint.aliases))
        hostnames = ((spec.hostname, ("hostname",)),) if spec.hostname else ()
        for own, path in ((name, place), *aliases, *hostnames):
            size = len(own) + 1 + len(network)
            if size > HOSTNAME_MAX:
                yield (
                    path,
                    f"{shown(own)} and its network, {shown(network)}, make a name of {size} characters: DNS takes {HOSTNAME_MAX}",
                )
