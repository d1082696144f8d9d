"""A container as an engine's API describes it -> an attachment. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Final

from msgspec import Struct

from reconciler.importing.names import renamed
from reconciler.importing.port_ranges import exposed, published
from reconciler.importing.values import ImportedAttachment, NotCarried
from reconciler.model.identifiers import BUILTIN_NETWORKS
from reconciler.records.lenient import items_of, mapping_of, text_of, texts_of

_BRIDGE, _HOST, _NONE = BUILTIN_NETWORKS
_SHORT_ID: Final = 12
_IFNAME: Final = "com.docker.network.endpoint.ifname"
_FIRST_LINK: Final = "eth0"
"""Of the network that a container is made with; here it would be that of the first name."""
_KEPT_BY_ENGINE: Final = "it is no setting of networks, so the engine keeps it: nothing need be done"

Document = Mapping[str, object]


class Known(Struct, frozen=True, kw_only=True):
    """What networks and attachments are called in the specs, by all names and ids that an engine has for them."""

    networks: Mapping[str, str]
    attachments: Mapping[str, str]


def read_container(document: Document, name: str, known: Known) -> ImportedAttachment | NotCarried:
    """Return the attachment, or why there is none. name: in the specs."""
    before = text_of(document, "Name").removeprefix("/")
    where, mode = f"container {before}", text_of(mapping_of(document, "HostConfig"), "NetworkMode")
    why = _refusal(document, mode, known)
    if why:
        return NotCarried(where=where, what="the container", why=why)
    not_carried: list[NotCarried] = []
    body = dict(_body(document, before, mode, known, not_carried))
    status = text_of(mapping_of(document, "State"), "Status")
    return ImportedAttachment(
        name=name,
        body=body,
        source=f"container {before}{status and f', {status}'}",
        not_carried=(*renamed(where, before, name), *not_carried),
    )


def _refusal(document: Document, mode: str, known: Known) -> str:
    kind, colon, other = mode.partition(":")
    if kind == "container" and colon:
        return f"it shares the sandbox of container {known.attachments.get(other, other)}, and all that this reaches: leave it so"
    if mode in (_NONE, _HOST):
        return ""
    if not _endpoints(document):
        return f"network mode {mode or '(none given)'} is no network that specs can name: create it anew with `--network none`"
    return ""


def _endpoints(document: Document) -> Mapping[str, Document]:
    networks = mapping_of(mapping_of(document, "NetworkSettings"), "Networks")
    return {name: each if isinstance(each, Mapping) else {} for name, each in networks.items()}


def _body(
    document: Document, before: str, mode: str, known: Known, not_carried: list[NotCarried]
) -> Iterator[tuple[str, object]]:
    if mode == _HOST:
        yield "network_mode", _HOST
        return
    yield "sandbox", {"container": before}
    yield from _names(document)
    if mode == _NONE:
        yield "network_mode", _NONE
    else:
        yield "networks", _networks(document, known)
        yield from _ports(document)
        links = _links(document, known)
        if links:
            yield "links", links
    yield from _resolver(document)
    sysctls = _sysctls(document, f"container {before}", not_carried)
    if sysctls:
        yield "sysctls", sysctls


def _names(document: Document) -> Iterator[tuple[str, object]]:
    config = mapping_of(document, "Config")
    hostname, domainname = text_of(config, "Hostname"), text_of(config, "Domainname")
    if hostname and hostname != _short_id(document):
        yield "hostname", hostname
    if domainname:
        yield "domainname", domainname


def _short_id(document: Document) -> str:
    return text_of(document, "Id")[:_SHORT_ID]


def _networks(document: Document, known: Known) -> Mapping[str, object]:
    config, mode = mapping_of(document, "Config"), text_of(mapping_of(document, "HostConfig"), "NetworkMode")
    first = _BRIDGE if mode == "default" else mode
    own_names = {text_of(document, "Name").removeprefix("/"), _short_id(document), text_of(config, "Hostname")}
    found: dict[str, dict[str, object]] = {}
    begun_with = ""
    for key, endpoint in sorted(_endpoints(document).items()):
        network = known.networks.get(text_of(endpoint, "NetworkID"), known.networks.get(key, key))
        is_first = first in (key, text_of(endpoint, "NetworkID"))
        begun_with = network if is_first else begun_with
        mac = text_of(endpoint, "MacAddress") or (text_of(config, "MacAddress") if is_first else "")
        found[network] = dict(_endpoint(endpoint, mac, own_names, is_bridge=network == _BRIDGE))
    if begun_with and begun_with != min(found) and not any(_IFNAME in str(each) for each in found.values()):
        found[begun_with]["interface_name"] = _FIRST_LINK
    return found


def _endpoint(endpoint: Document, mac: str, own_names: set[str], *, is_bridge: bool) -> Iterator[tuple[str, object]]:
    """is_bridge: the network gives its addresses by itself, and knows no names."""
    given = mapping_of(endpoint, "IPAMConfig")
    ipv4 = text_of(endpoint, "IPAddress") or text_of(given, "IPv4Address")
    ipv6 = text_of(endpoint, "GlobalIPv6Address") or text_of(given, "IPv6Address")
    if not is_bridge:
        aliases = [each for each in items_of(endpoint, "Aliases") if isinstance(each, str) and each not in own_names]
        yield from (
            (key, value)
            for key, value in (
                ("aliases", list(dict.fromkeys(aliases))),
                ("ipv4_address", ipv4),
                ("ipv6_address", ipv6),
                ("link_local_ips", items_of(given, "LinkLocalIPs")),
            )
            if value
        )
    if mac and mac != _derived_mac(ipv4):
        yield "mac_address", mac
    priority = endpoint.get("GwPriority")
    if isinstance(priority, int) and priority:
        yield "gw_priority", priority
    options = texts_of(endpoint, "DriverOpts")
    if options:
        yield "driver_opts", dict(options)


def _derived_mac(ipv4: str) -> str:
    """Return the MAC address that an interface with this address has unless told otherwise."""
    try:
        return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + IPv4Address(ipv4).packed)
    except AddressValueError:
        return ""


def _ports(document: Document) -> Iterator[tuple[str, object]]:
    host_config = mapping_of(document, "HostConfig")
    bindings = mapping_of(host_config, "PortBindings")
    known = [port for port in mapping_of(mapping_of(document, "Config"), "ExposedPorts") if port not in bindings]
    if host_config.get("PublishAllPorts") is True:
        bindings, known = {**{port: [{}] for port in known}, **bindings}, []
    ports, expose = published(bindings), exposed(known)
    if ports:
        yield "ports", ports
    if expose:
        yield "expose", expose


def _links(document: Document, known: Known) -> list[str]:
    """Return links of both kinds: `/db:/web/database` of the network bridge, `db:database` of others."""
    texts = [text for text in items_of(mapping_of(document, "HostConfig"), "Links") if isinstance(text, str)]
    for endpoint in _endpoints(document).values():
        texts += [text for text in items_of(endpoint, "Links") if isinstance(text, str)]
    found = []
    for text in texts:
        target, _, alias = text.partition(":")
        target, alias = target.removeprefix("/"), alias.rpartition("/")[2]
        name = known.attachments.get(target, target)
        found.append(f"{name}:{alias}" if alias and alias != name else name)
    return list(dict.fromkeys(found))


def _resolver(document: Document) -> Iterator[tuple[str, object]]:
    host_config = mapping_of(document, "HostConfig")
    fields = (("dns", "Dns"), ("dns_search", "DnsSearch"), ("dns_opt", "DnsOptions"), ("extra_hosts", "ExtraHosts"))
    for key, field in fields:
        texts = [text for text in items_of(host_config, field) if isinstance(text, str) and text]
        if texts:
            yield key, texts


def _sysctls(document: Document, where: str, not_carried: list[NotCarried]) -> Mapping[str, str]:
    given = texts_of(mapping_of(document, "HostConfig"), "Sysctls")
    ours = {name: value for name, value in given.items() if name.startswith("net.")}
    not_carried += [
        NotCarried(where=where, what=f"sysctl {name}", why=_KEPT_BY_ENGINE) for name in given if name not in ours
    ]
    return ours
