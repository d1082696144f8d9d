"""Networks of Podman, as netavark's JSON files and Podman's API describe them -> as specs say them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from reconciler.importing.names import renamed, spec_names
from reconciler.importing.pools import Pool, families, pool_entries
from reconciler.importing.source_files import SourceFiles, json_objects
from reconciler.importing.sublinks import ELSEWHERE, NO_PARENT, default_parent_used
from reconciler.importing.values import Imported, ImportedNetwork, NotCarried
from reconciler.records.lenient import items_of, mapping_of, text_of, texts_of

Document = Mapping[str, object]

_MTU: Final = "com.docker.network.driver.mtu"
_SUBLINKS: Final = {"macvlan": "macvlan_mode", "ipvlan": "ipvlan_mode"}
_ISOLATED: Final = ("true", "strict", "1")
_NOT_CARRIED: Final = {
    "vlan": "bridges here have no VLANs: make a link of it, and a macvlan network with that as its parent",
    "vrf": "networks here are in no VRF: leave the bridge out, or do without",
    "metric": "default routes here have no metric: the network's order decides, see gw_priority of an attachment's networks",
    "no_default_route": "every network but an internal one can have the default route here: see gw_priority of the others",
    "bclim": "the kernel's own limit of broadcasts holds here: nothing need be done",
    "host_interface_name": "links on the host have names of their own here: nothing need be done",
}
_SAID_ELSEWHERE: Final = frozenset(("mtu", _MTU, "isolate", "parent", "mode"))


class NetworkJson(Struct, frozen=True, kw_only=True):
    """A network's JSON, and where it stands: a file, or "" for the engine."""

    document: Document
    file: str = ""


def read_netavark(sources: Sequence[NetworkJson], *, parent: str = "") -> Imported:
    """parent: the link of the host's default route, "" where it is not known."""
    found, not_carried = _read(sources, parent)
    return Imported(networks=tuple(found.values()), not_carried=tuple(not_carried))


def read_netavark_files(source: SourceFiles, *, parent: str = "") -> Imported:
    """Read files that hold one network each, or a list of them."""
    objects, not_carried = json_objects(source.files)
    found = read_netavark([NetworkJson(document=document, file=file) for file, document in objects], parent=parent)
    return Imported(networks=found.networks, not_carried=(*source.not_carried, *not_carried, *found.not_carried))


def network_names(documents: Sequence[Document]) -> Mapping[str, str]:
    """Return what each is called in the specs, by name and id."""
    names = spec_names(text_of(each, "name") for each in documents)
    return {text_of(each, key): names[text_of(each, "name")] for each in documents for key in ("name", "id")}


def _read(sources: Sequence[NetworkJson], parent: str) -> tuple[dict[str, ImportedNetwork], list[NotCarried]]:
    names = network_names([each.document for each in sources])
    found: dict[str, ImportedNetwork] = {}
    not_carried: list[NotCarried] = []
    taken: list[Document] = []
    for source in sources:
        name = text_of(source.document, "name")
        where = f"network {name}" + (f" ({source.file})" if source.file else "")
        if not name:
            not_carried.append(
                NotCarried(where=source.file or "the engine", what="a network", why="it has no name: write one")
            )
        elif names[name] in found:
            not_carried.append(
                NotCarried(where=where, what="the network", why=f"it is there twice: {found[names[name]].source}")
            )
        elif isinstance(network := imported_network(source.document, names[name], where, parent), NotCarried):
            not_carried.append(network)
        else:
            found[names[name]] = network
            taken.append(source.document)
    not_carried += open_networks(taken)
    return found, not_carried


def imported_network(document: Document, name: str, where: str, parent: str) -> ImportedNetwork | NotCarried:
    """Return one network, or why it cannot be had. name: in the specs."""
    why = _refusal(document, parent)
    if why:
        return NotCarried(where=where, what="the network", why=why)
    not_carried: list[NotCarried] = [*renamed(where, text_of(document, "name"), name)]
    body = dict(_body(document, parent, where, not_carried))
    return ImportedNetwork(
        name=name, body=body, source=f"{where}, {_driver(document)} driver", not_carried=tuple(not_carried)
    )


def _driver(document: Document) -> str:
    return text_of(document, "driver") or "bridge"


def _refusal(document: Document, parent: str) -> str:
    driver, ipam, options = _driver(document), mapping_of(document, "ipam_options"), texts_of(document, "options")
    if driver not in ("bridge", *_SUBLINKS):
        return f"driver {driver} is a plugin of netavark's: networks here are bridge, macvlan or ipvlan, or a Docker plugin's"
    if ipam.get("driver") in ("dhcp", "none"):
        return f"{ELSEWHERE} (ipam driver {ipam['driver']})"
    if driver == "bridge" and options.get("mode") == "unmanaged":
        return f"the bridge {text_of(document, 'network_interface')} is another's: see `reconcile import kernel`"
    if driver in _SUBLINKS and not items_of(document, "subnets"):
        return ELSEWHERE
    if driver in _SUBLINKS and not (options.get("parent") or text_of(document, "network_interface") or parent):
        return NO_PARENT
    return ""


def _body(document: Document, parent: str, where: str, not_carried: list[NotCarried]) -> Iterator[tuple[str, object]]:
    driver = _driver(document)
    pools = [_pool(each) for each in items_of(document, "subnets") if isinstance(each, Mapping)]
    if driver != "bridge":
        yield "driver", driver
    options = dict(_options(document, parent, where, not_carried))
    if options:
        yield "driver_opts", options
    if document.get("internal") is True:
        yield "internal", True
    yield from families(pools, is_ipv6=document.get("ipv6_enabled") is True)
    if pools:
        yield "ipam", {"config": pool_entries(pools, where, not_carried)}
    labels = texts_of(document, "labels")
    if labels:
        yield "labels", dict(labels)
    not_carried += _told(document, where)


def _pool(subnet: Mapping[str, object]) -> Pool:
    lease = mapping_of(subnet, "lease_range")
    return Pool(
        subnet=text_of(subnet, "subnet"),
        gateway=text_of(subnet, "gateway"),
        first=text_of(lease, "start_ip"),
        last=text_of(lease, "end_ip"),
    )


def _options(document: Document, parent: str, where: str, not_carried: list[NotCarried]) -> Iterator[tuple[str, str]]:
    driver, options = _driver(document), texts_of(document, "options")
    link = text_of(document, "network_interface")
    if driver in _SUBLINKS:
        named = options.get("parent") or link
        if not named:
            not_carried.append(default_parent_used(where, parent))
        yield "parent", named or parent
        if options.get("mode"):
            yield _SUBLINKS[driver], options["mode"]
    elif link:
        yield "com.docker.network.bridge.name", link
    mtu = options.get("mtu") or options.get(_MTU)
    if mtu and mtu != "0":
        yield _MTU, mtu


def _told(document: Document, where: str) -> Iterator[NotCarried]:
    for option, value in texts_of(document, "options").items():
        if option not in _SAID_ELSEWHERE:
            why = _NOT_CARRIED.get(option, "networks here have no such option: do without, or say it on the host")
            yield NotCarried(where=where, what=f"option {option}={value}", why=why)
    for route in items_of(document, "routes"):
        if isinstance(route, Mapping):
            what = f"route {text_of(route, 'destination')} via {text_of(route, 'gateway')}"
            why = "networks here bring their own subnets and the default route: let the gateway know the way"
            yield NotCarried(where=where, what=what, why=why)
    servers = [each for each in items_of(document, "network_dns_servers") if isinstance(each, str)]
    if servers:
        why = "write them below `dns` of its attachments"
        yield NotCarried(where=where, what=f"name servers {', '.join(servers)}", why=why)


def open_networks(documents: Sequence[Document]) -> Iterator[NotCarried]:
    """Yield once that Podman's bridges reach each other, which ours do not."""
    bridges = [each for each in documents if _driver(each) == "bridge"]
    names = sorted(
        text_of(each, "name") for each in bridges if texts_of(each, "options").get("isolate") not in _ISOLATED
    )
    if len(names) > 1:
        why = "networks are always kept apart here: let an attachment join both, or publish its ports"
        yield NotCarried(where="Podman", what=f"that the networks {', '.join(names)} reach each other", why=why)
