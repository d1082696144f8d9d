"""Typed settings of one process: where things are, which host this is. Values only; `cli` fills them in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from reconciler.errors import ConfigError
from reconciler.model.identifiers import instance_id, is_link_name
from reconciler.model.ip import address_or_none
from reconciler.model.objects import IPAddress
from reconciler.model.subnets import is_unicast

_ADVERTISED: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[a-zA-Z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?\Z")


SECRET_VARIABLE: Final = "RECONCILE_KV_SECRET"
"""Where the secret of the key-value store may stand instead of a file."""


def program_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return what a program that we start gets as its environment: ours without the secret, which is for us alone, and `more`."""
    return {name: value for name, value in os.environ.items() if name != SECRET_VARIABLE} | dict(more)


class PruneLimit(Struct, frozen=True, kw_only=True):
    """How many networks the specs may cease to declare at once: fewer than `count`, or up to `percent` of all."""

    count: int = 3
    percent: int = 50

    def is_exceeded(self, gone: int, running: int) -> bool:
        return gone >= self.count and gone * 100 > running * self.percent


class Advertised(Struct, frozen=True, kw_only=True):
    """Where other hosts reach this one: an address, or the interface that has it (then address is None).

    port: for show only, as the engine has it; what goes between hosts goes to VXLAN's port.
    """

    address: IPAddress | None
    ifname: str = ""
    port: int | None = None


def advertised(text: str) -> Advertised:
    """Read `IP|IFACE[:PORT]`, IPv6 in brackets. Raises ConfigError."""
    match = _ADVERTISED.match(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise ConfigError(
            f"cluster-advertise {text!r}: expected IP, IFACE, or one of them with :PORT; IPv6 in brackets"
        )
    address = address_or_none(match["v6"] or match["name"])
    if address is None and (match["v6"] or not is_link_name(match["name"])):
        raise ConfigError(f"cluster-advertise {text!r}: neither an address nor the name of an interface")
    if address is not None and not _is_reachable(address):
        raise ConfigError(f"cluster-advertise {text!r}: other hosts cannot reach {address}")
    return Advertised(address=address, ifname="" if address else match["name"], port=port)


def _is_reachable(address: IPAddress) -> bool:
    return is_unicast(address) and not (address.version == 6 and address.is_link_local)


class Settings(Struct, frozen=True, kw_only=True, dict=True):
    """Field for field the global options of the command line (docs/reference/cli.md#global-options).

    container_engine: its socket; None: Docker's or Podman's usual one.
    netns_dir, netns_etc_dir: where ip-netns(8) keeps named namespaces and the files it mounts for them.
    plugin_root: what the folders of plugins' sockets and specs are below (docs/design/docker.md#plugins). plugin_timeout_s: what
    one call to a plugin may take.
    is_transit_open: what others have may be forwarded where it was not before us (docs/design/security.md).
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
    container_engine: Path | None = None
    netns_dir: Path = Path("/run/netns")
    netns_etc_dir: Path = Path("/etc/netns")
    prune_limit: PruneLimit = PruneLimit()
    plugin_root: Path = Path("/")
    plugin_timeout_s: float = 20.0
    is_transit_open: bool = False

    @cached_property
    def instance(self) -> str:
        return instance_id(self.state_folder, self.host)

    @cached_property
    def state_folder(self) -> str:
        """Where the state is, wherever symbolic links lead when this is first asked: it is the same under another name."""
        return str(self.state_dir.resolve())

    @property
    def specs_folder(self) -> str:
        """Where the specs are, as given: the symbolic link that is swapped for new specs stays the same folder."""
        return os.path.abspath(self.specs_dir)
