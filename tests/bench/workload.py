"""The working size: attachments spread evenly over networks, as specs and as a script that builds or lists the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """attachments: in all, evenly spread."""

    networks: int = 20
    attachments: int = 1000

    @property
    def names(self) -> list[str]:
        return [f"c{number}" for number in range(self.attachments)]

    def write_specs(self, folder: Path) -> None:
        """Write one file per network, with its attachments."""
        folder.mkdir(parents=True)
        for network in range(self.networks):
            pool = f"{{subnet: 10.77.{network}.0/24, gateway: 10.77.{network}.1}}"
            lines = [f"networks: {{n{network}: {{ipam: {{config: [{pool}]}}}}}}", "attachments:"]
            lines += [f"  {name}: {{networks: {{n{network}: }}}}" for name in self.names[network :: self.networks]]
            (folder / f"n{network}.yaml").write_text("\n".join(lines) + "\n")


def building_script(machine: Machine, host_ns: str, workload: Workload, folder: Path) -> Path:
    """Write the script that makes by `ip -batch` and `nft -f` the kernel objects found now, which `reconcile` made."""
    folder.mkdir(parents=True)
    peers = _peers(machine, workload)
    host = [*_bridges(machine, host_ns), *_veth_pairs(machine, host_ns, peers)]
    (folder / "host.batch").write_text("\n".join(host) + "\n")
    (folder / "host.nft").write_text(machine.run(host_ns, "nft", "list", "ruleset").stdout)
    (folder / "namespaces.batch").write_text("".join(f"netns add {name}\n" for name in workload.names))
    for ns, peer in peers.values():
        (folder / f"{ns}.batch").write_text(_inside(machine, ns, peer["ifname"]))
    return _write(
        folder / "build.sh",
        [
            f"ip -batch {folder}/namespaces.batch",
            f"ip netns exec {host_ns} sysctl -qw net.ipv4.ip_forward=1",
            f"ip -n {host_ns} -batch {folder}/host.batch",
            *(f"ip -n {ns} -batch {folder}/{ns}.batch" for ns, _ in peers.values()),
            f"ip netns exec {host_ns} nft -f {folder}/host.nft",
        ],
    )


def _bridges(machine: Machine, host_ns: str) -> Iterator[str]:
    for link in machine.ip_json(host_ns, "-details", "link", "show", "type", "bridge"):
        ifname = link["ifname"]
        yield f"link add {ifname} address {link['address']} mtu {link['mtu']} group {link['group']} type bridge"
        yield from _addresses(machine, host_ns, ifname)
        yield f"link set {ifname} up"


def _veth_pairs(machine: Machine, host_ns: str, peers: Mapping[int, tuple[str, dict[str, Any]]]) -> Iterator[str]:
    for link in machine.ip_json(host_ns, "-details", "link", "show", "type", "veth"):
        ns, peer = peers[link["ifindex"]]
        near = f"{link['ifname']} mtu {link['mtu']} group {link['group']} master {link['master']}"
        far = f"{peer['ifname']} address {peer['address']} mtu {peer['mtu']} netns {ns}"
        yield f"link add {near} type veth peer {far}"
        yield f"link set {link['ifname']} up"


def listing_script(host_ns: str, workload: Workload, folder: Path) -> Path:
    """Write the script that dumps the same objects.

    As JSON, since for people `ip` looks up the name of the peer's namespace, which costs it a walk through all of them.
    """
    batch = folder / "list.batch"
    batch.write_text("link show\naddress show\nroute show\n")
    listings = [f"ip -json -n {ns} -batch {batch}" for ns in (host_ns, *workload.names)]
    return _write(folder / "list.sh", [*listings, f"ip netns exec {host_ns} nft -j list ruleset"])


def _peers(machine: Machine, workload: Workload) -> dict[int, tuple[str, dict[str, Any]]]:
    """Give by the near side's index: the namespace that the far side of each veth pair is in, and the far side."""
    found = {}
    for ns in workload.names:
        for link in machine.ip_json(ns, "link", "show"):
            if link["ifname"] != "lo":
                found[link["link_index"]] = (ns, link)
    return found


def _inside(machine: Machine, ns: str, ifname: str) -> str:
    route = f"route add default via {machine.default_gateway(ns)}"
    return "\n".join(["link set lo up", f"link set {ifname} up", *_addresses(machine, ns, ifname), route]) + "\n"


def _addresses(machine: Machine, ns: str, ifname: str) -> Iterator[str]:
    for link in machine.ip_json(ns, "-4", "address", "show", "dev", ifname):
        for entry in link["addr_info"]:
            yield f"address add {entry['local']}/{entry['prefixlen']} broadcast + dev {ifname}"


def _write(path: Path, commands: list[str]) -> Path:
    path.write_text("set -e\n" + "\n".join(commands) + "\n")
    return path
