"""Whether NetworkManager, systemd-networkd or dockerd run and would change, or have, links of ours; and whether restarting
nftables.service takes our tables away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, note, warning, written
from reconciler.doctor.place import Place
from reconciler.ipam.link_names import DEFAULT_BRIDGE_LINK
from reconciler.records.file import beginning

PATTERNS: Final = ("rcv*", "br-????????????", "dm-????????????", "di-????????????", "docker0", "docker_gwbridge")
"""Names of our links, as in examples/systemd."""

_NM_FOLDERS: Final = ("/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/etc/NetworkManager/conf.d")
_NM_FILE: Final = "/etc/NetworkManager/conf.d/reconciler.conf"
_NETWORKD_FOLDERS: Final = ("/usr/lib/systemd/network", "/run/systemd/network", "/etc/systemd/network")
_NETWORKD_FILE: Final = "/etc/systemd/network/05-reconciler.network"
_NFTABLES: Final = "/etc/nftables.conf"
_NETWORK_MANAGER: Final = "NetworkManager"
_NETWORKD: Final = "systemd-network"
"""The first 15 characters of its name, which is what the kernel keeps (proc_pid_comm(5))."""

_DOCKERD: Final = "dockerd"
_PROCESSES: Final = frozenset({_NETWORK_MANAGER, _NETWORKD, _DOCKERD})


class Managers(Struct, frozen=True, kw_only=True):
    """running: names of programs. unmanaged: patterns that NetworkManager is told to leave alone. networkd: its files by path.

    links: names of ours that there shall be. foreign: links of others. is_bridge_wanted: of the network `bridge`.
    nftables: the file that nftables.service loads.
    """

    running: frozenset[str] = frozenset()
    unmanaged: Sequence[str] = ()
    networkd: Mapping[str, str] = {}
    links: tuple[str, ...] = ()
    foreign: frozenset[str] = frozenset()
    is_bridge_wanted: bool = False
    nftables: str = ""


def examine(place: Place) -> Iterator[Finding]:
    return judge(read(place))


def judge(found: Managers) -> Iterator[Finding]:
    if _NETWORK_MANAGER in found.running:
        yield from _network_manager(found)
    if _NETWORKD in found.running:
        yield from _networkd(found)
    if found.is_bridge_wanted and DEFAULT_BRIDGE_LINK in found.foreign:
        by = " (dockerd runs)" if _DOCKERD in found.running else ""
        yield error(
            f"{DEFAULT_BRIDGE_LINK} is somebody else's{by}, and the network `bridge` needs that name",
            "the network `bridge` cannot be made; nothing else is the worse for it, but each pass fails",
            "mkdir -p /etc/reconciler",
            written("/etc/reconciler/config.yaml", ["bridge: none"], is_appended=True),
        )
    if re.search(r"(?m)^\s*flush\s+ruleset", found.nftables):
        yield note(
            f"{_NFTABLES} flushes the whole ruleset",
            "`systemctl restart nftables` takes our tables away until the next pass; a watcher has them back at once",
            "cp /opt/reconciler/lib/systemd/system/reconciler-after-nftables.service /etc/systemd/system/"
            " && systemctl enable reconciler-after-nftables",
        )


def _network_manager(found: Managers) -> Iterator[Finding]:
    wanted = dict.fromkeys((*PATTERNS, *found.links))
    left = [name for name in wanted if not any(fnmatchcase(_sample(name), pattern) for pattern in found.unmanaged)]
    if left:
        devices = ";".join(f"interface-name:{name}" for name in wanted)
        yield warning(
            f"NetworkManager runs and is not told to leave {', '.join(left)} alone",
            "it may give our links addresses and routes of its own, or take ours away, and each pass puts them back",
            "mkdir -p /etc/NetworkManager/conf.d",
            written(_NM_FILE, ["[keyfile]", f"unmanaged-devices+={devices}"]),
            "systemctl reload NetworkManager",
        )


def _networkd(found: Managers) -> Iterator[Finding]:
    """networkd minds what the first file that matches says, by the files' names."""
    wanted = dict.fromkeys((*PATTERNS, *found.links))
    taken = {name: path for name in wanted if (path := _taking(found.networkd, _sample(name)))}
    if taken:
        files = ", ".join(dict.fromkeys(taken.values()))
        lines = ["[Match]", f"Name={' '.join(wanted)}", "", "[Link]", "Unmanaged=yes"]
        yield warning(
            f"systemd-networkd runs, and {files} makes it manage {', '.join(taken)}",
            "it takes addresses and routes away that it did not make, and each pass puts them back",
            "mkdir -p /etc/systemd/network",
            written(_NETWORKD_FILE, lines),
            command("networkctl", "reload"),
        )


def _sample(pattern: str) -> str:
    return pattern.replace("?", "0").replace("*", "0")


def _taking(files: Mapping[str, str], name: str) -> str:
    """Return the file by which networkd manages a link, "" when none does."""
    for path in sorted(files, key=lambda path: path.rpartition("/")[2]):
        text = files[path]
        names = [pattern for line in re.findall(r"(?m)^\s*Name\s*=(.*)$", text) for pattern in line.split()]
        kinds = [kind for line in re.findall(r"(?m)^\s*Type\s*=(.*)$", text) for kind in line.split()]
        others = re.search(r"(?m)^\s*(MACAddress|PermanentMACAddress|Path|Driver|Property)\s*=", text)
        if others or not (names or kinds):
            continue
        is_named = not names or any(fnmatchcase(name, pattern) for pattern in names if not pattern.startswith("!"))
        if is_named and (not kinds or {"ether", "bridge", "*"} & {*kinds}):
            return "" if re.search(r"(?mi)^\s*Unmanaged\s*=\s*(yes|true|1|on)\s*$", text) else path
    return ""


def unmanaged(files: Mapping[str, str]) -> tuple[str, ...]:
    """Return the patterns of names of `unmanaged-devices` (NetworkManager.conf(5)); `=` forgets what was said before."""
    found: list[str] = []
    for text in files.values():
        for sign, value in re.findall(r"(?m)^\s*unmanaged-devices\s*(\+?=)(.*)$", text):
            names = re.findall(r"(?:^|[;,\s])interface-name:=?([^;,\s]+)", value)
            found = [*found, *names] if sign == "+=" else names
    return tuple(found)


def read(place: Place) -> Managers:
    running = frozenset(_running(place))
    nm_files = {"": place.file("/etc/NetworkManager/NetworkManager.conf") or ""} | {
        path: text for folder in _NM_FOLDERS for path, text in place.files(folder, ".conf").items()
    }
    return Managers(
        running=running,
        unmanaged=unmanaged(nm_files) if _NETWORK_MANAGER in running else (),
        networkd={p: text for folder in _NETWORKD_FOLDERS for p, text in place.files(folder, ".network").items()},
        links=tuple(n.link_name for n in place.networks if n.link_name and n.is_bridged and not _is_usual(n.link_name)),
        foreign=frozenset(link.ifname for link in place.view.foreign),
        is_bridge_wanted=place.settings.is_bridge_enabled,
        nftables=(place.file(_NFTABLES) or "") if _is_enabled(place) else "",
    )


def _is_enabled(place: Place) -> bool:
    """Return whether nftables.service is started at boot."""
    return any((place.root / "etc/systemd/system").glob("*.wants/nftables.service"))


def _is_usual(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in PATTERNS)


def _running(place: Place) -> Iterator[str]:
    for process in (place.root / "proc").glob("[0-9]*"):
        try:
            name = beginning(process / "comm", 32).strip()
        except OSError:
            continue
        if name in _PROCESSES:
            yield name
