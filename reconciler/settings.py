"""Typed settings of one process: where things are, which host this is. Values only; `cli` fills them in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reconciler.model.identifiers import instance_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneLimit:
    """How many networks the specs may cease to declare at once: fewer than `count`, or up to `percent` of all."""

    count: int = 3
    percent: int = 50

    def is_exceeded(self, gone: int, running: int) -> bool:
        return gone >= self.count and gone * 100 > running * self.percent


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Field for field the global options of the command line (DESIGN section 5).

    netns_dir, netns_etc_dir: where ip-netns(8) keeps named namespaces and the files it mounts for them.
    plugin_root: what the folders of plugins' sockets and specs are below (docker-networking section 6.1). plugin_timeout_s: what
    one call to a plugin may take.
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
    plugin_root: Path = Path("/")
    plugin_timeout_s: float = 20.0

    @property
    def instance(self) -> str:
        return instance_id(str(self.state_dir.resolve()), self.host)
