"""Whether settings of the kernel keep packets from going where the specs say: forwarding, of the host and of each uplink, and what
files set at boot; `rp_filter` where there are two ways in; IPv6 switched off."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, warning, written
from reconciler.doctor.place import Place
from reconciler.kernel.sysctl import read_sysctl
from reconciler.model.identifiers import FORWARDING

_FOLDERS: Final = ("/usr/lib/sysctl.d", "/run/sysctl.d", "/etc/sysctl.d")
_OWN_FILE: Final = "/etc/sysctl.d/99-zz-reconciler.conf"
"""Read last (sysctl.d(5)): by its name, whatever its folder is."""

_STRICT: Final = 1
_SWITCHES: Final = ("net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6")


class Sysctls(Struct, frozen=True, kw_only=True):
    """values: of settings, by path. uplinks: links with a default route, for each version of IP. underlay: of the cluster.

    versions: of IP that must be forwarded by now, as networks that lead outside are built. is_ipv6_wanted: some network has it.
    at_boot: what files set at boot, by setting: value, file and line; the last one counts.
    """

    values: Mapping[str, str]
    uplinks: Mapping[int, Sequence[str]]
    underlay: str = ""
    versions: tuple[int, ...] = ()
    is_ipv6_wanted: bool = False
    at_boot: Mapping[str, tuple[str, str]] = {}


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Sysctls) -> Iterator[Finding]:
    for version in found.versions:
        yield from _forwarding(found, version)
    yield from _strict(found)
    for name in _SWITCHES if found.is_ipv6_wanted else ():
        if found.values.get(name) == "1":
            yield warning(
                f"{_dotted(name)} is 1, and there are networks with IPv6",
                "the host's part of IPv6 is switched off: members reach nobody outside by it",
                _set(name, "0"),
            )


def _forwarding(found: Sysctls, version: int) -> Iterator[Finding]:
    switch = FORWARDING[version]
    if found.values.get(switch) == "0":
        yield error(
            f"{_dotted(switch)} is 0",
            f"the host forwards no IPv{version} packets: nothing goes from networks to the outside, nor to published ports",
            _set(switch, "1"),
        )
        return
    for ifname in dict.fromkeys((*found.uplinks.get(version, ()), found.underlay)):
        name = f"net/ipv{version}/conf/{ifname}/forwarding"
        if found.values.get(name) == "0":
            yield error(
                f"{_dotted(name)} is 0",
                f"IPv{version} packets that come in by {ifname} are not forwarded: replies and what published ports are sent",
                _set(name, "1"),
            )
    value, place = found.at_boot.get(switch, ("", ""))
    if value == "0":
        yield warning(
            f"{place} sets {_dotted(switch)} to 0",
            "that is done at each boot and by `sysctl --system`; until the next pass nothing is forwarded",
            written(_OWN_FILE, [f"{_dotted(switch)} = 1"], is_appended=True),
        )


def _strict(found: Sysctls) -> Iterator[Finding]:
    """Strict filtering drops what comes in by another link than the answer would leave by: it takes two ways in to matter."""
    uplinks = tuple(dict.fromkeys((*found.uplinks.get(4, ()), *([found.underlay] if found.underlay else ()))))
    for ifname in uplinks if len(uplinks) > 1 else ():
        name = f"net/ipv4/conf/{ifname}/rp_filter"
        if max(_number(found, "net/ipv4/conf/all/rp_filter"), _number(found, name)) == _STRICT:
            others = ", ".join(other for other in uplinks if other != ifname)
            yield warning(
                f"rp_filter is strict on {ifname}, and there are ways in by {others} too",
                "packets that come by one link while the way back leads by another are dropped without a word",
                _set(name, "2"),
            )


def _number(found: Sysctls, name: str) -> int:
    text = found.values.get(name, "0")
    return int(text) if text.isdecimal() else 0


def _set(name: str, value: str) -> str:
    """Return the command; names with slashes are what sysctl(8) takes for links whose names have dots."""
    return command("sysctl", "-w", f"{_dotted(name)}={value}")


def _dotted(name: str) -> str:
    """Return the name as sysctl(8) has it: a dot in a part is a slash there."""
    return ".".join(part.replace(".", "/") for part in name.split("/"))


def read(place: Place) -> Sysctls:
    built = [network for network in place.bridges if network.link_name in place.built]
    versions = tuple(v for v in (4, 6) if any(s.subnet.version == v for n in built for s in n.subnets))
    uplinks = {version: _uplinks(place, version) for version in (4, 6)}
    underlay = place.underlay
    asked = [*FORWARDING.values(), *_SWITCHES, "net/ipv4/conf/all/rp_filter"]
    for ifname in {*uplinks[4], *uplinks[6], underlay} - {""}:
        asked += (f"net/ipv{version}/conf/{ifname}/forwarding" for version in (4, 6))
        asked.append(f"net/ipv4/conf/{ifname}/rp_filter")
    return Sysctls(
        values={name: value for name in asked if (value := read_sysctl(name)) is not None},
        uplinks=uplinks,
        underlay=underlay,
        versions=versions,
        is_ipv6_wanted=any(network.wanted.is_ipv6_enabled for network in place.networks),
        at_boot=at_boot({path: text for folder in _FOLDERS for path, text in place.files(folder, ".conf").items()}),
    )


def _uplinks(place: Place, version: int) -> tuple[str, ...]:
    names = {link.ifindex: link.ifname for link in place.view.foreign}
    size = 4 if version == 4 else 16
    defaults = [route for route in place.view.routes if not route.prefix_length and len(route.destination) == size]
    return tuple(dict.fromkeys(names[route.ifindex] for route in defaults if route.ifindex in names))


def at_boot(files: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what these files set, with file and line. Their names say in which order; of two of one name the last is."""
    by_name = {path.rpartition("/")[2]: path for path in files}
    found = {}
    for _, path in sorted(by_name.items()):
        for number, line in enumerate(files[path].splitlines(), 1):
            match = re.match(r"\s*-?\s*([\w./*-]+)\s*=\s*(\S+)\s*$", line)
            if match:
                name = match[1] if "/" in match[1].partition(".")[0] else match[1].replace(".", "/")
                found[name] = match[2], f"{path}:{number}"
    return found
