"""Typed settings of one process: where things are, which host this is. Values only; `cli` fills them in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from reconciler.errors import ConfigError
from reconciler.model.identifiers import instance_id, is_link_name
from reconciler.model.objects import IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneLimit:
    """How many networks the specs may cease to declare at once: fewer than `count`, or up to `percent` of all."""

    count: int = 3
    percent: int = 50

    def is_exceeded(self, gone: int, running: int) -> bool:
        return gone >= self.count and gone * 100 > running * self.percent


_ADVERTISED: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<plain>[^\[\]:]+))(?::[0-9]{1,5})?\Z")


def advertised(text: str) -> IPAddress | str:
    """Give what `--cluster-advertise` names: an address, or else the name of an interface.

    text: IP or IFACE, with or without :PORT as the engine has it (nothing listens there); IPv6 may stand in brackets.
    Raises ConfigError.
    """
    try:
        return ip_address(text)
    except ValueError:
        found = _ADVERTISED.match(text)
    given = (found["ipv6"] or found["plain"]) if found else ""
    try:
        return ip_address(given)
    except ValueError:
        if found and found["plain"] and is_link_name(given):
            return given
    raise ConfigError(f"--cluster-advertise {text}: expected IP or IFACE, with or without :PORT (IPv6 in brackets)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Field for field the global options of the command line (DESIGN section 5).

    netns_dir, netns_etc_dir: where ip-netns(8) keeps named namespaces and the files it mounts for them.
    is_bridge_enabled: False with `--bridge none`, then the network `bridge` has no device and its attachments no network.
    """

    specs_dir: Path = Path("specs")
    host: str
    state_dir: Path = Path("/var/lib/reconciler")
    status_dir: Path = Path("/var/lib/reconciler/status")
    run_dir: Path = Path("/run/reconciler")
    host_netns: Path | None = None
    is_bridge_enabled: bool = True
    cluster_store: str = ""
    cluster_advertise: str = ""
    cluster_store_options: dict[str, str] = field(default_factory=dict)
    netns_dir: Path = Path("/run/netns")
    netns_etc_dir: Path = Path("/etc/netns")
    prune_limit: PruneLimit = PruneLimit()

    @property
    def instance(self) -> str:
        return instance_id(str(self.state_dir.resolve()), self.host)
