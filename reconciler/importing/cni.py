"""CNI's network configurations (its specification, version 1.1) -> networks as specs say them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface
from typing import Final

from reconciler.importing.names import renamed, spec_names
from reconciler.importing.pools import Pool, families, pool_entries
from reconciler.importing.source_files import SourceFiles, json_objects
from reconciler.importing.sublinks import ELSEWHERE, NO_PARENT, default_parent_used
from reconciler.importing.values import Imported, ImportedNetwork, NotCarried
from reconciler.records.lenient import items_of, mapping_of, text_of, texts_of

Document = Mapping[str, object]

SUFFIXES: Final = (".conf", ".conflist", ".json")
_BRIDGE: Final = "com.docker.network.bridge"
_SUBLINKS: Final = {"macvlan": "macvlan_mode", "ipvlan": "ipvlan_mode"}
_MAKERS: Final = ("bridge", *_SUBLINKS)
_EVERYWHERE: Final = ("0.0.0.0/0", "::/0")
_NOTHING: Final = "nothing need be done"
_CHAINED: Final = {
    "portmap": "ports are published by attachments: write them below `ports`",
    "firewall": f"networks are kept apart here, and closed to the outside: {_NOTHING}",
    "tuning": "write what is below net. into `sysctls` of its attachments",
    "bandwidth": "nothing is shaped here: use tc(8) on the links",
    "sbr": f"a sandbox answers by the link of its default route here: {_NOTHING} for sandboxes on one network",
    "dnsname": f"names are served on every network here: {_NOTHING}",
    "vrf": "sandboxes have no VRFs here: do without",
}
_OF_BRIDGES: Final = {
    "hairpinMode": f"members reach what they publish without: {_NOTHING}",
    "promiscMode": "bridges are not promiscuous here: do without",
    "macspoofchk": f"nobody sends as another here: {_NOTHING}",
    "forceAddress": f"the bridge has the address that is declared, always: {_NOTHING}",
    "enabledad": f"addresses are kept apart by the specs: {_NOTHING}",
    "vlan": "bridges here have no VLANs: make a link of it, and a macvlan network with that as its parent",
    "vlanTrunk": "bridges here have no VLANs: make a link of each, and a macvlan network with that as its parent",
    "disableContainerInterface": "interfaces are always up here: do without",
}


def read_cni(source: SourceFiles, *, parent: str = "") -> Imported:
    """parent: the link of the host's default route, "" where it is not known."""
    objects, not_carried = json_objects(source.files)
    not_carried = [*source.not_carried, *not_carried]
    names = spec_names(text_of(document, "name") for _, document in objects)
    found: dict[str, ImportedNetwork] = {}
    for file, document in objects:
        name = text_of(document, "name")
        where = f"network {name} ({file})"
        if not name:
            not_carried.append(NotCarried(where=file, what="the network", why="it has no name: write `name`"))
        elif names[name] in found:
            not_carried.append(
                NotCarried(where=where, what="the network", why=f"the first counts: {found[names[name]].source}")
            )
        elif isinstance(network := _network(document, names[name], where, parent), NotCarried):
            not_carried.append(network)
        else:
            found[names[name]] = network
    return Imported(networks=tuple(found.values()), not_carried=tuple(not_carried))


def _network(document: Document, name: str, where: str, parent: str) -> ImportedNetwork | NotCarried:
    plugins = [each for each in items_of(document, "plugins") if isinstance(each, Mapping)] or [document]
    maker = next((each for each in plugins if text_of(each, "type") in _MAKERS), plugins[0])
    why = _refusal(maker, parent)
    if why:
        return NotCarried(where=where, what="the network", why=why)
    kind = text_of(maker, "type")
    not_carried: list[NotCarried] = [*renamed(where, text_of(document, "name"), name)]
    pools = [*_pools(mapping_of(maker, "ipam"), where, not_carried)]
    body: dict[str, object] = {"driver": kind} if kind != "bridge" else {}
    chained = [each for each in plugins if each is not maker]
    options = dict(
        _sublink(maker, parent, where, not_carried)
        if kind in _SUBLINKS
        else _bridge(maker, chained, where, not_carried)
    )
    if isinstance(maker.get("mtu"), int) and maker["mtu"]:
        options["com.docker.network.driver.mtu"] = str(maker["mtu"])
    if options:
        body["driver_opts"] = options
    if kind == "bridge" and not _has_default_route(maker):
        body["internal"] = True
    body |= families(pools)
    body["ipam"] = {"config": pool_entries(pools, where, not_carried)}
    labels = texts_of(mapping_of(document, "args"), "podman_labels")
    if labels:
        body["labels"] = dict(labels)
    not_carried += _told(document, maker, chained, where)
    return ImportedNetwork(name=name, body=body, source=f"{where}, {kind} plugin", not_carried=tuple(not_carried))


def _refusal(maker: Document, parent: str) -> str:
    kind, ipam = text_of(maker, "type"), mapping_of(maker, "ipam")
    if kind == "loopback":
        return f"every sandbox has its loopback: {_NOTHING}"
    if kind not in _MAKERS:
        return f"the plugin {kind or '(none)'} makes no network that specs know: declare a bridge, macvlan or ipvlan network"
    if ipam.get("type") not in ("host-local", "static"):
        return f"{ELSEWHERE} (ipam {ipam.get('type') or 'is empty'})"
    if kind in _SUBLINKS and maker.get("linkInContainer") is True:
        return "its parent is in a container: declare it where the parent is a link of the host"
    if kind in _SUBLINKS and not (text_of(maker, "master") or parent):
        return NO_PARENT
    return ""


def _pools(ipam: Document, where: str, not_carried: list[NotCarried]) -> Iterator[Pool]:
    """Yield the subnets: of host-local in both of its forms; of static what the given addresses are in."""
    if text_of(ipam, "type") == "static":
        yield from _static_pools(ipam, where, not_carried)
        return
    ranges = [each for group in items_of(ipam, "ranges") if isinstance(group, list) for each in group]
    for each in [ipam, *ranges] if text_of(ipam, "subnet") else ranges:
        if isinstance(each, Mapping):
            yield Pool(
                subnet=text_of(each, "subnet"),
                gateway=text_of(each, "gateway") or _next_hop(ipam, text_of(each, "subnet")),
                first=text_of(each, "rangeStart"),
                last=text_of(each, "rangeEnd"),
            )


def _static_pools(ipam: Document, where: str, not_carried: list[NotCarried]) -> Iterator[Pool]:
    for each in items_of(ipam, "addresses"):
        if not isinstance(each, Mapping):
            continue
        address = text_of(each, "address")
        why = "write it as ipv4_address or ipv6_address of the attachment that has it"
        not_carried.append(NotCarried(where=where, what=f"address {address}", why=why))
        try:
            subnet = str(ip_interface(address).network)
        except ValueError:
            subnet = address
        yield Pool(subnet=subnet, gateway=text_of(each, "gateway"))


def _routes(maker: Document) -> list[Document]:
    return [each for each in items_of(mapping_of(maker, "ipam"), "routes") if isinstance(each, Mapping)]


def _has_default_route(maker: Document) -> bool:
    return maker.get("isDefaultGateway") is True or any(text_of(each, "dst") in _EVERYWHERE for each in _routes(maker))


def _next_hop(ipam: Document, subnet: str) -> str:
    """Return the gateway that the default route of a subnet's family names."""
    everywhere = _EVERYWHERE[":" in subnet]
    routes = (each for each in items_of(ipam, "routes") if isinstance(each, Mapping))
    return next((text_of(each, "gw") for each in routes if text_of(each, "dst") == everywhere), "")


def _bridge(
    maker: Document, chained: Sequence[Document], where: str, not_carried: list[NotCarried]
) -> Iterator[tuple[str, str]]:
    has_address = maker.get("isGateway") is True or maker.get("isDefaultGateway") is True
    yield f"{_BRIDGE}.name", text_of(maker, "bridge") or "cni0"
    if not has_address:
        yield f"{_BRIDGE}.inhibit_ipv4", "true"
    if maker.get("ipMasq") is not True and _has_default_route(maker):
        yield f"{_BRIDGE}.enable_ip_masquerade", "false"
    policies = {text_of(each, "ingressPolicy") for each in chained if text_of(each, "type") == "firewall"}
    if "isolated" in policies or maker.get("portIsolation") is True:
        yield f"{_BRIDGE}.enable_icc", "false"
    not_carried += [NotCarried(where=where, what=key, why=why) for key, why in _OF_BRIDGES.items() if maker.get(key)]


def _sublink(maker: Document, parent: str, where: str, not_carried: list[NotCarried]) -> Iterator[tuple[str, str]]:
    if not text_of(maker, "master"):
        not_carried.append(default_parent_used(where, parent))
    yield "parent", text_of(maker, "master") or parent
    if text_of(maker, "mode"):
        yield _SUBLINKS[text_of(maker, "type")], text_of(maker, "mode")


def _told(document: Document, maker: Document, chained: Sequence[Document], where: str) -> Iterator[NotCarried]:
    for each in chained:
        kind = text_of(each, "type")
        why = _CHAINED.get(kind, "no plugin is called here: do without, or do on the host what it does")
        yield NotCarried(where=where, what=f"plugin {kind}", why=why)
    for route in _routes(maker):
        if text_of(route, "dst") not in _EVERYWHERE:
            why = "networks here bring their own subnets and the default route: let the gateway know the way"
            yield NotCarried(where=where, what=f"route {text_of(route, 'dst')}", why=why)
    dns = {**mapping_of(document, "dns"), **mapping_of(maker, "dns")}
    if any(dns.values()):
        why = "write it below `dns`, `dns_search` and `dns_opt` of its attachments"
        yield NotCarried(
            where=where, what=f"dns ({', '.join(sorted(key for key, value in dns.items() if value))})", why=why
        )
