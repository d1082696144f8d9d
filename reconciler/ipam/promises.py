"""What was chosen before, and its form in the key-value store.

One record per network, endpoint and borrowed setting; the path says whose, the JSON text what. Everything read is
input from outside: whatever does not fit is left out and told, and harms nothing but itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Interface, IPv6Interface
from operator import attrgetter
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

from msgspec import Struct, field

from reconciler.incremental import Table, Union, changed_keys
from reconciler.ipam.adoption_record import read_adoption
from reconciler.model.adoption import Found
from reconciler.model.desired import DesiredEndpoint, DesiredNetwork, DesiredSubnet
from reconciler.model.identifiers import HOST, VNI_MAX, NsRef
from reconciler.model.objects import IPAddress, IPInterface, IPNetwork, KvRecord, Unit
from reconciler.model.plugins import JoinAnswer
from reconciler.model.subnets import is_unicast
from reconciler.records.document import Misfit
from reconciler.records.faults import left_out
from reconciler.records.fields import Fields, checked_name

T = TypeVar("T")

EndpointKey = tuple[str, str]
"""Network name and attachment name."""

SubnetPromise = tuple[IPNetwork, IPAddress | None]
"""A pool and the gateway in it, None where nobody answers."""

RECORD_MAX: Final = 16 * 1024
"""Characters of one record; ours stay below 1,000."""

_SUBNETS_MAX: Final = 64
_NS_MAX: Final = 4096 + 16
"""PATH_MAX (linux/limits.h) and the reference's kind."""

_SYSCTL: Final = re.compile(r"net(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.@-]+)+\Z")
_SYSCTL_VALUE: Final = re.compile(r"[ -~\t]{0,4096}\Z")
_SHORT_ID: Final = 12
"""Hex digits of an id that go into link names: two ids that agree in them would share a link."""

_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class NetworkPromise(Struct, frozen=True, kw_only=True):
    """What a network got. created: RFC 3339, "" when nobody remembers (adopted from the kernel).

    is_protected: as declared last, so that removing the declaration does not unprotect. is_shared: it was one of the cluster.
    vnis: by subnet, of overlay networks.
    """

    name: str
    id: str
    created: str
    subnets: tuple[SubnetPromise, ...] = ()
    link_name: str = ""
    is_protected: bool = False
    is_shared: bool = False
    vnis: Mapping[IPNetwork, int] = field(default_factory=dict)


class EndpointPromise(Struct, frozen=True, kw_only=True):
    """What an attachment got on a network; "" and None for what it has not."""

    network: str
    attachment: str
    id: str
    ifname: str = ""
    link_name: str = ""
    ipv4: IPv4Interface | None = None
    ipv6: IPv6Interface | None = None
    mac: str = ""


class SysctlPromise(Struct, frozen=True, kw_only=True):
    """The value that a setting had before it was changed for us. name: path with slashes below /proc/sys.

    place: of a setting of the host, the boot and the namespace that it was changed in; "" where 0.1.0 did.
    """

    ns: NsRef
    name: str
    before: str
    place: str = ""

    def is_of(self, place: str) -> bool:
        """Return whether it is about settings as they are in a place: a reboot has set them anew."""
        return self.ns != HOST or not self.place or not place or self.place == place


class Promises(Struct, frozen=True, kw_only=True):
    """All that was promised: networks by name, endpoints by (network, attachment), settings by (namespace, name).

    adopted: how bridges of others were when they were taken over, by name.
    sandboxes: whose the namespaces are in which links of ours may be that nothing outside tells of (macvlan, ipvlan).
    answers: what plugins said of endpoints on their networks, by (network, attachment).
    """

    networks: Mapping[str, NetworkPromise] = field(default_factory=dict)
    endpoints: Mapping[EndpointKey, EndpointPromise] = field(default_factory=dict)
    sysctls: Mapping[tuple[NsRef, str], SysctlPromise] = field(default_factory=dict)
    sandboxes: Mapping[NsRef, str] = field(default_factory=dict)
    answers: Mapping[tuple[str, str], JoinAnswer] = field(default_factory=dict)
    adopted: Mapping[str, Found] = field(default_factory=dict)

    def link_units(self) -> Mapping[str, Unit]:
        """Return whose each link is, by its name."""
        units = {network.link_name: Unit(network=name) for name, network in self.networks.items()}
        units |= {e.link_name: Unit(network=e.network, attachment=e.attachment) for e in self.endpoints.values()}
        return {name: unit for name, unit in units.items() if name}

    def shared_networks(self) -> Iterator[str]:
        """Yield the names of the networks of the cluster that this host had to do with."""
        return (name for name, promise in self.networks.items() if promise.is_shared)


NOTHING_PROMISED: Final = Promises()


def merged(kept: Promises, adopted: Promises) -> Promises:
    """Complete what the store kept by what the kernel still knows; the store wins."""
    return Promises(
        networks={**adopted.networks, **kept.networks},
        endpoints={**adopted.endpoints, **kept.endpoints},
        sysctls={**adopted.sysctls, **kept.sysctls},
        sandboxes={**adopted.sandboxes, **kept.sandboxes},
        answers=kept.answers,
        adopted=kept.adopted,
    )


def network_record(network: DesiredNetwork) -> KvRecord:
    """Return the record of a network at `network/<name>`."""
    subnets = [_subnet_fields(subnet) for subnet in network.subnets]
    fields = {"created": network.created, "id": network.id, "link_name": network.link_name, "subnets": subnets}
    marks = {"protected": network.wanted.is_protected, "shared": network.wanted.is_shared}
    return _record(
        network.unit, f"network/{network.name}", {**fields, **{key: True for key, is_so in marks.items() if is_so}}
    )


def _subnet_fields(subnet: DesiredSubnet) -> dict[str, object]:
    vni = {} if subnet.vni is None else {"vni": subnet.vni}
    return {"gateway": _text(subnet.gateway), "subnet": str(subnet.subnet), **vni}


def endpoint_record(endpoint: DesiredEndpoint) -> KvRecord:
    """Return the record of an endpoint at `endpoint/<network>/<attachment>`."""
    return _record(
        endpoint.unit,
        f"endpoint/{endpoint.network}/{endpoint.attachment}",
        {
            "id": endpoint.id,
            "ifname": endpoint.ifname,
            "ipv4": _text(endpoint.ipv4),
            "ipv6": _text(endpoint.ipv6),
            "link_name": endpoint.link_name,
            "mac": endpoint.mac,
        },
    )


def sysctl_record(promise: SysctlPromise, unit: Unit) -> KvRecord:
    """Return the record of a setting at `sysctl/<namespace, quoted as in a URL, or "host">/<name>`."""
    path = f"sysctl/{quote(promise.ns, safe='') or _HOST_SEGMENT}/{promise.name}"
    where = {"place": promise.place} if promise.place else {}
    return _record(unit, path, {"before": promise.before, **where})


def sandbox_record(attachment: str, ns: NsRef) -> KvRecord:
    """Return the record at `sandbox/<attachment>/<namespace, quoted as in a URL>`: the path says it all.

    The namespace stands in the path so that, when it is another one, the record of before stays until its links are gone.
    """
    return _record(Unit(attachment=attachment), f"sandbox/{attachment}/{quote(ns, safe='')}", {})


def _record(unit: Unit, path: str, value: Mapping[str, object]) -> KvRecord:
    return KvRecord(unit=unit, path=path, value=_ENCODER.encode(value))


def _text(value: IPAddress | IPInterface | None) -> str | None:
    return None if value is None else str(value)


_HOST_SEGMENT = "host"
"""Stands for the host's namespace, whose reference is empty; all others hold a colon."""


_Read = NetworkPromise | EndpointPromise | SysctlPromise | Found | tuple[NsRef, str] | str | None
"""What a record says; a sandbox and whose it is; in words what is wrong with it; None for one of another kind."""


def _read(path: str, text: str) -> _Read:
    try:
        match path.split("/"):
            case ["network", name]:
                return _network(checked_name(name), Fields.of(text, RECORD_MAX))
            case ["endpoint", network, attachment]:
                return _endpoint(checked_name(network), checked_name(attachment), Fields.of(text, RECORD_MAX))
            case ["adopted", ifname]:
                return read_adoption(ifname, Fields.of(text, RECORD_MAX))
            case ["sandbox", attachment, ns]:
                return _sandbox(checked_name(attachment), _ns(ns))
            case ["sysctl", ns, *parts]:
                return _sysctl(_ns(ns), "/".join(parts), Fields.of(text, RECORD_MAX))
    except Misfit as misfit:
        return str(misfit)
    return None


def _network(name: str, fields: Fields) -> NetworkPromise:
    subnets = fields.objects("subnets", _SUBNETS_MAX)
    return NetworkPromise(
        name=name,
        created=fields.text("created") and fields.moment("created"),
        subnets=tuple(map(_subnet, subnets)),
        vnis={entry.pool("subnet"): entry.number("vni", VNI_MAX) for entry in subnets if "vni" in entry},
        link_name=fields.link_name("link_name"),
        is_protected=fields.value("protected") is True,
        is_shared=fields.value("shared") is True,
        id=fields.id("id"),
    )


def _endpoint(network: str, attachment: str, fields: Fields) -> EndpointPromise:
    return EndpointPromise(
        network=network,
        attachment=attachment,
        ifname=fields.link_name("ifname"),
        link_name=fields.link_name("link_name"),
        ipv4=fields.interface("ipv4", IPv4Interface),
        ipv6=fields.interface("ipv6", IPv6Interface),
        mac=fields.mac("mac"),
        id=fields.id("id"),
    )


def _sysctl(ns: NsRef, name: str, fields: Fields) -> SysctlPromise:
    if not _SYSCTL.match(name):
        raise Misfit("not a setting below net/")
    place = fields.matching("place", _SYSCTL_VALUE) if fields.has("place") else ""
    return SysctlPromise(ns=ns, name=name, before=fields.matching("before", _SYSCTL_VALUE), place=place)


def _sandbox(attachment: str, ns: NsRef) -> tuple[NsRef, str]:
    if ns == HOST:
        raise Misfit("not a sandbox")
    return ns, attachment


class PromiseReader:
    """Reads records (path to JSON text) again and again, those that changed: the promise of one that stays is the very same.

    Never raises. Gives also one line for each that was left out, a bounded number. Paths of other kinds are passed over. Of two
    records with one id the first by path holds.
    """

    def __init__(self) -> None:
        self._records: Mapping[str, str] = {}
        self._read: Table[str, _Read] = Table()
        self._holding: Table[str, _Read] = Table()
        self._faults: dict[str, str] = {}
        self._networks: Table[str, NetworkPromise] = Table()
        self._endpoints: Table[EndpointKey, EndpointPromise] = Table()
        self._sysctls: Table[tuple[NsRef, str], SysctlPromise] = Table()
        self._sandboxes: Union[tuple[str], NsRef, str] = Union()
        self._adopted: Table[str, Found] = Table()

    def __call__(self, records: Mapping[str, str]) -> tuple[Promises, tuple[str, ...]]:
        changed, self._records = changed_keys(self._records, records), records
        before, holding = self._holding, self._hold(records, sorted(changed))
        paths = holding.changed_since(before)
        gone, come = ([table[path] for path in sorted(paths) if path in table] for table in (before, holding))
        self._networks = _exchanged(self._networks, NetworkPromise, attrgetter("name"), gone, come)
        self._endpoints = _exchanged(self._endpoints, EndpointPromise, attrgetter("network", "attachment"), gone, come)
        self._sysctls = _exchanged(self._sysctls, SysctlPromise, attrgetter("ns", "name"), gone, come)
        self._adopted = _exchanged(self._adopted, Found, attrgetter("ifname"), gone, come)
        sandboxes: dict[tuple[str], Mapping[NsRef, str]] = {
            (path,): dict((read,)) for path in paths if isinstance(read := holding.get(path), tuple)
        }
        left = [(path,) for path in paths if isinstance(before.get(path), tuple) and (path,) not in sandboxes]
        found = Promises(
            networks=self._networks,
            endpoints=self._endpoints,
            sysctls=self._sysctls,
            sandboxes=self._sandboxes.updated(sandboxes, left),
            adopted=self._adopted,
        )
        return found, left_out(sorted(self._faults.items()))

    def _hold(self, records: Mapping[str, str], changed: Sequence[str]) -> Table[str, _Read]:
        """Read these again; return what holds of all, and note what does not."""
        read = {path: _read(path, records[path]) for path in changed if path in records}
        before, now = self._read, self._read.updated(read, [path for path in changed if path not in read])
        ids = {id_ for table in (before, now) for path in changed if path in table for id_ in _ids(path, table[path])}
        named = now.index(_ids)
        firsts = {id_: min(paths) for id_ in ids if (paths := named.get(id_))}
        holding, out = {}, []
        for path in sorted({*changed, *(path for id_ in firsts for path in named[id_])}):
            self._faults.pop(path, None)
            found = now.get(path)
            if any(firsts[id_] != path for id_ in _ids(path, found)):
                self._faults[path] = "another record has its id"
            elif isinstance(found, str):
                self._faults[path] = found
            elif found is not None:
                holding[path] = found
                continue
            out.append(path)
        self._read, self._holding = now, self._holding.updated(holding, out)
        return self._holding


def _ids(_: str, read: _Read) -> tuple[str, ...]:
    return (read.id[:_SHORT_ID],) if isinstance(read, NetworkPromise | EndpointPromise) else ()


def _exchanged(
    table: Table[Any, T], kind: type[T], key: Callable[[T], Any], gone: Iterable[_Read], come: Iterable[_Read]
) -> Table[Any, T]:
    """Return the table of promises of one kind with what came instead of what went."""
    put = {key(read): read for read in come if isinstance(read, kind)}
    return table.updated(put, [key(read) for read in gone if isinstance(read, kind)])


def decode_promises(records: Mapping[str, str]) -> tuple[Promises, tuple[str, ...]]:
    """Read records once: see `PromiseReader`."""
    return PromiseReader()(records)


def _ns(quoted: str) -> NsRef:
    if quoted == _HOST_SEGMENT:
        return HOST
    text = unquote(quoted, errors="replace")
    if len(text) > _NS_MAX or quote(text, safe="", errors="replace") != quoted or any(ord(c) < 32 for c in text):
        raise Misfit("not a namespace")
    return NsRef(text)


def _subnet(entry: Fields) -> SubnetPromise:
    subnet = entry.pool("subnet")
    gateway = entry.address("gateway") if entry.has("gateway") else None
    if gateway is not None and (gateway not in subnet or not is_unicast(gateway)):
        raise Misfit("a gateway lies outside its subnet")
    return subnet, gateway
