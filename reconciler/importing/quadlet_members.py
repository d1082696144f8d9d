"""A `.container` or `.pod` unit -> an attachment. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from msgspec import Struct

from reconciler.importing.quadlet_networks import specifiers
from reconciler.importing.unit_files import UnitFile, expanded
from reconciler.importing.values import ImportedAttachment, NotCarried

_DEFAULT_NETWORKS: Final = ("bridge", "private")
_OTHERS: Final = ("pasta", "slirp4netns", "ns")
_VALUED: Final = {
    "--network": "Network=",
    "--net": "Network=",
    "--ip": "IP=",
    "--ip6": "IP6=",
    "--publish": "PublishPort=",
    "-p": "PublishPort=",
    "--dns": "DNS=",
    "--dns-search": "DNSSearch=",
    "--dns-option": "DNSOption=",
    "--dns-opt": "DNSOption=",
    "--add-host": "AddHost=",
    "--hostname": "HostName=",
    "-h": "HostName=",
    "--sysctl": "Sysctl=",
    "--network-alias": "NetworkAlias=",
    "--expose": "ExposeHostPort=",
}
"""Options of Podman that say something of networks, and the keys that are read."""
_MAC: Final = "--mac-address"
_KEPT: Final = "it is no setting of networks, so Podman keeps it: nothing need be done"


class Networks(Struct, frozen=True):
    """by_reference: what networks are called in the specs, by their units' names and their own."""

    by_reference: Mapping[str, str]


class Member(Struct, frozen=True, kw_only=True):
    unit: UnitFile
    file: str
    host: str

    @property
    def is_pod(self) -> bool:
        return self.unit.name.endswith(".pod")

    @property
    def section(self) -> str:
        return "Pod" if self.is_pod else "Container"

    @property
    def meanings(self) -> Mapping[str, str]:
        return specifiers(self.unit, self.section, "-pod" if self.is_pod else "", self.host)


class _Reading(Struct, kw_only=True):
    """What is being read, and what is told of it meanwhile."""

    member: Member
    meanings: Mapping[str, str]
    where: str
    not_carried: list[NotCarried]
    missing: str = ""
    """Why it is not on the last network that it named and cannot be on."""

    def last(self, key: str) -> str:
        return next(iter(self._known([self.member.unit.last(self.member.section, key)], key)), "")

    def values(self, key: str) -> list[str]:
        return self._known(self.member.unit.all(self.member.section, key), key)

    def words(self, key: str, *, is_unescaped: bool) -> list[str]:
        return self._known(self.member.unit.words(self.member.section, key, is_unescaped=is_unescaped), key)

    def tell(self, what: str, why: str) -> None:
        self.not_carried.append(NotCarried(where=self.where, what=what, why=why))

    def _known(self, values: list[str], key: str) -> list[str]:
        found = []
        for value in values:
            try:
                found.append(expanded(value, self.meanings))
            except ValueError as error:
                self.tell(f"{key}={value}", f"what {error} stands for is not known here: write it out")
        return [value for value in found if value]


def read_member(member: Member, networks: Networks) -> ImportedAttachment | NotCarried:
    """Return the attachment of a container or pod, or why it has none. Its name is Podman's."""
    reading = _Reading(
        member=member, meanings=member.meanings, where=f"{member.section.lower()} ({member.file})", not_carried=[]
    )
    name = _name(reading)
    if not name:
        return reading.not_carried[0]
    reading.where = f"{member.section.lower()} {name} ({member.file})"
    pod, joined = reading.last("Pod"), reading.values("Network")
    why = _refusal(pod, joined)
    if why:
        return NotCarried(where=reading.where, what=f"the {member.section.lower()}", why=why)
    body = dict(_body(reading, name, joined, networks))
    if "networks" in body and not body["networks"]:
        return NotCarried(where=reading.where, what=f"the {member.section.lower()}", why=reading.missing)
    return ImportedAttachment(name=name, body=body, source=reading.where, not_carried=tuple(reading.not_carried))


def _name(reading: _Reading) -> str:
    """Return what Podman calls it; "" where that cannot be known, which is told."""
    key = "PodName" if reading.member.is_pod else "ContainerName"
    if reading.member.unit.last(reading.member.section, key):
        return reading.last(key)
    stem = reading.member.unit.name.rpartition(".")[0]
    if reading.member.is_pod:
        return f"systemd-{stem}"
    return expanded("systemd-%p_%i" if "@" in stem else "systemd-%N", reading.meanings)


def _refusal(pod: str, joined: list[str]) -> str:
    if pod:
        return f"it shares the sandbox of pod {pod}, and all that this reaches: leave it so"
    for each in joined:
        kind, _, other = each.partition(":")
        if kind == "container" or kind.endswith(".container"):
            return f"it shares the sandbox of container {other or kind}, and all that this reaches: leave it so"
        if kind in _OTHERS:
            return (
                f"Network={each} is no network that specs can name: write `Network=none`, and an attachment of its own"
            )
    return ""


def _body(reading: _Reading, name: str, joined: list[str], networks: Networks) -> Iterator[tuple[str, object]]:
    if joined == ["host"]:
        yield "network_mode", "host"
        return
    yield "sandbox", {"container": f"{name}-infra" if reading.member.is_pod else name}  # as quadlet calls it
    if reading.last("HostName"):
        yield "hostname", reading.last("HostName")
    if joined == ["none"]:
        yield "network_mode", "none"
    else:
        yield "networks", _memberships(reading, joined or ["bridge"], networks)
        yield from _lists(reading, (("ports", "PublishPort"), ("expose", "ExposeHostPort")))
    yield from _lists(reading, (("dns", "DNS"), ("dns_search", "DNSSearch"), ("dns_opt", "DNSOption")))
    hosts = [host for text in reading.values("AddHost") for host in _hosts(text)]
    if hosts:
        yield "extra_hosts", hosts
    sysctls = dict(_sysctls(reading))
    if sysctls:
        yield "sysctls", sysctls
    _tell_arguments(reading)


def _lists(reading: _Reading, fields: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, object]]:
    for field, key in fields:
        values = reading.values(key)
        if values:
            yield field, values


def _hosts(text: str) -> Iterator[str]:
    """Yield NAME=ADDRESS of `NAME[;NAME]:ADDRESS`."""
    names, _, address = text.partition(":")
    yield from (f"{name}={address}" for name in names.split(";") if name)


def _sysctls(reading: _Reading) -> Iterator[tuple[str, str]]:
    for word in reading.words("Sysctl", is_unescaped=False):
        key, _, value = word.partition("=")
        if key.startswith("net."):
            yield key, value
        else:
            reading.tell(f"Sysctl={word}", _KEPT)


def _memberships(reading: _Reading, joined: list[str], networks: Networks) -> Mapping[str, object]:
    found: dict[str, object] = {}
    own = dict(_own_addresses(reading)) if len(joined) == 1 else {}
    for each in joined:
        reference, _, options = each.partition(":")
        reference = "podman" if reference in _DEFAULT_NETWORKS else reference
        network = networks.by_reference.get(reference)
        if network is None:
            why = "none of these files declares it: import it with `reconcile import podman` or `netavark` first"
            if reference.endswith(".network"):
                why = f"there is no unit {reference} among these files that could be read"
            reading.missing = why
            reading.tell(f"network {reference}", why)
            continue
        endpoint = {**own, **_endpoint(reading, options)}
        aliases = [*reading.values("NetworkAlias"), *_texts(endpoint.pop("aliases", ()))]
        found[network] = {**({"aliases": list(dict.fromkeys(aliases))} if aliases else {}), **endpoint}
    return found


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _own_addresses(reading: _Reading) -> Iterator[tuple[str, object]]:
    for field, key in (("ipv4_address", "IP"), ("ipv6_address", "IP6")):
        if reading.last(key):
            yield field, reading.last(key)
    words = reading.member.unit.words(reading.member.section, "PodmanArgs")
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == _MAC:
            yield "mac_address", value if equals else next(iter(words[at + 1 :]), "")


def _endpoint(reading: _Reading, options: str) -> dict[str, object]:
    """Read what stands behind a network's name: `ip=10.1.0.2,alias=web`."""
    fields = {"mac": "mac_address", "interface_name": "interface_name"}
    found: dict[str, object] = {}
    aliases: list[str] = []
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key in ("ip", "ip6"):
            found["ipv6_address" if ":" in value else "ipv4_address"] = value
        elif key == "alias":
            aliases.append(value)
        elif key in fields:
            found[fields[key]] = value
        else:
            reading.tell(f"option {option} of a network", "attachments have no such option: do without")
    return {**found, **({"aliases": aliases} if aliases else {})}


def _tell_arguments(reading: _Reading) -> None:
    """Tell of options of Podman that say something of networks: the keys are read, these are not."""
    for word in reading.member.unit.words(reading.member.section, "PodmanArgs"):
        option = word.partition("=")[0]
        if option in _VALUED:
            reading.tell(f"PodmanArgs={word}", f"options are not read: write {_VALUED[option]} instead")
