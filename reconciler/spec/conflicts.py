"""What single entries cannot know: two of them that want the same name, subnet, address, interface or sandbox.

Neither of two entries in conflict is taken: which of them is meant only the user knows, and both stay as they run.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address
from itertools import islice
from typing import Final, Generic, TypeVar

from msgspec import Struct, field

from reconciler.errors import SpecError
from reconciler.model.drivers import traits_of
from reconciler.model.objects import IPNetwork
from reconciler.model.wanted import (
    GatewayMode,
    NetworkMode,
    NetworkWanted,
    PortWanted,
    SandboxKind,
    SandboxRef,
    Source,
)
from reconciler.spec.attachment import (
    PORTS_MAX,
    AttachmentSpec,
    NetworkTable,
    network_mode,
    port_wanted,
    published_count,
    sandbox_ref,
)
from reconciler.spec.bridge_options import PREFIX
from reconciler.spec.declarations import Declared
from reconciler.spec.document import Path
from reconciler.spec.fields import is_glob
from reconciler.spec.network import NetworkSpec
from reconciler.spec.spec_model import SpecModel

EntryT = TypeVar("EntryT")
SpecT = TypeVar("SpecT", bound=SpecModel)

_BRIDGE_NAME: Final = f"{PREFIX}bridge.name"
_NETNS_DIRS: Final = ("/run/netns/", "/var/run/netns/")
_ANY: Final = IPv4Address(0)
PORT_CLAIMS_MAX: Final = 1 << 17
"""Host ports that are compared with each other while reading; more are compared when all choices are made."""


class Conflicts(Struct, frozen=True):
    """faults: one per conflict, at the later place. keys: of all entries that are in one."""

    faults: tuple[SpecError, ...]
    keys: frozenset[str]


class _ConflictCollector(Struct):
    faults: list[SpecError] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def add(self, fault: SpecError, *keys: str) -> None:
        self.faults.append(fault)
        self.keys.update(keys)

    def result(self) -> Conflicts:
        return Conflicts(tuple(self.faults), frozenset(self.keys))


def twice_declared(entries: Iterable[Declared[SpecT]], what: str) -> Conflicts:
    """Find keys that stand in more than one file (in one file the parser has said it)."""
    found, first = _ConflictCollector(), dict[str, Declared[SpecT]]()
    for entry in entries:
        earlier = first.setdefault(entry.key, entry)
        if earlier is not entry:
            message = f"{what} with name {entry.key} already exists: it is also declared at {earlier.source}"
            found.add(entry.fault((), message, at_key=True), entry.key)
    return found.result()


def network_conflicts(networks: Iterable[Declared[NetworkSpec]], taken_links: Mapping[str, str]) -> Conflicts:
    """Compare all networks that are made here, also those with other faults. taken_links: bridge name -> network."""
    found = _ConflictCollector()
    made = [(entry, entry.spec) for entry in networks if entry.spec is not None and not entry.spec.is_external]
    _names(found, made)
    _bridge_names(found, made, taken_links)
    _overlaps(found, made)
    return found.result()


_Network = tuple[Declared[NetworkSpec], NetworkSpec]


def _names(found: _ConflictCollector, networks: list[_Network]) -> None:
    names: dict[str, Declared[NetworkSpec]] = {}
    for entry, spec in networks:
        name = spec.real_name(entry.key)
        earlier = names.setdefault(name, entry)
        if earlier.key != entry.key:
            message = f"network with name {name} already exists: it is also declared at {earlier.source}"
            found.add(entry.fault(("name",), message), entry.key, earlier.key)


def _bridge_names(found: _ConflictCollector, networks: list[_Network], taken_links: Mapping[str, str]) -> None:
    links = {link: ("", name) for link, name in taken_links.items()}
    for entry, spec in networks:
        link = spec.driver_opts.get(_BRIDGE_NAME)
        if link is None:
            continue
        key, other = links.setdefault(link, (entry.key, f"{entry.key} ({entry.source})"))
        if key != entry.key:
            message = f"conflicts with network {other}: networks have same bridge name {link}"
            found.add(entry.fault(("driver_opts", _BRIDGE_NAME), message), entry.key, key)


class _Pool(Struct, frozen=True):
    subnet: IPNetwork
    entry: Declared[NetworkSpec]
    index: int

    @property
    def path(self) -> Path:
        return ("ipam", "config", self.index, "subnet")

    @property
    def source(self) -> Source:
        return self.entry.document.source((self.entry.section, self.entry.key, *self.path))


def _overlaps(found: _ConflictCollector, networks: list[_Network]) -> None:
    """Sweep over all subnets of the local address space from low to high: what begins inside an earlier one overlaps."""
    local = [(entry, spec) for entry, spec in networks if not traits_of(spec.driver).is_vxlan]
    pools = [_Pool(item.subnet, entry, index) for entry, spec in local for index, item in spec.used_subnets()]
    pools.sort(key=lambda pool: (pool.subnet.version, int(pool.subnet.network_address), pool.subnet.prefixlen))
    widest: _Pool | None = None
    for pool in pools:
        if widest is None or pool.subnet.network_address not in widest.subnet:
            widest = pool
        elif pool.entry.key != widest.entry.key:
            first, second = sorted((pool, widest), key=lambda one: one.source)
            message = (
                f"invalid pool request: Pool overlaps with other one on this address space: "
                f"{second.subnet} meets {first.subnet} of network '{first.entry.key}' at {first.source}"
            )
            found.add(second.entry.fault(second.path, message), second.entry.key, first.entry.key)


class _Claims(Struct, Generic[EntryT]):
    """Who claims one thing on which hosts."""

    everywhere: EntryT | None = None
    anyone: EntryT | None = None
    by_host: dict[str, EntryT] = field(default_factory=dict)
    by_glob: dict[str, EntryT] = field(default_factory=dict)
    here: EntryT | None = None

    def meeting(self, hosts: tuple[str, ...], *, is_here: bool) -> EntryT | None:
        """Return an earlier claim that holds on a host where this one does too, as far as names can tell."""
        if not hosts:
            return self.anyone
        if self.everywhere is not None:
            return self.everywhere
        if is_here and self.here is not None:
            return self.here
        for pattern in hosts:
            known = self.by_glob if is_glob(pattern) else self.by_host
            if pattern in known:
                return known[pattern]
            matching = self.by_host.items() if known is self.by_glob else self.by_glob.items()
            for other, entry in matching:
                name, glob = (other, pattern) if known is self.by_glob else (pattern, other)
                if fnmatchcase(name, glob):
                    return entry
        return None

    def add(self, entry: EntryT, hosts: tuple[str, ...], *, is_here: bool) -> None:
        self.anyone = self.anyone or entry
        if is_here:
            self.here = self.here or entry
        if not hosts:
            self.everywhere = self.everywhere or entry
        for pattern in hosts:
            (self.by_glob if is_glob(pattern) else self.by_host).setdefault(pattern, entry)


class _Claim(Struct, frozen=True):
    """One attachment's claim: what (as a dictionary key), at which place, and how to say it.

    rivals: what else it excludes when that is claimed. also: further keys that it is found under.
    """

    thing: Hashable
    path: Path
    words: str
    rivals: tuple[Hashable, ...] = ()
    also: tuple[Hashable, ...] = ()


def attachment_conflicts(
    attachments: Iterable[Declared[AttachmentSpec]], networks: NetworkTable, *, host: str
) -> Conflicts:
    """Find sandboxes, addresses, MAC addresses and host ports that two attachments want on one host."""
    found = _ConflictCollector()
    claims: Mapping[Hashable, _Claims[Declared[AttachmentSpec]]] = defaultdict(_Claims)
    ports_left = PORT_CLAIMS_MAX
    for entry in attachments:
        if entry.spec is None:
            continue
        hosts = entry.spec.hosts
        is_here = is_for_host(hosts, host)
        ports = list(islice(_port_claims(entry.spec, networks), ports_left))
        ports_left -= len(ports)
        told: set[Path] = set()
        for claim in (*_claims_beside_ports(entry.key, entry.spec, networks), *ports):
            meetings = (claims[thing].meeting(hosts, is_here=is_here) for thing in claim.rivals or (claim.thing,))
            earlier = next((other for other in meetings if other is not None and other.key != entry.key), None)
            if earlier is not None and claim.path not in told:
                message = f"{claim.words} by attachment '{earlier.key}' at {earlier.source}"
                found.add(entry.fault(claim.path, message, at_key=not claim.path), entry.key, earlier.key)
                told.add(claim.path)
            for thing in (claim.thing, *claim.also):
                claims[thing].add(entry, hosts, is_here=is_here)
    return found.result()


def claimed(key: str, spec: AttachmentSpec, networks: NetworkTable, *, with_ports: bool) -> Iterator[Hashable]:
    """Yield all that an attachment is found under by others that claim the same."""
    for claim in _claims_of(key, spec, networks) if with_ports else _claims_beside_ports(key, spec, networks):
        yield from (claim.thing, *claim.also)


def are_ports_few(specs: Iterable[AttachmentSpec | None]) -> bool:
    """Return whether each host port may be kept by itself: a line of a spec file can name 65,536 of them."""
    return sum(published_count(spec) for spec in specs if spec is not None and spec.ports) <= PORT_CLAIMS_MAX


def is_in_conflict(
    key: str,
    spec: AttachmentSpec,
    networks: NetworkTable,
    host: str,
    claimants: Callable[[Hashable], Iterable[tuple[str, AttachmentSpec]]],
) -> bool:
    """Return whether an attachment wants what another has on one host, as `attachment_conflicts` would. claimants: of a thing."""
    is_here = is_for_host(spec.hosts, host)
    for claim in _claims_of(key, spec, networks):
        for thing in claim.rivals or (claim.thing,):
            others = _Claims[str]()
            for name, other in claimants(thing):
                if name != key:
                    others.add(name, other.hosts, is_here=is_for_host(other.hosts, host))
            if others.meeting(spec.hosts, is_here=is_here) is not None:
                return True
    return False


def _claims_of(key: str, spec: AttachmentSpec, networks: NetworkTable) -> Iterator[_Claim]:
    yield from _claims_beside_ports(key, spec, networks)
    yield from _port_claims(spec, networks)


def _claims_beside_ports(key: str, spec: AttachmentSpec, networks: NetworkTable) -> Iterator[_Claim]:
    yield from _sandbox_claims(key, spec, networks)
    yield from _endpoint_claims(spec, networks)


def is_for_host(hosts: tuple[str, ...], host: str) -> bool:
    return not hosts or host in hosts or any(fnmatchcase(host, pattern) for pattern in hosts if is_glob(pattern))


def _sandbox_claims(name: str, spec: AttachmentSpec, networks: NetworkTable) -> Iterator[_Claim]:
    if network_mode(spec, networks) is NetworkMode.HOST:
        return
    ref = sandbox_ref(name, spec.sandbox)
    path = tuple(("sandbox", field) for field in spec.sandbox.model_fields_set)
    yield _Claim(_same_sandbox(ref), path[0] if path else (), f"sandbox {ref.kind} {ref.value} is already taken")


def _same_sandbox(ref: SandboxRef) -> tuple[str, str]:
    """See through the spellings of one namespace: a name, its path, a process's path."""
    if ref.kind is not SandboxKind.PATH:
        return str(ref.kind), ref.value
    path = posixpath.normpath(ref.value).replace("//", "/")
    for folder in _NETNS_DIRS:
        if path.startswith(folder) and "/" not in path.removeprefix(folder):
            return "netns", path.removeprefix(folder)
    parts = path.split("/")
    if len(parts) == 5 and parts[1] == "proc" and parts[2].isdecimal() and parts[3:] == ["ns", "net"]:
        return "pid", parts[2]
    return "path", path


def _endpoint_claims(spec: AttachmentSpec, networks: NetworkTable) -> Iterator[_Claim]:
    for key, endpoint in spec.networks.items():
        network = networks.get(key)
        name = network.name if network is not None else key
        for option, value in (("ipv4_address", endpoint.ipv4_address), ("ipv6_address", endpoint.ipv6_address)):
            if value is not None:
                words = f"Address already in use: {value} is taken on network '{name}'"
                yield _Claim((name, value), ("networks", key, option), words)
        if (mac := endpoint.mac_address) is not None:
            yield _Claim(
                (name, mac), ("networks", key, "mac_address"), f"MAC address {mac} is taken on network '{name}'"
            )


def _port_claims(spec: AttachmentSpec, networks: NetworkTable) -> Iterator[_Claim]:
    """Yield the host ports of IPv4 that are certain by the specs alone; the others are compared when all choices are made."""
    if not spec.ports or network_mode(spec, networks) is not NetworkMode.NETWORKS:
        return
    if published_count(spec) > PORTS_MAX:
        return  # which is a fault by itself
    joined = [networks.get(key) for key in spec.networks or ("bridge",)]
    if not all(network is not None and _is_translating(network) for network in joined):
        return
    has_binding = any(n is not None and n.bridge is not None and n.bridge.host_binding is not None for n in joined)
    for index, port in enumerate(map(port_wanted, spec.ports)):
        if port.host_ip is None and has_binding:
            continue
        yield from _claims_of_port(("ports", index), port)


def _is_translating(network: NetworkWanted) -> bool:
    """Return whether a port published through this network surely takes a port of the host."""
    is_routed = network.bridge is not None and network.bridge.gateway_mode_ipv4 is GatewayMode.ROUTED
    return network.traits.has_host_bridge and network.is_ipv4_enabled and not network.is_internal and not is_routed


def _claims_of_port(path: Path, port: PortWanted) -> Iterator[_Claim]:
    """On all addresses a port excludes every single one, on one only itself and all."""
    host_ip = port.host_ip or _ANY
    is_fixed = port.published[0] and port.published[1] - port.published[0] == port.target[1] - port.target[0]
    if not is_fixed or host_ip.version != 4:
        return
    for number in range(port.published[0], port.published[1] + 1):
        on_some = ("port", port.protocol, number)
        on_all, on_this = (*on_some, "all"), (*on_some, host_ip)
        is_all = host_ip.is_unspecified
        yield _Claim(
            thing=on_all if is_all else on_this,
            path=path,
            words=f"Bind for {host_ip}:{number} failed: port is already allocated",
            rivals=(on_some,) if is_all else (on_all, on_this),
            also=(on_some,),
        )
