"""What the kernel has, by `ip` and `nft`, and whether that is what was declared. Nothing here is the product's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any, Final

from tests.machine import Machine
from tests.model.picture import ATTACHMENTS, DEFAULT, EndpointKey, IPNetwork, Network, Picture
from tests.pipeline.host_view import plain_link

HOST_NS: Final = "H"
OURS: Final = str(0x7265636F)
"""The group of links that are the product's (docs/design/ownership.md)."""

BY_HAND: Final = "10.222.0.1/24"
"""An address that people put on links of ours. It has not our mark, and stays as long as the link does."""

_TABLES: Final = (("inet", "reconciler"), ("bridge", "reconciler"))
_BY_ITSELF: Final = ("promiscuity", "allmulti", "qdisc", "operstate")
"""Of a link of others: what sublinks and ports of ours make of it, and what the kernel tells in its own time."""

_BY_ITSELF_FLAGS: Final = ("LOWER_UP", "NO-CARRIER", "RUNNING")

Link = Mapping[str, Any]


@dataclass(frozen=True)
class Namespace:
    """Links by name, and routes of all tables and families."""

    links: Mapping[str, Link]
    routes: Sequence[Mapping[str, Any]]

    def is_ours(self, ifname: str) -> bool:
        return ifname in self.links and self.links[ifname]["group"] == OURS

    def ours(self) -> list[str]:
        return sorted(name for name in self.links if self.is_ours(name))

    def others(self) -> dict[str, Any]:
        """Give what is not the product's, as it must stay to the byte.

        Without link-local addresses, and the routes that come with any, which the kernel makes in its own time.
        """
        links = {name: plain_link(link) for name, link in self.links.items() if link["group"] != OURS}
        for link in links.values():
            for key in _BY_ITSELF:
                link.pop(key, None)
            link["flags"] = [flag for flag in link["flags"] if flag not in _BY_ITSELF_FLAGS]
            link["addr_info"] = [each for each in link["addr_info"] if each["scope"] != "link"]
        theirs = [
            route
            for route in self.routes
            if not self.is_ours(route.get("dev", ""))
            and route["type"] != "anycast"
            and not route["dst"].startswith(("fe80:", "ff00:"))
        ]
        theirs.sort(key=lambda route: json.dumps(route, sort_keys=True))
        return {"links": links, "routes": theirs}

    def put_by_hand(self) -> set[tuple[str, int]]:
        """Give names and indexes of links of ours that have an address of people."""
        return {
            (name, self.links[name]["ifindex"])
            for name in self.ours()
            if BY_HAND.partition("/")[0] in str(self.links[name]["addr_info"])
        }

    def is_dead_end_damaged(self) -> bool:
        """Say whether what a macvlan network without a link of the host sits on has a port, or no carrier, as far as one sees."""
        masters = {link.get("master") for link in self.links.values()}
        ends = [name for name in self.ours() if name.startswith("dm-")]
        return any(name in masters or "LOWER_UP" not in self.links[name]["flags"] for name in ends)

    @cached_property
    def by_index(self) -> Mapping[int, str]:
        return {link["ifindex"]: name for name, link in self.links.items()}


@dataclass(frozen=True)
class Seen:
    """One look. sets: elements of our tables' sets and maps, by family and name. rules: of ours; others: tables of others."""

    spaces: Mapping[str, Namespace]
    sets: Mapping[tuple[str, str], frozenset[tuple[str, ...]]]
    rules: Sequence[str]
    others: Sequence[str]
    files: Mapping[str, str]

    @property
    def host(self) -> Namespace:
        return self.spaces[HOST_NS]

    def foreign(self, ours: Iterable[str]) -> dict[str, Any]:
        """Give all that is not the product's. ours: namespaces that are."""
        own = set(ours)
        return {
            "spaces": {ns: found.others() for ns, found in self.spaces.items() if ns not in own},
            "nft": self.others,
            "files": {path: text for path, text in self.files.items() if Path(path).parent.name not in ATTACHMENTS},
        }


def look(machine: Machine) -> Seen:
    spaces = {}
    for ns in machine.namespaces():
        links, routes = machine.ip_jsons(ns, "address show", "route show table all")
        spaces[ns] = Namespace({link["ifname"]: link for link in links}, routes)
    listed = json.loads(machine.run(HOST_NS, "nft", "-j", "-a", "list", "ruleset").stdout)["nftables"]
    sets, rules, others = {}, [], []
    for entry in listed:
        ((kind, what),) = entry.items()
        if kind == "metainfo":
            continue
        if (what["family"], what.get("table", what["name"] if kind == "table" else "")) not in _TABLES:
            others.append(json.dumps(entry, sort_keys=True))
        elif kind in ("set", "map"):
            elements = (tuple(_flat(each)) for each in what.get("elem", ()))
            sets[what["family"], what["name"]] = frozenset(elements)
        elif kind in ("chain", "rule"):
            rules.append(json.dumps({kind: {k: v for k, v in what.items() if k != "handle"}}, sort_keys=True))
    folder = machine.etc_netns_dir
    files = {str(path): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}
    rules.sort(key=lambda rule: '"family": "inet"' in rule)  # stable: the order of the tables is that of their making
    return Seen(spaces, sets, rules, others, files)


def _flat(value: Any) -> Iterator[str]:
    """Yield the parts of an element of nft's JSON."""
    match value:
        case {"elem": {"val": inner}}:
            yield from _flat(inner)
        case {"concat": parts} | [*parts]:
            for part in parts:
                yield from _flat(part)
        case {"prefix": {"addr": address, "len": length}}:
            yield f"{address}/{length}"
        case {"accept": None} | {"drop": None}:
            yield next(iter(value))
        case _:
            yield str(value)


@dataclass(slots=True)
class KnownEndpoint:
    """What the product chose, or made, and is to keep. link: index in the sandbox."""

    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    ifname: str = ""
    link: int = 0


@dataclass(slots=True)
class Known:
    """What was seen after the last pass that ended well.

    endpoints: theirs. subnets: by network and family. bridges: their names and indexes. ids: of networks and attachments, for good.
    rules: of the firewall, which never change.
    """

    endpoints: dict[EndpointKey, KnownEndpoint] = field(default_factory=dict)
    subnets: dict[tuple[str, int], IPNetwork] = field(default_factory=dict)
    bridges: dict[str, tuple[str, int]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    rules: Sequence[str] = ()

    def forget(self, keys: Iterable[EndpointKey]) -> None:
        for key in keys:
            self.endpoints.pop(key, None)


@dataclass(slots=True)
class Comparison:
    """The kernel beside the picture. found: what is wrong. blocked: networks that cannot be had just now, and who is on them.

    recreated: links in sandboxes (attachment, network) and bridges ("", network) that somebody else deleted meanwhile.
    """

    picture: Picture
    seen: Seen
    known: Known
    recreated: frozenset[EndpointKey] = frozenset()
    blocked: frozenset[str] = frozenset()
    found: list[str] = field(default_factory=list)
    _veths: dict[EndpointKey, str] = field(default_factory=dict)

    def judge(self) -> list[str]:
        """Return all that is not as declared, and remember what was chosen."""
        for network in self.picture.networks.values():
            if network.name not in self.blocked:
                self._network(network)
        for name in self.picture.attachments:
            if not self.blocked & set(self.picture.attachments[name].networks):
                self._sandbox(name)
        self._addresses_unique()
        if not self.blocked:
            self._nothing_else()
            self._firewall()
        return self.found

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.found.append(f"{what}: {found}, not {wanted}")

    # --- networks

    def bridge(self, network: str) -> str:
        wanted = self.picture.networks[network]
        if wanted.bridge_name:
            return wanted.bridge_name
        return "docker0" if network == DEFAULT else f"br-{self.known.ids.get(network, '')[:12]}"

    def subnet(self, network: str, version: int) -> IPNetwork | None:
        return self.picture.networks[network].subnet(version) or self.known.subnets.get((network, version))

    def _network(self, network: Network) -> None:
        if not network.is_bridged:
            return
        name = self.bridge(network.name)
        link = self.seen.host.links.get(name)
        if link is None or not self.seen.host.is_ours(name):
            self.found.append(f"network {network.name}: no bridge {name} of ours, but {self.seen.host.ours()}")
            return
        self._learn_subnets(network, link)
        wanted = {
            f"{subnet[network.gateway]}/{subnet.prefixlen}"
            for version in network.versions
            if network.has_gateway(version) and (subnet := self.subnet(network.name, version)) is not None
        }
        self._link(f"network {network.name}", link, mtu=network.mtu, addresses=wanted)
        before = self.known.bridges.get(network.name)
        if before is not None and before[0] == name and ("", network.name) not in self.recreated:
            self._expect(f"network {network.name}: index of {name}", link["ifindex"], before[1])
        self.known.bridges[network.name] = name, link["ifindex"]

    def _learn_subnets(self, network: Network, link: Link) -> None:
        """A subnet that the product chose is known by the bridge's address, and stays."""
        if network.number:
            for version in network.versions:
                declared = network.subnet(version)
                assert declared is not None
                self.known.subnets[network.name, version] = declared
            return
        for each in _addresses(link):
            subnet = ip_interface(each).network
            self.known.subnets.setdefault((network.name, subnet.version), subnet)

    def _link(self, what: str, link: Link, *, mtu: int, addresses: set[str]) -> None:
        self._expect(f"{what}: MTU", link["mtu"], mtu)
        self._expect(f"{what}: is up", "UP" in link["flags"], True)
        self._expect(f"{what}: addresses", _addresses(link), addresses)

    # --- attachments

    def _sandbox(self, name: str) -> None:
        attachment = self.picture.attachments[name]
        space = self.seen.spaces.get(name)
        if space is None:
            self.found.append(f"attachment {name}: no namespace")
            return
        by_mac = {link["address"]: ifname for ifname, link in space.links.items() if space.is_ours(ifname)}
        ifnames = {}
        for network in attachment.networks:
            ifnames[network] = self._endpoint(name, self.picture.networks[network], space, by_mac)
        links = {ifname for ifname in space.ours() if ifname != "lo"}
        self._expect(f"attachment {name}: links", links, set(ifnames.values()))
        for version in (4, 6):
            self._default_route(name, version, space, ifnames)
        hosts = self.seen.files.get(f"/etc/netns/{name}/hosts", "")
        for network in attachment.networks:
            address = self.known.endpoints[name, network].ipv4 or self.known.endpoints[name, network].ipv6
            self._expect(f"attachment {name}: {address} in hosts", address.partition("/")[0] in hosts, True)

    def _endpoint(self, name: str, network: Network, space: Namespace, by_mac: Mapping[str, str]) -> str:
        """Judge one endpoint, learn what is new of it, and return its link's name."""
        key = name, network.name
        where, wanted = f"{name} on {network.name}", self.picture.attachments[name].networks[network.name]
        known = self.known.endpoints.get(key)
        ifname = self._ifname_of(key, space)
        if ifname is None:
            self.found.append(f"{where}: no link among {space.ours()}")
            self.known.endpoints.setdefault(key, KnownEndpoint())
            return ""
        link = space.links[ifname]
        now = KnownEndpoint(mac=link["address"], ifname=ifname, link=link["ifindex"])
        for version in network.versions:
            subnet = self.subnet(network.name, version)
            inside = [each for each in _addresses(link) if ip_interface(each).network == subnet]
            if len(inside) == 1:
                setattr(now, f"ipv{version}", inside[0])
            self._address(where, key, version, inside)
        self._link(where, link, mtu=network.mtu, addresses={each for each in (now.ipv4, now.ipv6) if each})
        self._mac(where, key, now)
        if wanted.ifname:
            self._expect(f"{where}: name", ifname, wanted.ifname)
        elif not ifname.startswith("eth"):
            self.found.append(f"{where}: called {ifname}")
        elif known is not None and known.ifname.startswith("eth") and not self._claimed(key, known.ifname):
            self._expect(f"{where}: name", ifname, known.ifname)
        if known is not None and known.ifname == ifname and key not in self.recreated:
            self._expect(f"{where}: index of {ifname}", link["ifindex"], known.link)
        if network.is_bridged:
            self._port(where, key, network, link)
        else:
            self._expect(f"{where}: kind", link["linkinfo"]["info_kind"], "macvlan")
            self._expect(f"{where}: mode", link["linkinfo"]["info_data"]["mode"], network.mode)
        self.known.endpoints[key] = now
        return ifname

    def _ifname_of(self, key: EndpointKey, space: Namespace) -> str | None:
        """Find the endpoint's link: by an address of its network; each network has subnets of its own."""
        for ifname in space.ours():
            for each in _addresses(space.links[ifname]):
                subnet = self.subnet(key[1], ip_interface(each).version)
                if subnet is not None and ip_interface(each).ip in subnet:
                    return ifname
        return None

    def _claimed(self, key: EndpointKey, ifname: str) -> bool:
        """Say whether another endpoint of the attachment declares that name."""
        joined = self.picture.attachments[key[0]].networks
        return any(one.ifname == ifname for network, one in joined.items() if network != key[1])

    def _address(self, where: str, key: EndpointKey, version: int, found: list[str]) -> None:
        name, network = key
        subnet = self.subnet(network, version)
        if subnet is None:
            return
        if len(found) != 1:
            self.found.append(f"{where}: addresses in {subnet}: {found}")
            return
        place = self.picture.attachments[name].networks[network].place
        declared = place and self.picture.networks[network].number
        known = self.known.endpoints.get(key)
        before = getattr(known, f"ipv{version}") if known is not None else ""
        if declared:
            self._expect(f"{where}: address", found[0], f"{subnet[place]}/{subnet.prefixlen}")
            return
        part = self.picture.networks[network].chosen_from(version)
        if part is not None and (ip_interface(found[0]).ip not in part or ip_interface(found[0]).ip == part[1]):
            self.found.append(f"{where}: {found[0]} is not of those that may be chosen")
        is_kept = before and ip_interface(before).network == subnet and not self._is_spoken_for(key, before)
        if is_kept and (part is None or ip_interface(before).ip in part):
            self._expect(f"{where}: address", found[0], before)

    def _is_spoken_for(self, key: EndpointKey, address: str) -> bool:
        interface = ip_interface(address)
        return int(interface.ip) - int(interface.network.network_address) in self.picture.places(key[1])

    def _mac(self, where: str, key: EndpointKey, now: KnownEndpoint) -> None:
        wanted = self.picture.attachments[key[0]].networks[key[1]].mac
        known = self.known.endpoints.get(key)
        if wanted:
            self._expect(f"{where}: MAC", now.mac, wanted)
        elif known is not None and known.ipv4 and known.ipv4.partition("/")[0] == now.ipv4.partition("/")[0]:
            self._expect(f"{where}: MAC", now.mac, known.mac)
        elif known is not None and known.ipv4 and now.ipv4:
            self._expect(f"{where}: MAC", now.mac, _mac_of(now.ipv4))

    def _port(self, where: str, key: EndpointKey, network: Network, link: Link) -> None:
        """Judge the host's end of a pair."""
        host = self.seen.host
        other = host.by_index.get(link["link_index"], "")
        if not other or not host.is_ours(other):
            self.found.append(f"{where}: the other end is {other or 'nowhere'}")
            return
        self._veths[key] = other
        self._link(f"{where}: {other}", host.links[other], mtu=network.mtu, addresses=set())
        self._expect(f"{where}: master of {other}", host.links[other].get("master", ""), self.bridge(network.name))

    def _default_route(self, name: str, version: int, space: Namespace, ifnames: Mapping[str, str]) -> None:
        found = [
            (r.get("gateway", ""), r["dev"])
            for r in space.routes
            if r["dst"] == "default"
            and (":" in r.get("gateway", "")) == (version == 6)
            and r.get("table", "main") == "main"
        ]
        network = self.picture.way_out(name, version)
        subnet = self.subnet(network, version) if network else None
        gateway = str(subnet[self.picture.networks[network].gateway]) if subnet is not None else ""
        self._expect(
            f"attachment {name}: default route, IPv{version}", found, [(gateway, ifnames[network])] if network else []
        )

    # --- all together

    def _addresses_unique(self) -> None:
        for network in self.picture.networks:
            owners: dict[str, str] = {}
            for name in self.picture.members(network):
                known = self.known.endpoints.get((name, network), KnownEndpoint())
                for each in filter(None, (known.ipv4, known.ipv6, known.mac)):
                    if owners.setdefault(each, name) != name:
                        self.found.append(f"network {network}: {owners[each]} and {name} both have {each}")
                for each in filter(None, (known.ipv4, known.ipv6)):
                    interface = ip_interface(each)
                    place = int(interface.ip) - int(interface.network.network_address)
                    wanted = self.picture.networks[network]
                    if place == 0 or (place == wanted.gateway and wanted.has_gateway(interface.version)):
                        self.found.append(f"network {network}: {name} has {each}")
        subnets = [(n, s) for (n, _), s in self.known.subnets.items() if n in self.picture.networks]
        for number, (name, one) in enumerate(subnets):
            for other, two in subnets[:number]:
                if one.version == two.version and one.overlaps(two):
                    self.found.append(f"networks {name} and {other} overlap: {one}, {two}")

    def _nothing_else(self) -> None:
        bridges = {self.bridge(n.name) for n in self.picture.networks.values() if n.is_bridged}
        links = [
            name
            for name in self.seen.host.ours()
            if name not in bridges | set(self._veths.values()) and self.seen.host.links[name]["linkinfo"]
        ]
        # Below macvlan networks without a link of the host there is a bridge of ours.
        nowhere = sum(1 for n in self.picture.networks.values() if not n.is_bridged and n.leads_nowhere)
        self._expect("links of ours that nobody declared", links[nowhere:], [])

    def _firewall(self) -> None:
        if self.known.rules:
            self._expect("rules of the firewall", set(self.seen.rules) ^ set(self.known.rules), set())
            self._expect("order of the rules of the firewall", self.seen.rules == self.known.rules, True)
        self.known.rules = self.seen.rules
        bridged = {n.name: self.bridge(n.name) for n in self.picture.networks.values() if n.is_bridged}
        networks = [self.picture.networks[name] for name in bridged]
        wanted: dict[tuple[str, str], set[tuple[str, ...]]] = {
            ("inet", "bridges"): {(bridge,) for bridge in bridged.values()},
            ("inet", "internal"): {(bridged[n.name],) for n in networks if n.is_internal},
            ("inet", "icc"): {(*[bridged[n.name]] * 2, "accept" if n.has_icc else "drop") for n in networks},
            ("bridge", "isolated_ports"): {
                (veth,) for (_, network), veth in self._veths.items() if not self.picture.networks[network].has_icc
            },
            ("bridge", "macs"): {(veth, self.known.endpoints[key].mac) for key, veth in self._veths.items()},
            ("bridge", "sources4"): {
                (veth, known.mac, known.ipv4.partition("/")[0])
                for key, veth in self._veths.items()
                if (known := self.known.endpoints[key]).ipv4
            },
        }
        for version in (4, 6):
            subnets = {n.name: str(self.subnet(n.name, version)) for n in networks if version in n.versions}
            wanted["inet", f"own{version}"] = {(subnet, bridged[name]) for name, subnet in subnets.items()}
            wanted["inet", f"masquerade{version}"] = {
                (subnets[n.name],) for n in networks if n.name in subnets and n.masquerades and not n.is_internal
            }
            wanted["inet", f"published_any{version}"] = set(self._published(version, ""))
            wanted["inet", f"published_host{version}"] = set(self._published(version, "one"))
        for name, elements in wanted.items():
            self._expect(f"set {name}", _some(self.seen.sets.get(name, frozenset()) - elements), [])
            self._expect(f"set {name} lacks", _some(elements - self.seen.sets.get(name, frozenset())), [])

    def _published(self, version: int, which: str) -> Iterator[tuple[str, ...]]:
        for name, attachment in self.picture.attachments.items():
            network = self.picture.way_out(name, version)
            if not network or not self.picture.networks[network].is_bridged:
                continue
            address = getattr(self.known.endpoints[name, network], f"ipv{version}").partition("/")[0]
            for port in attachment.ports:
                if bool(port.host_ip) != bool(which) or (port.host_ip and ip_address(port.host_ip).version != version):
                    continue
                host_ip = (port.host_ip,) if port.host_ip else ()
                yield (*host_ip, port.protocol, str(port.host_port), address, str(port.port))


def _some(elements: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return sorted(elements)[:4]


def _addresses(link: Link) -> set[str]:
    found = {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"}
    return found - {BY_HAND}


def _mac_of(address: str) -> str:
    return "02:42:" + ip_interface(address).ip.packed.hex(":")


def inspected_ids(machine: Machine) -> dict[str, str]:
    """Give the ids that the product tells, of networks, attachments and endpoints."""
    found = {}
    for path in sorted((machine.status_dir / "networks").glob("*.json")):
        document = json.loads(path.read_text())[0]
        found[document["Name"]] = document["Id"]
        for id_, each in document["Containers"].items():
            found[f"attachment {each['Name']}"] = id_
            found[f"endpoint {each['Name']} {document['Name']}"] = each["EndpointID"]
    return found
