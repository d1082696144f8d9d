"""Whether this process has the capabilities that a pass takes, on the host and not in a user namespace of its own alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from reconciler.doctor.finding import Finding, command, error, note, warning
from reconciler.doctor.place import Place
from reconciler.doctor.typed import typed
from reconciler.records.file import content

NEEDED: Final = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
USEFUL: Final = {
    1: ("CAP_DAC_OVERRIDE", "files of other users, as the state folder may be, cannot be written"),
    10: ("CAP_NET_BIND_SERVICE", "the name server cannot serve 127.0.0.11:53"),
    11: ("CAP_NET_BROADCAST", "a watcher does not hear what the kernel tells of sandboxes"),
    19: ("CAP_SYS_PTRACE", "sandboxes that are other users' processes are not found"),
}
"""linux/capability.h."""

_WHOLE: Final = [["0", "0", "4294967295"]]


class Rights(Struct, frozen=True, kw_only=True):
    """capabilities: effective, as bits. uid_map: of the user namespace, rows of inside, outside and count."""

    capabilities: int
    uid_map: list[list[str]]


def examine(place: Place) -> Iterator[Finding]:
    del place
    return judge(read(), typed())


def read(process: Path = Path("/proc/thread-self")) -> Rights:
    status = content(process / "status").decode(errors="replace")
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    uid_map = [line.split() for line in content(process / "uid_map").decode().splitlines()]
    return Rights(capabilities=int(effective, 16), uid_map=uid_map)


def judge(rights: Rights, arguments: list[str]) -> Iterator[Finding]:
    lacking = [name for bit, name in NEEDED.items() if not rights.capabilities >> bit & 1]
    if lacking:
        yield error(
            f"this process lacks {' and '.join(lacking)}",
            "no link, namespace, address or firewall rule can be made, and some checks cannot be",
            command("sudo", *arguments),
        )
        return
    for bit, (name, why) in USEFUL.items():
        if not rights.capabilities >> bit & 1:
            yield warning(f"this process lacks {name}", why, command("sudo", *arguments))
    if rights.uid_map != _WHOLE:
        yield note(
            "this process is root of a user namespace, not of the host",
            "it can make networks in namespaces of its own alone, and sandboxes of other users are out of its reach",
        )
